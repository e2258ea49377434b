"""Reading Parquet: slices, origins, and memory that does not grow with row groups."""

import datetime
import io
import os
import pathlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.read import int96, parquet
from mixpanel_sink.read.parquet import BATCH_ROWS, Parquet
from mixpanel_sink.read.source import Columns, Unit, together
from mixpanel_sink.results import FailedRecord


class Counted(io.FileIO):
    """A file that tells how much it was asked for at a time."""

    largest = 0

    def read(self, size: int | None = -1) -> Any:
        data = super().read(size)
        Counted.largest = max(Counted.largest, len(data))
        return data


def _write(path: pathlib.Path, rows: int, **options: Any) -> str:
    random = np.random.default_rng(1)
    table = pa.table({"n": np.arange(rows), "x": random.random(rows), "y": random.random(rows)})
    pq.write_table(table, path, **options)
    return str(path)


def _unit(path: str) -> Unit:
    (unit,) = together(Parquet().units(path))
    return unit


def _tables(unit: Unit, *columns: str) -> list[Any]:
    return list(Parquet().elements(unit, Columns(columns or None)))


def test_one_large_row_group_is_read_in_slices(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "a.parquet", 400_000, row_group_size=400_000)
    unit = _unit(path)
    tables = _tables(unit, "n")
    assert [len(table) for table in tables] == [BATCH_ROWS] * 8
    assert pa.concat_tables(tables).column("n").to_pylist() == list(range(400_000))
    places = [TableOrigin.of(table) for table in tables]
    assert [place and place.first_row for place in places] == list(range(0, 400_000, BATCH_ROWS))


@pytest.mark.parametrize("large", [True, False])
def test_a_row_group_that_would_not_fit_is_read_in_parts(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    path = _write(tmp_path / "a.parquet", 320_000, row_group_size=320_000, use_dictionary=False)
    column = os.path.getsize(path) // 3
    monkeypatch.setattr(parquet, "opened_whole", Counted)
    monkeypatch.setattr(parquet, "GROUP_BYTES", 1_000_000 if large else 100_000_000)
    monkeypatch.setattr(parquet, "COLUMN_BYTES", 100_000)
    unit = _unit(path)
    Counted.largest = 0
    tables = _tables(unit)
    pa.concat_tables(tables).validate(full=True)
    # A page is read as a whole, and pages are of 1 MB.
    assert (Counted.largest < column // 2) == large
    assert Counted.largest > 0


def test_columns_of_a_file_that_lacks_some(tmp_path: pathlib.Path) -> None:
    path = _write(tmp_path / "a.parquet", 10)
    unit = _unit(path)
    (table,) = _tables(unit, "x", "missing")
    assert table.schema.names == ["x"]


def test_tables_of_long_strings_of_a_dictionary_are_short(tmp_path: pathlib.Path) -> None:
    texts = [chr(97 + i % 20) * 4000 for i in range(60_000)]
    pq.write_table(pa.table({"t": texts}), tmp_path / "a.parquet")
    unit = _unit(str(tmp_path / "a.parquet"))
    tables = _tables(unit)
    assert max(table.nbytes for table in tables) < 2 * parquet.TABLE_BYTES
    assert [len(table) % 2000 for table in tables] == [0] * len(tables)
    assert sum(len(table) for table in tables) == 60_000
    places = [TableOrigin.of(table) for table in tables]
    assert [place and place.first_row for place in places] == list(range(0, 60_000, 10_000))


def test_tables_of_long_strings_are_short(tmp_path: pathlib.Path) -> None:
    texts = [str(i) * 50_000 for i in range(1000)]
    pq.write_table(pa.table({"t": texts}), tmp_path / "a.parquet", compression="zstd")
    unit = _unit(str(tmp_path / "a.parquet"))
    tables = _tables(unit)
    assert max(table.nbytes for table in tables) < 2 * parquet.TABLE_BYTES
    assert sum(len(table) for table in tables) == 1000


def test_old_timestamps_keep_their_year(tmp_path: pathlib.Path) -> None:
    days = [datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1), None]
    exact = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789)
    table = pa.table({"a": [*days, exact], "b": [[day] for day in days] + [[exact]]})
    path = str(tmp_path / "int96.parquet")
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    assert Parquet().schema(path).field("a").type == pa.timestamp("us")
    (read,) = _tables(_unit(path))
    assert read.to_pydict() == Parquet().sample(path, 10).to_pydict() == table.to_pydict()


