"""What statistics rule out is never wanted, and what can be ruled out is."""

from __future__ import annotations

import datetime
import io
from typing import Any

import apache_beam as beam
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import Column, EventMapping, ReadParquetTables, Shape, TimeColumn
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.encode.blocks import RecordsBlock, TableBlock
from mixpanel_sink.encode.filtering import counted_rows, filter_block
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.parquet import Parquet
from mixpanel_sink.read.pruning import wanted_rows
from mixpanel_sink.read.selection import Selection
from mixpanel_sink.read.source import columns_needed, rows_in, together
from tests.running import IN_PROCESS, Kept

UTC = datetime.timezone.utc
FIRST = datetime.datetime(2024, 5, 1, tzinfo=UTC)
ROWS, GROUP = 240, 24
HOURS = [FIRST + datetime.timedelta(hours=i) for i in range(ROWS)]
TIMES: dict[str, tuple[pa.Array, dict[str, Any]]] = {
    "utc": (pa.array(HOURS, pa.timestamp("ns", "Europe/Berlin")), {}),
    "naive": (pa.array([t.replace(tzinfo=None) for t in HOURS], pa.timestamp("ms")), {}),
    "date": (pa.array([t.date() for t in HOURS], pa.date32()), {}),
    "seconds": (pa.array([int(t.timestamp()) for t in HOURS], pa.int64()), {"unit": "s"}),
    "nanos": (pa.array([int(t.timestamp()) * 10**9 for t in HOURS], pa.int64()), {"unit": "ns"}),
    "text": (pa.array([t.isoformat() for t in HOURS]), {"unit": "iso8601"}),
    "float": (pa.array([t.timestamp() for t in HOURS]), {"unit": "s"}),
    "berlin": (
        pa.array([t.replace(tzinfo=None) for t in HOURS], pa.timestamp("us")),
        {"timezone": "Europe/Berlin"},
    ),
}
TABLE = pa.table(
    {
        "name": ["A"] * 100 + ["B"] * 140,
        "user": [f"u{i}" for i in range(ROWS)],
        "n": pa.array([None if i % 50 == 7 else i for i in range(ROWS)], pa.int32()),
        "x": [float("nan") if i == 30 else float(i) for i in range(ROWS)],
        "day": pa.array([t.date() for t in HOURS], pa.date32()),
        "same": ["c"] * ROWS,
        **{name: values for name, (values, _) in TIMES.items()},
    }
)
PRUNED = {"utc", "naive", "date", "seconds", "nanos"}


