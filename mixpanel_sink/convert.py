"""Convert: records and tables to chunks of events, and the records that cannot be one."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink import metrics
from mixpanel_sink.chunk import ChunkBuilder, EventChunk, Run
from mixpanel_sink.credentials import Credentials
from mixpanel_sink.destination import Destination
from mixpanel_sink.encode.columnar import ColumnarEncoder, EncodedTable, rows_as_records
from mixpanel_sink.encode.records import EventChecker, RecordEncoder, Source, as_mapping
from mixpanel_sink.errors import RecordError
from mixpanel_sink.limits import Limits
from mixpanel_sink.mapping import EventMapping
from mixpanel_sink.origin import TableOrigin
from mixpanel_sink.results import FailedRecord, record_as_json
from mixpanel_sink.windowing import WindowCodec

FAILED, READ = "failed", "read"
"""Tags of the other outputs: failed records, and how many records each bundle read."""

SLICE_ROWS = 50_000
"""Rows of a table that are encoded at once ..."""
SLICE_BYTES = 16_000_000
"""... if they are no larger than this in Arrow's form."""


@dataclasses.dataclass(frozen=True)
class ConvertSettings:
    """What Convert needs to know; picklable, without secrets."""

    mapping: EventMapping | None
    credentials: Credentials
    destination: Destination
    limits: Limits
    lanes: int
    window_coder: Any
    clock: Callable[[], float] = time.time


