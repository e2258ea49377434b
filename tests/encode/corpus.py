"""Parquet files of others through the sink's two encoders, the emulator's rules and the proof.

    python -m tests.encode.corpus DIR [--rows 5000]

Each cell is made a property of an event of its own. The columnar and the record encoder must write
the same bytes, the emulator must take them, `verify` must expect the very same, and Polars' reader
must read the same value. Nothing is refused without a reason. DIR is, for example, a clone of
apache/parquet-testing.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink import Constant, ContentId, EventMapping, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator import rules
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.errors import InputError, RecordError
from mixpanel_sink.inspect.verify.events import Event, differences, exported_event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.read.parquet import Parquet
from mixpanel_sink.read.source import Columns
from mixpanel_sink.results import FailedRecord

NOW = 1_750_000_000_000
RULES = rules.Rules(now=NOW / 1000, max_event_bytes=2_000_000)
TIME = "time of the event"
MAPPING = EventMapping(
    event=Constant("E"),
    distinct_id=Constant("u"),
    time=TimeColumn(TIME, "s"),
    insert_id=ContentId(),
    ip=None,
)


@dataclasses.dataclass
class Found:
    """What became of the cells of a file.

    Attributes:
        cells: compared.
        differences: each told in a line.
        refused: cells by reason.
        unread: what could not be read, and why.
        other_reader: cells that Polars read as well.
    """

    cells: int = 0
    differences: list[str] = dataclasses.field(default_factory=list)
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    unread: list[str] = dataclasses.field(default_factory=list)
    other_reader: int = 0


def compare_file(path: pathlib.Path, most_rows: int) -> Found:
    """All cells of a file's first rows."""
    found = Found()
    try:
        units = Parquet().units(str(path))
        columns = Parquet().schema(str(path)).names
    except InputError as error:
        found.unread.append(str(error).replace(str(path), path.name))
        return found
    for place, name in enumerate(columns):
        if columns.count(name) > 1:
            found.unread.append(f"{name}: two columns of one name")
            continue
        read: list[Any] = []
        for unit in units:
            for element in Parquet().elements(unit, Columns((name,))):
                if isinstance(element, FailedRecord):
                    found.unread.append(f"{element.message}".replace(str(path), path.name))
                elif len(read) < most_rows:
                    column = element.slice(0, most_rows - len(read)).column(0)
                    _compare_column(column, f"{path.name} {name}", found)
                    read += (
                        column.to_pylist()
                        if _has_python_type(column.type)
                        else [_NOT] * len(column)
                    )
        _compare_reader(path, place, name, read, found)
    return found


_NOT = object()


def _compare_column(column: pa.ChunkedArray, where: str, found: Found) -> None:
    rows = len(column)
    table = pa.table({"p": column, TIME: [1_700_000_000] * rows})
    records = rows_as_records(table, range(rows))
    encoder = MappedEventEncoder(MAPPING, Limits(), None, lambda: NOW)
    by_columns = _columnar(table)
    proof = Expectation(MAPPING, Limits(), None, None, NOW).of([table])
    for row, (record, expected) in enumerate(zip(records, proof, strict=True)):
        found.cells += 1
        try:
            event = encoder.encode(record).json
        except RecordError as error:
            found.refused[error.reason] += 1
            if row in by_columns or isinstance(expected, Event):
                found.differences.append(f"{where} row {row}: refused in one way only, {error}")
            continue
        if by_columns.get(row, event) != event:
            found.differences.append(f"{where} row {row}: {by_columns[row]!r} and {event!r}")
        problem = rules.check(orjson.loads(event), len(event), RULES)
        if not isinstance(problem, int):
            found.differences.append(f"{where} row {row}: the emulator says {problem.message}")
        if not isinstance(expected, Event):
            found.differences.append(f"{where} row {row}: verify refuses {expected.message}")
            continue
        actual = exported_event(orjson.loads(event))
        expected = Event.from_line(expected.to_line())
        if differences(expected, actual) or expected.insert_id != actual.insert_id:
            found.differences.append(f"{where} row {row}: {expected} and {actual}")


def _columnar(table: pa.Table) -> dict[int, bytes]:
    """Events by row; those that are left to the record encoder are not there."""
    events: dict[int, bytes] = {}
    for part in ColumnarEncoder(MAPPING, Limits(), None, lambda: NOW).encode(table):
        events |= zip(part.rows.tolist(), part.texts.events(), strict=True)
    return events


def _has_python_type(kind: pa.DataType) -> bool:
    try:
        pa.array([None], kind).to_pylist()
    except (pa.ArrowException, NotImplementedError):
        return False
    return not (pa.types.is_nested(kind) or (pa.types.is_temporal(kind) and "ns" in str(kind)))


def _compare_reader(
    path: pathlib.Path, place: int, name: str, read: list[Any], found: Found
) -> None:
    """Against Polars' reader, which shares no code with Arrow's."""
    try:
        other = pl.read_parquet(path, columns=[place]).to_series().head(len(read)).to_list()
    except (Exception, pl.exceptions.PanicException):  # what it cannot read
        return
    if len(other) != len(read) or name in _int96(path):  # which it cuts to the years until 2262
        return
    for row, (ours, theirs) in enumerate(zip(read, other, strict=True)):
        if ours is _NOT or type(ours) is not type(theirs):
            continue
        found.other_reader += 1
        if not _same(ours, theirs):
            found.differences.append(
                f"{path.name} {name} row {row}: {ours!r}, but Polars reads {theirs!r}"
            )


def _int96(path: pathlib.Path) -> set[str]:
    schema = pq.ParquetFile(path).schema
    leaves = [schema.column(place) for place in range(len(schema))]
    return {leaf.path.partition(".")[0] for leaf in leaves if leaf.physical_type == "INT96"}


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    if hasattr(one, "tzinfo") and (one.tzinfo is None) != (other.tzinfo is None):
        return bool(one.replace(tzinfo=None) == other.replace(tzinfo=None))
    return bool(one == other)


def compare(folder: pathlib.Path, most_rows: int) -> Iterator[tuple[str, Found]]:
    """Every Parquet file below a folder."""
    for path in sorted(folder.rglob("*.parquet")):
        yield str(path.relative_to(folder)), compare_file(path, most_rows)


def main() -> None:
    """Prints a line a file, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=5000, help="of each column, at most")
    given = parser.parse_args()
    total, files = Found(), 0
    for name, found in compare(given.folder, given.rows):
        files += 1
        refused = ", ".join(f"{n:,} {reason}" for reason, n in sorted(found.refused.items()))
        print(f"{name:<60}{found.cells:>9,} cells  {refused}".rstrip())
        for line in [*dict.fromkeys(found.unread), *found.differences[:5]]:
            print(f"    {line}")
        total.cells += found.cells
        total.other_reader += found.other_reader
        total.differences += found.differences
        total.refused.update(found.refused)
        total.unread += dict.fromkeys(found.unread)
    refused = ", ".join(f"{n:,} {reason}" for reason, n in sorted(total.refused.items()))
    print(
        f"{files} files, {total.cells:,} cells compared, {total.other_reader:,} of them with "
        f"another reader: {len(total.differences)} differences; refused: {refused or 'none'}; "
        f"{len(total.unread)} parts could not be read, each with its reason."
    )
    raise SystemExit(bool(total.differences))


if __name__ == "__main__":
    main()