def kept_groups(mapping: EventMapping) -> list[int]:
    """Those that must be read."""
    out = io.BytesIO()
    pq.write_table(TABLE, out, row_group_size=GROUP)
    condition = wanted_rows(mapping, TABLE.schema)
    if condition is None:
        return list(range(ROWS // GROUP))
    out.seek(0)
    fragment = ds.ParquetFileFormat().make_fragment(pa.PythonFile(out, "r"))
    parts = fragment.split_by_row_group(condition)
    return [group.id for part in parts for group in part.row_groups]


def wanted(mapping: EventMapping, table: pa.Table = TABLE) -> list[int]:
    return list(counted_rows(TableBlock.of(table, Run(len(table), 0, ())), mapping))


@pytest.mark.parametrize("column", TIMES)
@pytest.mark.parametrize(
    ("first", "last", "groups"),
    [("2024-05-03", "2024-05-04", 2), ("2024-05-09", None, 2), (None, "2024-05-01", 1)],
)
def test_days(column, first, last, groups):
    time = TimeColumn(column, **TIMES[column][1])
    given = {"first_day": first, "last_day": last}
    mapping = EventMapping("name", time, "user", filter=given)
    rows = wanted(mapping)
    away = 2 if column == "berlin" else 0  # a wall clock there is two hours ahead
    days = [(moment - datetime.timedelta(hours=away)).date().isoformat() for moment in HOURS]
    low, high = first or "", last or "3000"
    assert rows == [i for i, day in enumerate(days) if low <= day <= high]
    assert {row // GROUP for row in rows} <= set(kept_groups(mapping))
    if column in PRUNED:
        assert len(kept_groups(mapping)) == groups
    # As records, one by one, they are the same.
    block = RecordsBlock(None, (Run(ROWS, 0, ()),), TABLE.to_pylist())
    if column != "utc":  # of which to_pylist needs pandas
        assert len(filter_block(block, mapping)) == len(rows)


@pytest.mark.parametrize(
    ("where", "groups"),
    [
        ("n < 40", 2),  # row 7 of each fifty is null, and its group may hold wanted rows
        ("n >= 200 AND x <= 210", None),
        ("30 > n", None),
        ("n BETWEEN 60 AND 70 AND name = 'A'", None),
        ("day = DATE '2024-05-02'", 1),
        ("day >= DATE '2024-05-02' AND day < DATE '2024-05-04'", 2),
        ("name > 'A'", 6),
        ("x > 100", 10),  # NaN is the largest number to Polars, and no part of statistics
        ("x = 100", 1),
        ("n = 3 OR n = 4", 10),
        ("NOT n < 200", 10),
        ("LOWER(name) = 'a'", 10),
        ("n IN (3, 4)", 10),
        ("same = 'd'", 0),
        ("n < 1.5", 10),
        ("name = 5", 10),
    ],
)
def test_conditions(where, groups):
    mapping = EventMapping("name", "utc", "user", shape=Shape(where=where))
    kept = kept_groups(mapping)
    if where != "name = 5":  # which no row can be asked
        matching = pl.from_arrow(TABLE).with_row_index("i").filter(pl.sql_expr(where))
        assert wanted(mapping) == matching["i"].to_list()
        assert {row // GROUP for row in wanted(mapping)} <= set(kept)
    if groups is not None:
        nulls = {i // GROUP for i in range(7, ROWS, 50)} if where.startswith("n <") else set()
        assert len(set(kept) - nulls) <= groups


@pytest.mark.parametrize(
    "shape",
    [
        {"cast": {"n": "number"}}, {"defaults": {"n": 5}}, {"rename": {"y": "n"}},
        {"split": {"same": {"by": ",", "into": ["n"]}}},
    ],
)  # fmt: skip
def test_a_column_that_a_step_changes_is_not_ruled_out_by_what_it_was(shape):
    mapping = EventMapping("name", "utc", "user", shape={"where": "n < 5", **shape})
    out = wanted_rows(mapping, TABLE.schema)
    assert out is None or "defaults" in shape  # a null may be wanted anyway


def test_events_and_nulls():
    table = pa.table({"e": ["A", "B", None, "A"], "t": HOURS[:4], "u": list("abcd")})
    mapping = EventMapping("e", "t", "u", filter={"events": ["A"]})
    assert wanted(mapping, table) == [0, 2, 3]  # the null fails, and says so
    named = EventMapping(Column("e", if_null="B"), "t", "u", filter={"events": ["A"]})
    assert wanted(named, table) == [0, 3]
    named = EventMapping(Column("e", if_null="A"), "t", "u", filter={"events": ["A"]})
    assert wanted(named, table) == [0, 2, 3]


def kept_rows(path, mapping):
    source = FileSource(str(path), Parquet(), selection=Selection(mapping))
    return sum(map(rows_in, source.elements(columns_needed(mapping))))


def test_a_column_that_the_path_replaces_is_not_ruled_out_by_what_the_file_has(tmp_path):
    path = tmp_path / "name=A" / "day=2024-06-01" / "same=d" / "a.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(TABLE.slice(ROWS - 5), path)
    for given in (
        {"time": "utc", "filter": {"events": ["A"]}},
        {"time": "utc", "shape": {"where": "same = 'd'"}},
        {"time": TimeColumn("day", "iso8601"), "filter": {"first_day": "2024-06-01"}},
    ):
        mapping = EventMapping("name", distinct_id="user", **given)
        assert kept_rows(path, mapping) == 5


@pytest.mark.parametrize(
    ("kind", "value", "where"),
    [
        (pa.uint64(), 2**63 + 5, "v > 7"),  # beyond what a number with a sign holds
        (pa.float32(), 2.0**24, "v = 16777217"),  # as a 32-bit float the literal is the same
    ],
)
def test_numbers_that_compare_otherwise_than_as_64_bits(tmp_path, kind, value, where):
    path = tmp_path / "a.parquet"
    table = TABLE.slice(0, 3).append_column("v", pa.array([value] * 3, kind))
    pq.write_table(table, path)
    mapping = EventMapping("name", "utc", "user", shape=Shape(where=where))
    assert wanted(mapping, table) == [0, 1, 2]
    assert kept_rows(path, mapping) == 3


def test_units_around_a_gap_are_not_read_together(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(TABLE, path, row_group_size=GROUP)
    units = Parquet().units(path)
    assert len(list(together(units))) == 1
    made = list(together([units[0], units[1], units[3]]))
    assert [(unit.first, unit.parts, unit.first_row) for unit in made] == [(0, 2, 0), (3, 1, 72)]


def test_in_python(tmp_path):
    path = str(tmp_path / "a.parquet")
    pq.write_table(TABLE, path, row_group_size=GROUP)
    mapping = EventMapping(
        "name", "utc", "user", filter={"first_day": "2024-05-03", "events": ["A"]}
    )
    whole, first = Kept(), Kept()
    with beam.Pipeline(IN_PROCESS) as pipeline:
        read = pipeline | "Whole" >> ReadParquetTables(path, mapping=mapping)
        _ = read.tables | "Keep whole" >> beam.Map(whole)
        read = pipeline | "First" >> ReadParquetTables(path, mapping=mapping, limit=3)
        _ = read.tables | "Keep first" >> beam.Map(first)
    for kept, rows in ((whole, 72), (first, 3)):
        places = [(TableOrigin.of(table).first_row, len(table)) for table in kept.values]
        assert places == [(48, rows)]
