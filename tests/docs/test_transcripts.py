"""The transcripts of the documents: each command runs as typed, in this process, against two
emulators and the clouds' servers on loopback, and gives the output that the page shows."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import pathlib
import re
import shlex
import subprocess
import zipfile
from collections.abc import Iterator
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from mixpanel_sink.cli import main
from mixpanel_sink.emulator.testing import Emulator
from tests.cloud_storage import emulated_bucket, moto_bucket
from tests.docs.test_doc_blocks import BLOCKS, Block
from tests.inspect.test_presets import AMPLITUDE, GA4, MIXPANEL, POSTHOG, WAREHOUSE
from tests.read.bigquery_server import BigQueryServer
from tests.read.test_bigquery import bigquery  # noqa: F401

TRANSCRIPTS = [block for block in BLOCKS if block.language == "console"]
FILES = re.compile(r"^\$ cat (\S+)\n((?:[^$].*\n)+)", re.M)
"""What a transcript shows of a file is the file."""
OLD = "old-secret-0123456789"
GA4_TABLE = "projects/shop-prod/datasets/analytics_123/tables/events_20240506"


def three(record: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """Three events of one kind, by their ids."""
    return [{**record, key: f"{n}{str(record[key])[1:]}"} for n in range(1, 4)]


@pytest.fixture(scope="module")
def old() -> Iterator[Emulator]:
    """The project that is left."""
    with Emulator(api_secret=OLD, export_quotas="none") as running:
        events = [
            {"event": "Visit", "properties": MIXPANEL["properties"] | {"$insert_id": f"i{n}"}}
            for n in range(3)
        ]
        sent = requests.post(f"{running.url}/import", json=events, auth=(OLD, ""), timeout=30)
        assert sent.status_code == 200, sent.text
        yield running


@pytest.fixture
def place(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    mixpanel: Emulator,
    bigquery: BigQueryServer,
) -> pathlib.Path:
    """A folder with every vendor's export."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    monkeypatch.setenv("MIXPANEL_SOURCE_API_SECRET", OLD)
    lines = "".join(json.dumps(event) + "\n" for event in three(AMPLITUDE, "uuid"))
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as packed:
        packed.writestr("99/99_2024-05-06_7#0.json.gz", gzip.compress(lines.encode()))
    for name, record, key in (
        ("order_completed", WAREHOUSE, "id"),
        ("posthog", POSTHOG, "uuid"),
    ):
        table = pa.Table.from_pylist(three(record, key))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    bigquery.tables[GA4_TABLE] = pa.Table.from_pylist(three(GA4, "user_pseudo_id"))
    queries = {
        query for block in TRANSCRIPTS for query in re.findall("--query '(.*?)'", block.text)
    }
    (query,) = queries
    bigquery.results[query] = GA4_TABLE
    return tmp_path


ORDERS = {
    "day=2024-05-06/country=DE": [["o1", "k-17", 12.5], ["o2", "k-18", 8.0]],
    "day=2024-05-07/country=DE": [["o3", "k-17", 9.9]],
    "day=2024-05-07/country=FR": [["o4", "k-20", 5.0], ["o5", "k-21", 7.5], ["o6", None, 1.0]],
}
"""By partition: id, customer and amount."""


@pytest.fixture
def s3() -> Iterator[None]:
    """Orders as Spark keeps them."""
    with moto_bucket("shop-events") as bucket:
        for folder, rows in ORDERS.items():
            ids, customers, amounts = zip(*rows, strict=True)
            at = pa.array(
                [datetime.datetime(2024, 5, 6, 7, 8)] * len(rows), pa.timestamp("us", "UTC")
            )
            table = pa.table(
                {
                    "order_id": ids,
                    "user_id": pa.array(customers, pa.string()),
                    "amount": amounts,
                    "created_at": at,
                }
            )
            out = io.BytesIO()
            pq.write_table(table, out)
            bucket.put_object(Key=f"orders/{folder}/part-0.parquet", Body=out.getvalue())
        yield


VISITS = {
    "type": "record",
    "name": "visit",
    "fields": [
        {"name": "event_name", "type": "string"},
        {"name": "user_id", "type": ["null", "string"]},
        {"name": "created_at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "visit_id", "type": "long"},
    ],
}


@pytest.fixture
def gs(tmp_path: pathlib.Path) -> Iterator[None]:
    """A table of BigQuery's, exported as Avro."""
    with emulated_bucket(tmp_path, "shop-events") as bucket:
        at = datetime.datetime(2024, 5, 6, 7, 8, tzinfo=datetime.UTC)
        for number, count in enumerate((2, 1)):
            rows = [
                {
                    "event_name": "Visit",
                    "user_id": f"u{n}",
                    "created_at": at,
                    "visit_id": 2**53 + number * 10 + n,
                }
                for n in range(count)
            ]
            out = io.BytesIO()
            fastavro.writer(out, VISITS, rows)
            bucket.blob(f"visits/{number:012}.avro").upload_from_string(out.getvalue())
        yield


@pytest.mark.parametrize("block", TRANSCRIPTS, ids=lambda block: block.name)
def test_a_transcript(
    block: Block,
    place: pathlib.Path,
    mixpanel: Emulator,
    old: Emulator,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    for cloud in ("s3", "gs"):
        if f"{cloud}://" in block.text:
            request.getfixturevalue(cloud)
    for name, text in FILES.findall(block.text):
        (place / name).write_text(text)
    out = ""
    for line in block.text.splitlines():
        if not line.startswith("$ "):
            assert line in out
            continue
        words = shlex.split(line[2:])
        if words[0] in ("cat", "sed"):
            out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
            continue
        if words[0] == "unzip":
            with zipfile.ZipFile(words[2]) as packed:
                packed.extractall(words[4])
            continue
        assert words.pop(0) == "mixpanel-sink"
        told = [word.replace("region=us", f"endpoint={old.url}") for word in words]
        if "--region" in told:
            position = told.index("--region")
            url = old.url if told[position + 1] == "us" else mixpanel.url
            told[position : position + 2] = ["--endpoint", url]
        code = main(told)
        out, err = capsys.readouterr()
        assert code == 0, f"{line}\n{out}\n{err}"