def _int96(path: pathlib.Path, table: pa.Table) -> str:
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    return str(path)


NS = 1_704_164_645_678_000_123
"""2024-01-02T03:04:05.678000123"""
NESTED: dict[str, Any] = {
    "plain": lambda moments: moments,
    "list": lambda moments: pa.array([[x, None] for x in moments], pa.list_(moments.type)),
    "struct": lambda moments: pa.array([{"a": x} for x in moments], pa.struct({"a": moments.type})),
    "map": lambda m: pa.array([[("k", x)] for x in m], pa.map_(pa.string(), m.type)),
}


@pytest.mark.parametrize("form", sorted(NESTED))
def test_old_timestamps_keep_their_nanoseconds(tmp_path: pathlib.Path, form: str) -> None:
    moments = pa.array([NS, None, -7, 1_000], pa.timestamp("ns"))
    table = pa.table({"a": NESTED[form](moments), "n": range(4)})
    path = _int96(tmp_path / "int96.parquet", table)
    (read,) = _tables(_unit(path))
    assert read.column("a").combine_chunks() == table.column("a").combine_chunks()
    assert [field.name for field in read.schema] == ["a", "n"]
    (narrow,) = _tables(_unit(path), "n")
    assert narrow.to_pydict() == {"n": [0, 1, 2, 3]}


def test_old_timestamps_of_two_kinds_come_in_tables_of_their_own(tmp_path: pathlib.Path) -> None:
    """Spark's last day among nanoseconds: each row has the type that holds it."""
    last = datetime.datetime(9999, 12, 31)
    moments = [NS + i if i % 7 else None for i in range(40)]
    fine = pa.array(moments, pa.timestamp("ns"))
    path = _int96(tmp_path / "fine.parquet", pa.table({"a": fine}))
    coarse = _int96(tmp_path / "coarse.parquet", pa.table({"a": [last] * 3}))
    batches = [*pq.ParquetFile(path, coerce_int96_timestamp_unit="us").iter_batches(40)]
    digits = [*pq.ParquetFile(path).iter_batches(40)]
    far = next(pq.ParquetFile(coarse, coerce_int96_timestamp_unit="us").iter_batches())
    wrapped = next(pq.ParquetFile(coarse).iter_batches())
    mixed = pa.concat_batches([batches[0].slice(0, 20), far, batches[0].slice(20)])
    both = pa.concat_batches([digits[0].slice(0, 20), wrapped, digits[0].slice(20)])
    read: list[Any] = []
    for part in int96.with_nanoseconds([mixed], [both]):
        assert isinstance(part, pa.RecordBatch)
        kind = part.column("a").type
        read += [(each.value, kind.unit) for each in part.column("a")]
    exact = [value if unit == "ns" or value is None else value * 1000 for value, unit in read]
    far_ns = 253_402_214_400 * 10**9
    assert exact == [*moments[:20], far_ns, far_ns, far_ns, *moments[20:]]


def test_a_page_that_does_not_fit_its_checksum_is_damaged(tmp_path: pathlib.Path) -> None:
    """Without its checksum a byte that was changed on the way would be another value."""
    path = tmp_path / "a.parquet"
    table = pa.table({"n": pa.array([0x1122334455667788] * 3 + [7])})
    plain = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, path, write_statistics=False, **plain)
    data = path.read_bytes()
    written = (0x1122334455667788).to_bytes(8, "little")
    place = data.index(written)
    path.write_bytes(data[:place] + b"\x89" + data[place + 1 :])
    (failed,) = _tables(_unit(str(path)))
    assert isinstance(failed, FailedRecord)
    assert "checksum" in failed.message
    path.write_bytes(data)
    assert _tables(_unit(str(path)))[0].to_pydict() == table.to_pydict()


