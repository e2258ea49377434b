"""Records to the CSV of a lookup table, all or nothing. No Beam here.

A cell has the text of the JSON that an event's property would have, so that the two match: text as
it is, times in ISO 8601, lists and objects as JSON. Rows are sorted by key: the same rows make the
same bytes, in whatever order they come.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from blake3 import blake3

from mixpanel_sink.api.lookup_tables import MAX_BYTES
from mixpanel_sink.api.numbers import json_bytes
from mixpanel_sink.api.values import to_json
from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.batch.runs import Run, take_runs
from mixpanel_sink.encode.blocks import Block, RecordsBlock, TableBlock
from mixpanel_sink.encode.records import as_mapping
from mixpanel_sink.errors import InputError, RecordError, SettingError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.names import near

MOST_NAMED = 10
"""Bad rows that a message names."""
_END = "\r\n"
_SLICE = 10_000
_EXACT = 2.0**53
_QUOTED = re.compile('[",\r\n]')


@dataclasses.dataclass(frozen=True)
class LookupTable:
    """A whole table that Mixpanel takes.

    Attributes:
        columns: the first is the key.
        rows: without the header.
        csv: as in RFC 4180, UTF-8, with a header.
    """

    columns: tuple[str, ...]
    rows: int
    csv: bytes

    @property
    def mark(self) -> str:
        """A hash of its content."""
        return blake3(self.csv).hexdigest()[:32]


@dataclasses.dataclass
class Rows:
    """Some rows of a table, as one worker has read them; picklable.

    Attributes:
        columns: the first is the key; empty before the first row.
        keys, lines: of the rows, as CSV.
        runs: where they come from.
        seen: columns that any row had.
        bad: the first rows that cannot be in the table, as (place, why).
        bad_count: of all of them.
        size: bytes of all lines, of those too that are not kept beyond the limit.
    """

    columns: tuple[str, ...] = ()
    keys: list[str] = dataclasses.field(default_factory=list)
    lines: list[str] = dataclasses.field(default_factory=list)
    runs: list[Run] = dataclasses.field(default_factory=list)
    seen: set[str] = dataclasses.field(default_factory=set)
    bad: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    bad_count: int = 0
    size: int = 0

    def refuse(self, place: str, why: str) -> None:
        """Notes one more bad row."""
        self.bad_count += 1
        if len(self.bad) < MOST_NAMED:
            self.bad.append((place, why))


class RowReader:
    """Reads records into `Rows`.

    Args:
        key: the column that comes first; by default the first one.
        columns: which, in their order. A row without one of them has an empty cell there. By
            default all columns of the first row, which every row must have.

    Raises:
        SettingError: for a key that is not among the columns, or a name that is there twice.
    """

    def __init__(self, key: str | None = None, columns: Sequence[str] = ()) -> None:
        if key is not None and columns and key not in columns:
            raise SettingError(f"The key {key!r} is not among the columns.{near(key, columns)}")
        self._key = key
        self._stated = _with_key(tuple(columns), key) if columns else ()
        _check_header(self._stated)
        self.rows = Rows(self._stated)

    def add(self, element: Any) -> None:
        """Takes a table, a block, a record, or a record that failed in a reader.

        Raises:
            SettingError: if there is no such key column, or the header cannot be one.
        """
        if isinstance(element, FailedRecord):
            self.rows.refuse(_place(element.file, element.row), element.message)
            return
        for block in self._blocks(element):
            for record, origin in zip(
                block.records(), block.origins(range(len(block))), strict=True
            ):
                self._add(record, origin)

    def _blocks(self, element: Any) -> Iterator[Block]:
        origin = Run(1, 0, ())
        if isinstance(element, pa.RecordBatch):
            element = pa.Table.from_batches([element])
        if isinstance(element, pa.Table):
            for start in range(0, len(element), _SLICE):
                whole = TableBlock.of(element, origin)
                yield whole.take(range(start, min(start + _SLICE, len(element))))
        elif isinstance(element, RecordBlock):
            yield RecordsBlock.of_block(element, origin)
        else:
            try:
                yield RecordsBlock.of([as_mapping(element)], [origin])
            except RecordError as error:
                self.rows.refuse("a record", error.message)

    def _add(self, record: Mapping[Any, Any], origin: Run) -> None:
        rows = self.rows
        if not rows.columns:
            self._begin(tuple(map(str, record)))
        rows.seen.update(map(str, record))
        if not self._stated and (problem := _other_columns(record, rows.columns)):
            rows.refuse(_place_of(origin, record), problem)
            return
        try:
            cells = [_cell(record.get(name), name) for name in rows.columns]
        except RecordError as error:
            rows.refuse(_place_of(origin, record), error.message)
            return
        if not cells[0].strip():
            why = f"the key, {rows.columns[0]}, is empty"
            rows.refuse(_place_of(origin, record), why)
            return
        line = _line(cells)
        rows.size += len(line.encode())
        if rows.size <= MAX_BYTES:  # beyond, it is only counted
            rows.keys.append(cells[0])
            rows.lines.append(line)
            rows.runs.append(origin)

    def _begin(self, names: tuple[str, ...]) -> None:
        if self._key is not None and self._key not in names:
            raise SettingError(
                f"The input has no column {self._key!r} for the key.{near(self._key, names)} Its "
                f"columns are: {', '.join(map(repr, names))}."
            )
        self.rows.columns = _with_key(names, self._key)
        _check_header(self.rows.columns)


def make_table(parts: Iterable[Rows]) -> LookupTable:
    """The table of all rows, if Mixpanel takes it.

    Raises:
        InputError: names the first bad rows, or says what else is wrong with it.
    """
    every = Rows()
    first: tuple[str, ...] = ()
    for part in parts:
        first = first or part.columns
        every.bad_count += part.bad_count
        every.bad += part.bad
        every.size += part.size
        every.keys += part.keys
        every.lines += part.lines
        every.runs += part.runs
        every.seen |= part.seen
        if part.columns and sorted(part.columns) != sorted(first):
            every.refuse("some rows", _different(part.columns, first))
        elif part.columns and part.columns != first:
            raise InputError(
                "The rows name their columns in different orders, so that the table's is not "
                "clear. Name the columns (columns=, --columns)."
            )
    if every.seen:
        check_columns(first, sorted(every.seen))
    header = _line(first)
    order = sorted(range(len(every.keys)), key=every.keys.__getitem__)
    for one, other in itertools.pairwise(order):
        if every.keys[one] == every.keys[other]:
            both = [_place_of(take_runs(every.runs, [each])[0]) for each in (one, other)]
            every.refuse(both[1], f"the key {_shown(every.keys[one])} is also in {both[0]}")
    if every.bad_count:
        raise InputError(_bad(every))
    if not every.lines:
        raise InputError(
            "The input has no rows, so nothing was sent, and the table was not changed."
        )
    if (size := every.size + len(header.encode())) > MAX_BYTES:
        raise InputError(
            f"The table has {size:,} bytes as CSV; Mixpanel takes {MAX_BYTES:,}. Nothing was sent. "
            "Leave out columns (columns=, --columns), or rows that no event needs."
        )
    csv = "".join([header, *(every.lines[at] for at in order)]).encode()
    return LookupTable(first, len(order), csv)


def check_columns(columns: Iterable[str], known: Sequence[str]) -> None:
    """Refuses a column that no row has.

    Raises:
        InputError: names it, the nearest one, and those that there are.
    """
    for name in columns:
        if name not in known:
            raise InputError(
                f"No row has a column {name!r}.{near(name, known)} The columns are: "
                f"{', '.join(map(repr, known))}."
            )


def _with_key(names: tuple[str, ...], key: str | None) -> tuple[str, ...]:
    return names if key is None else (key, *(name for name in names if name != key))


def _check_header(names: Sequence[str]) -> None:
    for at, name in enumerate(names):
        if not name.strip():
            raise SettingError("A column has no name; a lookup table needs one for each.")
        if name in names[:at]:
            raise SettingError(f"The column {name!r} is there twice; names must be unique.")


def _other_columns(record: Mapping[Any, Any], columns: tuple[str, ...]) -> str | None:
    if len(record) == len(columns) and all(name in record for name in columns):
        return None
    return _different([str(name) for name in record], columns)


def _different(have: Iterable[str], columns: Iterable[str]) -> str:
    more = sorted({*have} - {*columns})
    less = sorted({*columns} - {*have})
    said = [f"has the column {name!r}, which others have not" for name in more[:1]]
    said += [f"has no column {name!r}, which others have" for name in less[:1]]
    return f"it {' and '.join(said)}; name the columns (columns=, --columns) if that is right"


def _cell(value: Any, name: str) -> str:
    """A value's text.

    Raises:
        RecordError: if an event could not hold it either.
    """
    plain = to_json(value, name, False)
    if plain is None:
        return ""
    if isinstance(plain, str):
        return plain
    if isinstance(plain, float) and plain.is_integer() and abs(plain) < _EXACT:
        plain = int(plain)  # 1.0 is 1 in every JSON
    return json_bytes(plain).decode()


def _line(cells: Iterable[str]) -> str:
    return ",".join(map(_quoted, cells)) + _END


def _quoted(text: str) -> str:
    if _QUOTED.search(text) is None:
        return text
    return '"' + text.replace('"', '""') + '"'


def _place(file: str | None, row: int | None) -> str:
    if file is None:
        return "a record"
    return file if row is None else f"{file}, row {row}"


def _place_of(origin: Run, record: Mapping[Any, Any] | None = None) -> str:
    if origin.file:
        return _place(*origin.place)
    return "another record" if record is None else f"the record {_shown(dict(record))}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _bad(rows: Rows) -> str:
    named = "; ".join(f"{place}: {why}" for place, why in rows.bad[:MOST_NAMED])
    count = "1 row" if rows.bad_count == 1 else f"{rows.bad_count:,} rows"
    more = ", among them" if rows.bad_count > MOST_NAMED else ""
    return (
        f"{count} cannot be in the lookup table, so that nothing was sent{more}: "
        f"{named.removesuffix('.')}."
    )
