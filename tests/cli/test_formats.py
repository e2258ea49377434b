"""From a file of each format to an import that is verified, by the same four commands."""

from __future__ import annotations

import gzip
import io
import json
import pathlib
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.csv
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.cli.conftest import Call

ROWS = 2100
TABLE = pa.table(
    {
        "event_name": ["Order Placed", "Page Viewed", "Page Viewed"] * (ROWS // 3),
        "user_id": [None, *(f"u{i}" for i in range(1, ROWS))],
        "created_at": [f"2024-01-01T00:{i // 60:02}:{i % 60:02}Z" for i in range(ROWS)],
        "amount": [i / 4 for i in range(ROWS)],
    }
)
FIELDS: list[dict[str, Any]] = [
    {"name": "event_name", "type": "string"},
    {"name": "user_id", "type": ["null", "string"]},
    {"name": "created_at", "type": "string"},
    {"name": "amount", "type": "double"},
]


def content(suffix: str) -> bytes:
    """The table as a file of this kind."""
    out = io.BytesIO()
    if suffix == "parquet":
        pq.write_table(TABLE, out)
    elif suffix == "orc":
        pyarrow.orc.write_table(TABLE, out)
    elif suffix == "csv":
        pyarrow.csv.write_csv(TABLE, out)
    elif suffix == "jsonl":
        out.write("".join(json.dumps(row) + "\n" for row in TABLE.to_pylist()).encode())
    else:
        schema = {"type": "record", "name": "row", "fields": FIELDS}
        fastavro.writer(out, schema, TABLE.to_pylist())
    return out.getvalue()


@pytest.mark.parametrize(
    "suffix",
    ["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "avro", "avro.gz", "orc"],
)
def test_init_check_import_verify(
    call: Call,
    mixpanel: Emulator,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    data = content(suffix.removesuffix(".gz"))
    file = tmp_path / f"events.{suffix}"
    file.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)

    made = call("init", file.name)
    assert made.code == 0, made.err
    checked = call("check", file.name, "-m", "mapping.yaml", "--all")
    assert checked.code == 0, checked.err
    assert "distinct_id_null" in checked.out
    where = ("-m", "mapping.yaml", "--endpoint", mixpanel.url)
    sent = call("import", file.name, *where)
    assert sent.code == 0, sent.err
    assert "2,100 read = 2,099 accepted + 1 failed" in sent.out
    assert "No shards" not in sent.err
    stats = mixpanel.stats()
    assert (stats["events_distinct"], stats["requests"]) == (2099, 2)
    (failed,) = (tmp_path / "failed").glob("*.jsonl")
    assert f"failed/{failed.name[:15]}*.jsonl" in sent.out
    assert json.loads(failed.read_text())["row"] == 0
    assert (
        "Next: correct what the failures above say, then mixpanel-sink replay 'failed/" in sent.out
    )
    proven = call("verify", file.name, *where)
    assert proven.code == 0, proven.out + proven.err
