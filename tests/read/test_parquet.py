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
from mixpanel_sink.read import parquet
from mixpanel_sink.read.parquet import BATCH_ROWS, Parquet
from mixpanel_sink.read.source import Columns, Unit, together


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
