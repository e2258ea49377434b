"""A slice of a table to chunks: the part of Convert that runs ahead on threads.

Touches nothing but its arguments.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa

from mixpanel_sink.chunk import EventChunk, Run
from mixpanel_sink.encode.columnar import ColumnarEncoder, EncodedTable
from mixpanel_sink.limits import Limits
from mixpanel_sink.origin import TableOrigin

SLICE_ROWS = 20_000
"""Rows of a table that are encoded at once ..."""
SLICE_BYTES = 8_000_000
"""... if they are no larger than this in Arrow's form."""
_FRAME_BYTES = 3
"""What a chunk of lines has around them: a bracket, a line break and a bracket."""


@dataclasses.dataclass
class EncodedSlice:
    """What became of a slice.

    Attributes:
        chunks: full ones.
        rest: events, as JSON, that do not fill a chunk, each with its origin.
        odd: rows that the record encoder must look at.
        long_strings: values that Mixpanel will cut.
    """

    chunks: list[EventChunk] = dataclasses.field(default_factory=list)
    rest: list[tuple[bytes, Run]] = dataclasses.field(default_factory=list)
    odd: list[int] = dataclasses.field(default_factory=list)
    long_strings: int = 0


def slice_rows(table: pa.Table, batch_events: int) -> int:
    """How many rows to encode at once, so that memory stays small for wide tables too."""
    rows = SLICE_ROWS
    if (size := table.nbytes) > SLICE_BYTES and len(table):
        rows = max(64, min(rows, SLICE_BYTES * len(table) // size))
    return rows - rows % batch_events if rows >= batch_events else rows


def encode_slice(
    encoder: ColumnarEncoder,
    table: pa.Table,
    place: TableOrigin | None,
    origin: Run,
    limits: Limits,
) -> EncodedSlice:
    """Encodes, cuts into chunks and compresses.

    Args:
        encoder: of the mapping.
        table: the slice.
        place: file and row of its first row, where known.
        origin: windows and timestamp of the element that it is from.
        limits: of a chunk.
    """
    result = EncodedSlice()
    key, row = (None, 0) if place is None else (place.key, place.first_row)
    for encoded in encoder.encode(table, key, row):
        result.long_strings += encoded.long_strings
        result.odd += encoded.leftover.tolist()
        _cut(encoded, place, origin, limits, result)
    return result


def _cut(
    table: EncodedTable,
    place: TableOrigin | None,
    origin: Run,
    limits: Limits,
    result: EncodedSlice,
) -> None:
    most = limits.batch_bytes - _FRAME_BYTES + len(b"\n,")
    offsets, count, start = table.offsets, len(table.rows), 0
    while start < count:
        stop = min(start + limits.batch_events, count)
        full = stop - start == limits.batch_events
        if offsets[stop] - offsets[start] > most:
            stop = int(np.searchsorted(offsets, offsets[start] + most, "right")) - 1
            full = True
        runs = _runs(table.rows[start:stop], place, origin)
        if full:
            lines = table.buffer[int(offsets[start]) : int(offsets[stop])]
            result.chunks.append(EventChunk.of_lines(lines, stop - start, runs))
        else:
            at = start
            for run in runs:
                for i in range(run.count):
                    event = bytes(table.buffer[int(offsets[at]) + 2 : int(offsets[at + 1])])
                    result.rest.append((event, run.slice(i, 1)))
                    at += 1
        start = stop


def _runs(rows: Any, place: TableOrigin | None, origin: Run) -> list[Run]:
    """The origins of a chunk's rows: one run for each stretch without a gap."""
    if place is None:
        return [origin._replace(count=len(rows))]
    first = place.first_row
    if rows[-1] - rows[0] == len(rows) - 1:
        return [origin._replace(count=len(rows), file=place.file, row=first + int(rows[0]))]
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return [
        origin._replace(count=len(part), file=place.file, row=first + int(part[0]))
        for part in np.split(rows, breaks)
    ]