class ConvertToChunks(beam.DoFn):
    """Emits (lane key, chunk as bytes); FAILED and READ on the side.

    Elements are dicts, rows, named tuples, `pyarrow.Table`s and record batches. Chunks are
    in the global window; failed records in that of their record.
    """

    def __init__(self, settings: ConvertSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        """Resolves the token and builds the encoders."""
        settings = self._settings
        self._codec = WindowCodec(settings.window_coder)
        token = settings.credentials.resolve().token if _has_token(settings.credentials) else None
        clock = settings.clock

        def milliseconds() -> int:
            return int(clock() * 1000)

        self._columnar: ColumnarEncoder | None = None
        self._records: RecordEncoder | EventChecker
        if settings.mapping is None:
            self._records = EventChecker(settings.limits, token, clock=milliseconds)
        else:
            mapping, limits = settings.mapping, settings.limits
            self._records = RecordEncoder(mapping, limits, token, milliseconds)
            self._columnar = ColumnarEncoder(mapping, limits, token, milliseconds)
        self._turn = 0
        self.start_bundle()

    def start_bundle(self) -> None:
        """Begins with nothing in hand."""
        self._tail = ChunkBuilder(self._settings.limits)
        self._held: list[EventChunk] = []
        self._read = 0
        self._long_strings = 0

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterator[Any]:
        """One record or table."""
        windows = self._codec.encode(windowed.windows)
        origin = Run(1, windowed.timestamp.micros, windows)
        if isinstance(element, pa.RecordBatch):
            element = pa.Table.from_batches([element])
        if isinstance(element, pa.Table):
            outputs: Iterable[EventChunk | FailedRecord] = self._table(element, origin)
        else:
            outputs = self._record(element, origin)
        # Beam repeats a DoFn's windowed output once for each window of the input. An element in
        # several windows (sliding ones) must still be sent once: its chunks wait for the end
        # of the bundle.
        several = len(windowed.windows) != 1
        for output in outputs:
            if isinstance(output, FailedRecord):
                metrics.count_failed(output)
                yield beam.pvalue.TaggedOutput(FAILED, output)
            elif several:
                self._held.append(output)
            else:
                yield self._emit(output)

    def finish_bundle(self) -> Iterator[Any]:
        """Emits what is left, and the number of records read."""
        tail = self._tail.flush()
        for chunk in [*self._held, *([] if tail is None else [tail])]:
            yield self._emit(chunk)
        if self._read:
            metrics.count("records_read", self._read)
            metrics.count("long_strings", self._long_strings)
            read = WindowedValue(self._read, MIN_TIMESTAMP, (GlobalWindow(),))
            yield beam.pvalue.TaggedOutput(READ, read)
        self.start_bundle()

    def _emit(self, chunk: EventChunk) -> WindowedValue:
        settings = self._settings
        lane = 0
        if chunk.count >= settings.limits.batch_events:
            # Only full chunks take turns: partial ones all meet in the first lane.
            lane = self._turn = (self._turn + 1) % settings.lanes
        timestamp = Timestamp(micros=min(run.timestamp for run in chunk.runs))
        key = lane_key(settings.destination, lane)
        return WindowedValue((key, chunk.to_bytes()), timestamp, (GlobalWindow(),))

    def _record(self, element: Any, origin: Run) -> Iterator[EventChunk | FailedRecord]:
        self._read += 1
        yield from self._encode(element, origin, None)

    def _encode(
        self, element: Any, origin: Run, source: Source | None
    ) -> Iterator[EventChunk | FailedRecord]:
        try:
            encoded = self._records.encode(as_mapping(element), source)
        except RecordError as error:
            yield self._failure(error, element, source)
            return
        self._long_strings += encoded.long_strings
        full = self._tail.add(encoded.json, origin)
        if full is not None:
            yield full

    def _failure(self, error: RecordError, element: Any, source: Source | None) -> FailedRecord:
        if not isinstance(element, dict):
            try:
                element = dict(as_mapping(element))
            except RecordError:
                element = repr(element)
        return FailedRecord(
            reason=error.reason,
            message=error.message,
            field=error.field,
            destination=self._settings.destination.host,
            record_json=record_as_json(element),
            file=source.file if source else None,
            row=source.row if source else None,
        )

    def _table(self, table: pa.Table, origin: Run) -> Iterator[EventChunk | FailedRecord]:
        self._read += len(table)
        place = TableOrigin.of(table)
        rows = slice_rows(table, self._settings.limits.batch_events)
        for start in range(0, len(table), rows):
            part = table.slice(start, rows)
            part_place = None if place is None else place.at(start)
            if self._columnar is None:
                every = np.arange(len(part))
                yield from self._leftover(part, every, origin, part_place)
                continue
            key, row = (None, 0) if part_place is None else (part_place.key, part_place.first_row)
            for encoded in self._columnar.encode(part, key, row):
                self._long_strings += encoded.long_strings
                yield from self._cut(encoded, origin, part_place)
                yield from self._leftover(part, encoded.leftover, origin, part_place)

    def _leftover(
        self, table: pa.Table, rows: Any, origin: Run, place: TableOrigin | None
    ) -> Iterator[EventChunk | FailedRecord]:
        """Rows for the record encoder."""
        for at in range(0, len(rows), 2000):
            some = rows[at : at + 2000].tolist()
            for row, record in zip(some, rows_as_records(table, some), strict=True):
                source = None if place is None else place.source(row)
                where = origin
                if source is not None:
                    where = origin._replace(file=source.file, row=source.row)
                yield from self._encode(record, where, source)

    def _cut(
        self, table: EncodedTable, origin: Run, place: TableOrigin | None
    ) -> Iterator[EventChunk]:
        """Full chunks straight from the buffer; the rest joins the bundle's tail."""
        limits = self._settings.limits
        most = limits.batch_bytes - 8
        offsets, count, start = table.offsets, len(table.rows), 0
        while start < count:
            stop = min(start + limits.batch_events, count)
            full = stop - start == limits.batch_events
            if offsets[stop] - offsets[start] > most:
                stop = int(np.searchsorted(offsets, offsets[start] + most, "right")) - 1
                full = True
            runs = _runs(table.rows[start:stop], origin, place)
            lines = table.buffer[int(offsets[start]) : int(offsets[stop])]
            if full:
                yield EventChunk.of_lines(lines, stop - start, runs)
            else:
                at = start
                for run in runs:
                    for i in range(run.count):
                        event = bytes(table.buffer[int(offsets[at]) + 2 : int(offsets[at + 1])])
                        done = self._tail.add(event, run.slice(i, 1))
                        at += 1
                        if done is not None:
                            yield done
            start = stop


def lane_key(destination: Destination, lane: int) -> str:
    """The key of a lane; part of the upgrade contract."""
    return f"{destination.url}#{lane}"


def slice_rows(table: pa.Table, batch_events: int) -> int:
    """How many rows to encode at once, so that memory stays small for wide tables too."""
    rows = SLICE_ROWS
    if (size := table.nbytes) > SLICE_BYTES and len(table):
        rows = max(64, min(rows, SLICE_BYTES * len(table) // size))
    return rows - rows % batch_events if rows >= batch_events else rows


def _runs(rows: Any, origin: Run, place: TableOrigin | None) -> list[Run]:
    if place is None:
        return [origin._replace(count=len(rows))]
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    runs = []
    for part in np.split(rows, breaks):
        row = place.first_row + int(part[0])
        runs.append(origin._replace(count=len(part), file=place.file, row=row))
    return runs


def _has_token(credentials: Credentials) -> bool:
    return credentials.token is not None
