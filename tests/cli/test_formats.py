"""From a file of each format to an import that is verified, by the same four commands."""

from __future__ import annotations

import datetime
import gzip
import io
import json
import pathlib
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
import xlsxwriter

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
    elif suffix == "feather":
        pyarrow.feather.write_feather(TABLE, out)
    elif suffix == "xlsx":
        book = xlsxwriter.Workbook(out, {"in_memory": True})
        sheet = book.add_worksheet("Events")
        sheet.write_row(0, 0, TABLE.column_names)
        for number, row in enumerate(TABLE.to_pylist(), 1):
            sheet.write_row(number, 0, row.values())
        book.close()
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
    ["parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "avro", "avro.gz", "orc", "feather", "xlsx"],
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
        "Next: fix the causes of the failures above, then mixpanel-sink replay 'failed/" in sent.out
    )
    proven = call("verify", file.name, *where)
    assert proven.code == 0, proven.out + proven.err


def test_a_partitioned_folder_of_files_that_differ(
    call: Call, mixpanel: Emulator, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other orders of columns, missing columns, other types of the same kind, odd names, hidden
    files, and patterns that overlap: all rows once, with their partitions."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel.api_secret)
    at = datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)
    dictionary = pa.dictionary(pa.int8(), pa.string())

    def write(path: str, rows: int, types: list[pa.DataType], names: str) -> None:
        columns = {
            "user": pa.array([f"u{i}" for i in range(rows)], types[0]),
            "at": pa.array([at] * rows, pa.timestamp("us", "UTC")).cast(types[1]),
            "n": pa.array(range(rows), types[2]),
        }
        made = pa.table({name: columns[name] for name in names.split()})
        file = tmp_path / "in" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(made, file)

    types = [pa.string(), pa.timestamp("us", "UTC"), pa.int32()]
    write("top, with a comma.parquet", 3, types, "user at n")
    others = [pa.large_string(), pa.timestamp("ns", "UTC"), pa.int64()]
    write("land=DE/kind=a%20b/x[1].parquet", 5, others, "n at user")
    others = [dictionary, pa.timestamp("ms"), pa.float64()]
    write("land=__HIVE_DEFAULT_PARTITION__/kind=c/x.parquet", 7, others, "at user n")
    write("land=AT/kind=c/x.parquet", 11, [pa.string(), pa.date32(), pa.int8()], "user at")
    for hidden in (".x.parquet", "_temporary/x.parquet", "land=DE/_SUCCESS.parquet"):
        write(hidden, 1, types, "user at n")

    names = (
        "in/**/*.parquet",
        "in/land=DE/kind=a%20b/x[1].parquet",
        "in/top, with a comma.parquet",
    )
    assert call("init", *names, "--event=Seen").code == 0
    where = ("-m", "mapping.yaml", "--endpoint", mixpanel.url)
    checked = call("check", *names, "-m", "mapping.yaml", "--all")
    assert checked.code == 0, checked.err
    sent = call("import", *names, *where)
    assert "26 read = 26 accepted + 0 failed" in sent.out, sent.out + sent.err
    keys = [(e["properties"].get("land"), e["properties"].get("kind")) for e in mixpanel.events()]
    assert sorted(map(str, keys)) == sorted(
        ["(None, None)"] * 3 + ["('DE', 'a b')"] * 5 + ["(None, 'c')"] * 7 + ["('AT', 'c')"] * 11
    )
    proven = call("verify", *names, *where)
    assert "Mixpanel holds all 26 events" in proven.out, proven.out