def test_a_row_that_no_type_holds_is_a_failed_record(tmp_path: pathlib.Path) -> None:
    last = datetime.datetime(9999, 12, 31)
    kind = pa.struct({"a": pa.timestamp("us"), "b": pa.timestamp("us")})
    rows = pa.array([{"a": last, "b": last}] * 3, kind)
    path = _int96(tmp_path / "int96.parquet", pa.table({"n": range(3), "s": rows}))
    data = pathlib.Path(path).read_bytes()
    # An INT96 is the nanoseconds of the day, then the day; give one value of `b` 1 ns.
    written = (0).to_bytes(8, "little") + (5_373_484).to_bytes(4, "little")
    assert data.count(written) == 2  # a dictionary of one for each
    place = data.rindex(written)
    pathlib.Path(path).write_bytes(data[:place] + b"\1" + data[place + 1 :])
    failed = _tables(_unit(path))
    assert [each.reason for each in failed] == ["unreadable_value"] * 3
    assert [(each.field, each.file, each.row) for each in failed] == [
        ("s", path, 0),
        ("s", path, 1),
        ("s", path, 2),
    ]
    assert _tables(_unit(path), "n")[0].to_pydict() == {"n": [0, 1, 2]}


def _damaged(path: str, *groups: int) -> str:
    """Overwrites the data of the first column of those row groups."""
    metadata = pq.read_metadata(path)
    with open(path, "r+b") as file:
        for group in groups:
            column = metadata.row_group(group).column(0)
            file.seek(column.data_page_offset)
            file.write(b"\xff" * (column.total_compressed_size - 10))
    return path


@pytest.mark.parametrize("groups", [(2,), (0, 3), (0, 1, 2, 3)])
def test_a_damaged_row_group_costs_its_own_rows(tmp_path: pathlib.Path, groups: Any) -> None:
    path = _write(tmp_path / "a.parquet", 4000, row_group_size=1000, use_dictionary=False)
    whole = _tables(_unit(path))[0].column("n").to_pylist()
    elements = _tables(_unit(_damaged(path, *groups)))
    tables = [each for each in elements if isinstance(each, pa.Table)]
    rows = [row for row in whole if row // 1000 not in groups]
    assert [row for table in tables for row in table.column("n").to_pylist()] == rows
    for table in tables:
        place = TableOrigin.of(table)
        assert place is not None
        assert place.first_row == table.column("n")[0].as_py()
    failed = [each for each in elements if isinstance(each, FailedRecord)]
    assert [each.reason for each in failed] == ["file_unreadable"] * len(groups)
    for each, group in zip(failed, groups, strict=True):
        assert f"damaged in row group {group} (" in each.message
        assert f"{group * 1000:,} to {group * 1000 + 999:,} were not read" in each.message


def test_lists_of_a_fixed_size_with_nulls(tmp_path: pathlib.Path) -> None:
    """pyarrow refuses to read them."""
    path = str(tmp_path / "a.parquet")
    vectors = [[1.5, 2.0], None, [3.0, None], [0.0, 0.0], None]
    moments = [datetime.datetime(2024, 1, 1, i) for i in range(5)]
    table = pa.table(
        {
            "n": pa.array(range(5), pa.uint16()),
            "vector": pa.array(vectors, pa.list_(pa.float32(), 2)),
            "inside": pa.array([{"v": each} for each in vectors]).cast(
                pa.struct([("v", pa.list_(pa.float64(), 2))])
            ),
            "at": pa.array(moments, pa.timestamp("us", "Europe/Berlin")),
            "took": pa.array([datetime.timedelta(seconds=i) for i in range(5)]),
            "kind": pa.array(["a", "b", None, "a", "a"]).dictionary_encode(),
        }
    )
    pq.write_table(table, path, row_group_size=2)
    tables = _tables(_unit(path))
    rows = [row for each in tables for row in each.to_pylist()]
    assert rows == table.to_pylist()
    assert Parquet().sample(path, 3).to_pydict() == table.slice(0, 3).to_pydict()
    for name in ("at", "took", "kind", "n"):
        assert tables[0].schema.field(name).type == table.schema.field(name).type
    others = Columns(None, frozenset(["vector", "inside"]))
    (first,) = Parquet().elements(_unit(path), others)
    assert isinstance(first, pa.Table)
    assert first.column_names == ["n", "at", "took", "kind"]


def test_damage_in_a_file_with_lists_of_a_fixed_size(tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "a.parquet")
    vectors = pa.array([None, [1.0, 2.0]] * 50, pa.list_(pa.float32(), 2))
    table = pa.table({"n": range(100), "vector": vectors})
    pq.write_table(table, path, row_group_size=25, use_dictionary=False)
    *tables, failed, last = _tables(_unit(_damaged(path, 2)))
    rows = [n for each in [*tables, last] for n in each.column("n").to_pylist()]
    assert rows == [*range(50), *range(75, 100)]
    assert failed.reason == "file_unreadable"
