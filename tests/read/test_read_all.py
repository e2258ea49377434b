"""`ReadAllParquetTables`, and the lineage that readers and writes report."""

from __future__ import annotations

import pathlib
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.io.fileio import EmptyMatchTreatment
from apache_beam.metrics.metric import Lineage
from apache_beam.transforms.display import DisplayData

from mixpanel_sink import (
    BigQueryTable,
    EventMapping,
    InputError,
    JsonLines,
    MapRecords,
    ReadAllParquetTables,
    ReadBigQueryTables,
    ReadFailedRecords,
    ReadParquetTables,
    ReadRecords,
    SettingError,
)
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.read.parquet import Parquet
from mixpanel_sink.read.source import Columns, Planned
from mixpanel_sink.read.table_transform import ReadTable
from mixpanel_sink.read.transform import ReadFiles
from tests.read.bigquery_server import BigQueryServer
from tests.read.test_bigquery import bigquery  # noqa: F401
from tests.running import IN_PROCESS, Kept
from tests.write.test_write import record, write


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    for number in range(3):
        rows = [record(n) for n in range(10 * number, 10 * number + 10)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{number}.parquet")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    return tmp_path


def run(paths: list[str], **options: Any) -> tuple[list[pa.Table], list[Any]]:
    tables, failed = Kept(), Kept()
    with beam.Pipeline(IN_PROCESS) as pipeline:
        result = pipeline | beam.Create(paths) | ReadAllParquetTables(**options)
        _ = result.tables | "Tables" >> beam.Map(tables)
        _ = result.failed | "Failed" >> beam.Map(failed)
    return tables.values, failed.values


def test_paths_and_globs_of_a_collection(folder: pathlib.Path) -> None:
    (folder / "day=7").mkdir()
    pq.write_table(pa.table({"id": ["id-20"]}), folder / "day=7" / "a.parquet")
    tables, failed = run(
        [
            f"{folder}/[01].parquet", f"{folder}/torn.parquet", f"{folder}/none-*",
            f"{folder}/day=7",
        ],
        columns=["id", "day"],
    )  # fmt: skip
    assert sorted(each for table in tables for each in table["id"].to_pylist()) == sorted(
        f"id-{n}" for n in range(21)
    )
    assert {tuple(table.column_names) for table in tables} == {("id",), ("id", "day")}
    (day,) = [table["day"].to_pylist() for table in tables if "day" in table.column_names]
    assert day == ["7"]  # as with ReadParquetTables
    ((reason, file),) = [(each.reason, each.file) for each in failed]
    assert (reason, file) == ("file_unreadable", f"{folder}/torn.parquet")


@pytest.mark.parametrize(
    ("treatment", "path", "said"),
    [
        (EmptyMatchTreatment.ALLOW, "none.parquet", None),
        (EmptyMatchTreatment.ALLOW_IF_WILDCARD, "none.parquet", "No file matches"),
        (EmptyMatchTreatment.ALLOW_IF_WILDCARD, "none*", None),
        (EmptyMatchTreatment.DISALLOW, "none*", "No file matches"),
    ],
)
def test_a_path_that_matches_nothing(
    tmp_path: pathlib.Path, treatment: str, path: str, said: str | None
) -> None:
    if said is None:
        assert run([f"{tmp_path}/{path}"], empty_match_treatment=treatment) == ([], [])
        return
    with pytest.raises(InputError, match=said):
        run([f"{tmp_path}/{path}"], empty_match_treatment=treatment)


def test_settings_that_are_wrong() -> None:
    with pytest.raises(SettingError, match="must be one of: ALLOW, ALLOW_IF_WILDCARD, DISALLOW"):
        ReadAllParquetTables(empty_match_treatment="allow")
    with pytest.raises(SettingError, match="ReadAllParquetTables"):
        _ = beam.Pipeline() | beam.Create(["a"]) | ReadParquetTables("a")


def test_what_runners_show_of_readers() -> None:
    mapping = EventMapping(event="name", distinct_id="user", time="at")
    columns = {"columns": ["name", "user"]}
    files = {"patterns": "a/*.parquet, b.parquet", "format": "Parquet", "columns": "name, user"}
    more = {"limit": 7, "mapping": mapping, "in_turns": True}
    read = ReadParquetTables(["a/*.parquet", "b.parquet"], **columns, **more)
    selected = {"limit": 7, "skips_row_groups": True, "in_turns": True}
    assert _shown(read) == {**files, **selected}
    assert _shown(ReadParquetTables("a")) == {"patterns": "a", "format": "Parquet"}
    every = ReadAllParquetTables(**columns)
    assert _shown(every) == {
        "format": "Parquet",
        "columns": "name, user",
        "empty_match_treatment": EmptyMatchTreatment.ALLOW_IF_WILDCARD,
    }
    assert _shown(ReadRecords("a.jsonl", JsonLines())) == {
        "patterns": "a.jsonl",
        "format": "JSON lines",
    }
    left_out = ReadFiles(
        "a", Parquet(), Columns(but=frozenset("ba")), planned=Planned("gs://b/folder", "run-1")
    )
    assert _shown(left_out) == {
        "patterns": "a",
        "format": "Parquet",
        "columns_left_out": "a, b",
        "checkpoint": "gs://b/folder",
    }
    failed = ReadFailedRecords("f/*.jsonl", only=["time_null", "distinct_id_null"])
    assert _shown(failed) == {"patterns": "f/*.jsonl", "only": "distinct_id_null, time_null"}
    table = BigQueryTable("bq://shop-prod.sales.orders")
    assert _shown(ReadBigQueryTables(table)) == {"source": "bq://shop-prod.sales.orders"}
    assert _shown(ReadTable(table, ["a", "b"], since="at", in_turns=True)) == {
        "table": "bq://shop-prod.sales.orders",
        "columns": "a, b",
        "since": "at",
        "in_turns": True,
    }
    assert _shown(MapRecords(len)) == {"fn": "len"}


def _shown(transform: Any) -> dict[str, Any]:
    return {item.key: item.value for item in DisplayData.create_from(transform).items}


def test_lineage_is_reported_as_beams_own_ios_do(
    mixpanel: Emulator, folder: pathlib.Path, bigquery: BigQueryServer
) -> None:
    pipeline = beam.Pipeline(IN_PROCESS)
    tables = (pipeline | ReadParquetTables(f"{folder}/[01].parquet")).tables
    _ = tables | "Write" >> write(mixpanel)
    _ = pipeline | ReadBigQueryTables("bq://shop-prod.sales.orders")
    paths = pipeline | beam.Create([f"{folder}/0.parquet"])
    _ = paths | "Beam" >> beam.io.ReadAllFromParquet()
    done = pipeline.run()
    done.wait_until_finish()
    sources = Lineage.query(done.metrics(), Lineage.SOURCE)
    # Beam's reader of the first file and ours call it the same.
    assert sources == {
        f"filesystem:localhost.{folder}/0.parquet",
        f"filesystem:localhost.{folder}/1.parquet",
        "bigquery:shop-prod.sales.orders",
    }
    host = mixpanel.url.removeprefix("http://")
    assert Lineage.query(done.metrics(), Lineage.SINK) == {f"mixpanel:`{host}`.import"}
