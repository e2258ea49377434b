"""The transcripts of docs/moving: each command runs as typed, in this process, against two
emulators and a BigQuery server on loopback, and gives the output that the page shows."""

from __future__ import annotations

import gzip
import json
import pathlib
import re
import shlex
import zipfile
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from mixpanel_sink.cli import main
from mixpanel_sink.emulator.testing import Emulator
from tests.docs.test_doc_blocks import BLOCKS, Block
from tests.inspect.test_presets import AMPLITUDE, GA4, MIXPANEL, POSTHOG, WAREHOUSE
from tests.read.bigquery_server import BigQueryServer
from tests.read.test_bigquery import bigquery  # noqa: F401

TRANSCRIPTS = [block for block in BLOCKS if block.language == "console"]
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


@pytest.mark.parametrize("block", TRANSCRIPTS, ids=lambda block: block.name)
def test_a_transcript(
    block: Block,
    place: pathlib.Path,
    mixpanel: Emulator,
    old: Emulator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ""
    for line in block.text.splitlines():
        if not line.startswith("$ "):
            assert line in out
            continue
        words = shlex.split(line[2:])
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
