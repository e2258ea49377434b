"""A slice of a table, or a batch of records, to chunks: what Convert runs ahead on threads.

Touches nothing but its arguments.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import decimal
import itertools
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

import numpy as np
import pyarrow as pa

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.keys import Keys
from mixpanel_sink.batch.origin import SLICE_ROWS, FileKey, memory_bytes
from mixpanel_sink.batch.runs import Run, rows_of, singles, take_runs
from mixpanel_sink.encode.columnar import ColumnarEncoder, EncodedTable
from mixpanel_sink.encode.event_json import COUNTED, EventCounts
from mixpanel_sink.encode.json_columns import json_column
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.mapping import EventMapping

SLICE_BYTES = 8_000_000
"""`SLICE_ROWS` rows of a table are encoded at once if they are no larger than this in Arrow's
form. Half of that takes 60 MB less memory for wide tables, and a seventh more time."""
MOST_MISSING = 3
"""Records with different keys are a table if it has at most so many times the cells that they
have; else it would be mostly nulls."""
_FRAME_BYTES = 3
"""What a chunk of lines has around them: a bracket, a line break and a bracket."""


@dataclasses.dataclass
class EncodedSlice:
    """What became of a slice.

    Attributes:
        chunks: full ones.
        rest: events, as JSON, that do not fill a chunk, each with its origin.
        odd: rows that the record encoder must look at.
        failed: records that cannot be sent, each with its origin.
        counts: of the events, by the names of `EventCounts`.
        keys: of the events, by which they are compared with others.
    """

    chunks: list[EventChunk] = dataclasses.field(default_factory=list)
    rest: list[tuple[bytes, Run]] = dataclasses.field(default_factory=list)
    odd: list[int] = dataclasses.field(default_factory=list)
    failed: list[tuple[FailedRecord, Run]] = dataclasses.field(default_factory=list)
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    keys: list[Keys] = dataclasses.field(default_factory=list)

    def count(self, encoded: EventCounts) -> None:
        """Adds the counts of one or more events."""
        for name in COUNTED:
            if amount := getattr(encoded, name):
                self.counts[name] += amount


def slice_rows(table: pa.Table, batch_events: int) -> int:
    """How many rows to encode at once, so that memory stays small for wide tables too."""
    rows = SLICE_ROWS
    if (size := _plain_bytes(table)) > SLICE_BYTES and len(table):
        rows = max(8, min(rows, SLICE_BYTES * len(table) // size))
    if rows < batch_events:
        return rows
    rows -= rows % batch_events
    if rows >= len(table):
        return rows
    # Of about the same size: a small one at the end would cost nearly as much as a large one.
    parts = -(-len(table) // rows)
    return -(-len(table) // (parts * batch_events)) * batch_events


def _plain_bytes(table: pa.Table) -> int:
    """A table's size where each row has its own copy of a dictionary's value, as events do."""
    size = memory_bytes(table)
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            for chunk in column.chunks:
                words = chunk.dictionary
                size += (len(chunk) - len(words)) * memory_bytes(words) // max(1, len(words))
    return size


def encode_slice(
    encoder: ColumnarEncoder,
    table: pa.Table,
    key: FileKey,
    origins: Sequence[Run],
    limits: Limits,
) -> EncodedSlice:
    """Encodes, cuts into chunks and compresses.

    Args:
        encoder: of the mapping.
        table: the slice.
        key: stands for the file in position ids, or one for each row; None if that is unknown.
        origins: where the rows come from, as runs that add up to the table.
        limits: of a chunk.
    """
    result = EncodedSlice()
    first_row: int | np.ndarray[Any, np.dtype[np.int64]] = max(0, origins[0].row) if origins else 0
    if key is not None and len(origins) > 1:
        first_row = rows_of(origins)
    for encoded in encoder.encode(table, key, first_row):
        result.count(encoded)
        if encoded.keys is not None:
            result.keys.append(encoded.keys)
        result.odd += encoded.leftover.tolist()
        _cut(encoded, origins, limits, result)
    return result


def _cut(table: EncodedTable, origins: Sequence[Run], limits: Limits, result: EncodedSlice) -> None:
    most = limits.batch_bytes - _FRAME_BYTES + len(b"\n,")
    texts, count, start = table.texts, len(table.rows), 0
    offsets = texts.offsets
    while start < count:
        stop = min(start + limits.batch_events, count)
        full = stop - start == limits.batch_events
        if offsets[stop] - offsets[start] > most:
            stop = int(np.searchsorted(offsets, offsets[start] + most, "right")) - 1
            full = True
        runs = take_runs(origins, table.rows[start:stop])
        if full:
            lines = texts.lines(start, stop)
            result.chunks.append(EventChunk.of_lines(lines, stop - start, runs))
        else:
            result.rest += zip(texts.events(start, stop), singles(runs), strict=True)
        start = stop


def table_of(
    records: Sequence[Mapping[Any, Any]], mapping: EventMapping | None = None
) -> pa.Table | None:
    """Records as a table that makes the same events, or None.

    Without a mapping it holds exactly the same values: all records have the same keys, each with
    values of one plain type (or null), so that no value changes its type or its text on the way.

    With one, what only becomes properties may be of any type, and of several: it is written as
    JSON here, value by value. And where the mapping leaves out nulls, keys may be missing.
    """
    required = mapping.mapped_columns() if mapping is not None and mapping.drop_nulls else None
    values = values_by_name(records, required)
    return None if values is None else table_of_columns(values, mapping)


def values_by_name(
    records: Sequence[Mapping[Any, Any]], required: Collection[str] | None
) -> dict[Any, list[Any]] | None:
    """All records' values of each key.

    None if keys are missing: one of the required ones, or so many that a table would be mostly
    nulls; without `required`, any. None too if there are no keys at all: a table without columns
    has no rows.
    """
    cells = sum(map(len, records))
    if not cells:
        return None
    if cells == len(records[0]) * len(records):
        with contextlib.suppress(Exception):  # of a user's class, too
            return {name: [record[name] for record in records] for name in records[0]}
    if required is None:
        return None
    try:
        names = sorted(set(itertools.chain.from_iterable(records)), key=str)
    except Exception:  # a key of a user's class
        return None
    if len(names) * len(records) > MOST_MISSING * cells:
        return None
    if required and not all(set(required) <= record.keys() for record in records):
        return None
    return {name: [record.get(name) for record in records] for name in names}


def table_of_columns(
    values: Mapping[Any, Sequence[Any]], mapping: EventMapping | None = None
) -> pa.Table | None:
    """A table of such columns; None where it would not make the same events: see `table_of`."""
    mapped = {} if mapping is None else mapping.mapped_columns()
    columns: dict[str, pa.Array] = {}
    for name, of_name in values.items():
        if type(name) is not str:
            return None
        column = plain_column(of_name)
        if column is None:
            if mapping is None or name in mapped:
                return None
            column = json_column(of_name, name, mapping.non_finite == "drop")
        columns[name] = column
    try:
        return pa.table(columns)
    except UnicodeEncodeError:  # half a surrogate pair in a name
        return None


def plain_column(values: Sequence[Any]) -> pa.Array | None:
    """Values of one plain type, or null, as an Arrow array; None if that would change one."""
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if len(kinds) > 1:
        return None
    try:
        if kinds == {decimal.Decimal}:
            return pa.array(values)  # of as many digits as they need
        kind = _arrow_type(kinds, values)
        return None if kind is None else pa.array(values, kind)
    except Exception:
        return None  # integers beyond 64 bits, half surrogates, a time zone of the user's, ...


_PLAIN: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.timedelta: pa.duration("us"),
}


def _arrow_type(kinds: Set[type], values: Sequence[Any]) -> pa.DataType | None:
    if not kinds:
        return pa.null()
    (kind,) = kinds
    if kind is datetime.datetime:
        zoned = {value.utcoffset() is not None for value in values if value is not None}
        return None if len(zoned) > 1 else pa.timestamp("us", "UTC" if zoned.pop() else None)
    return _PLAIN.get(kind)
