"""Convert: records and tables to chunks of events, and the records that cannot be one."""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink import metrics
from mixpanel_sink.chunk import ChunkBuilder, EventChunk, Run
from mixpanel_sink.credentials import Credentials
from mixpanel_sink.destination import Destination
from mixpanel_sink.encode.columnar import ColumnarEncoder, rows_as_records
from mixpanel_sink.encode.records import EventChecker, RecordEncoder, Source, as_mapping
from mixpanel_sink.encode.tables import EncodedSlice, encode_slice, slice_rows, table_of
from mixpanel_sink.errors import RecordError
from mixpanel_sink.limits import Limits
from mixpanel_sink.mapping import EventMapping
from mixpanel_sink.origin import TableOrigin
from mixpanel_sink.results import FailedRecord, record_as_json
from mixpanel_sink.windowing import WindowCodec

FAILED, READ = "failed", "read"
"""Tags of the other outputs: failed records, and how many records each bundle read."""

FIRST_BATCH = 256
"""Records that are encoded together, before their size is known."""
BATCH_BYTES = 8_000_000
"""Records of so much JSON at most are encoded together."""
ENCODERS = 2
"""Threads that encode slices of tables ahead of Send. More won nothing on two cores."""


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
        # Without a token in the events, Convert needs no secret.
        wanted = settings.credentials.token is not None
        token = settings.credentials.resolve().token if wanted else None
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
        self._batch_size = min(FIRST_BATCH, settings.limits.batch_events)
        self._pool = concurrent.futures.ThreadPoolExecutor(ENCODERS, "mixpanel-encode")
        self._ahead: collections.deque[_Slice] = collections.deque()
        self.start_bundle()

    def start_bundle(self) -> None:
        """Begins with nothing in hand."""
        while self._ahead:  # of a bundle that failed
            self._ahead.pop().future.cancel()
        self._tail = ChunkBuilder(self._settings.limits)
        self._batch = _RecordBatch()
        self._held: list[Any] = []
        self._read = 0
        self._long_strings = 0

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any]:
        """One record or table."""
        if isinstance(element, pa.RecordBatch):
            element = pa.Table.from_batches([element])
        timestamp, windows = windowed.timestamp.micros, self._codec.encode(windowed.windows)
        if isinstance(element, pa.Table):
            outputs: Iterable[Any] = self._table(element, Run(1, timestamp, windows))
        else:
            self._read += 1
            if type(element) is dict and self._columnar is not None:
                outputs = self._collect(element, timestamp, windows)
            else:
                outputs = self._one(element, Run(1, timestamp, windows))
        if len(windowed.windows) == 1:
            return outputs
        # Beam repeats what a DoFn puts into windows of its own once for each window of the
        # input. An element in several windows (sliding ones) must still be sent once, so that
        # its outputs wait for the end of the bundle.
        self._held += outputs
        return ()

    def finish_bundle(self) -> Iterator[Any]:
        """Emits what is left, and the number of records read."""
        yield from self._held
        yield from self._send_batch()
        yield from self._slices(0)
        tail = self._tail.flush()
        if tail is not None:
            yield self._emit(tail)
        if self._read:
            metrics.count("records_read", self._read)
            metrics.count("long_strings", self._long_strings)
            read = WindowedValue(self._read, MIN_TIMESTAMP, (GlobalWindow(),))
            yield beam.pvalue.TaggedOutput(READ, read)
        self.start_bundle()

    def teardown(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _emit(self, chunk: EventChunk) -> WindowedValue:
        settings = self._settings
        lane = 0
        if chunk.count >= settings.limits.batch_events:
            # Only full chunks take turns: partial ones all meet in the first lane.
            lane = self._turn = (self._turn + 1) % settings.lanes
        timestamp = Timestamp(micros=min(run.timestamp for run in chunk.runs))
        key = lane_key(settings.destination, lane)
        return WindowedValue((key, chunk.to_bytes()), timestamp, (GlobalWindow(),))

    def _one(self, element: Any, origin: Run) -> Iterator[Any]:
        """One record that is no dict, or needs no mapping."""
        try:
            record = as_mapping(element)
        except RecordError as error:
            yield self._fail(error, element, origin, None)
            return
        if self._columnar is None:
            yield from self._encode(record, origin, None)
            return
        yield from self._collect(dict(record), origin.timestamp, origin.windows)

    def _collect(
        self, record: dict[Any, Any], timestamp: int, windows: tuple[str, ...]
    ) -> Iterable[Any]:
        """One record that joins the batch, which goes to the encoders when it is full."""
        self._batch.add(record, timestamp, windows)
        if len(self._batch.records) < self._batch_size:
            return ()
        return self._send_batch()

    def _send_batch(self) -> Iterator[Any]:
        """Hands the records so far to the encoders, and emits what they have done meanwhile."""
        batch, self._batch = self._batch, _RecordBatch()
        if not batch.records:
            return
        future = self._pool.submit(self._encode_batch, batch)
        self._ahead.append(_Slice(future, batch, None))
        yield from self._slices(ENCODERS)

    def _encode_batch(self, batch: _RecordBatch) -> EncodedSlice:
        """As a table where that is the same, which takes a fifth of the time."""
        assert self._columnar is not None
        table = table_of(batch.records)
        if table is None:
            return EncodedSlice(odd=list(range(len(batch.records))))
        return encode_slice(self._columnar, table, None, batch.origins, self._settings.limits)

    def _encode(
        self, element: Mapping[Any, Any], origin: Run, source: Source | None
    ) -> Iterator[Any]:
        """One record through the record encoder."""
        try:
            encoded = self._records.encode(element, source)
        except RecordError as error:
            yield self._fail(error, element, origin, source)
            return
        self._long_strings += encoded.long_strings
        yield from self._add(encoded.json, origin)

    def _fail(
        self, error: RecordError, element: Any, origin: Run, source: Source | None
    ) -> beam.pvalue.TaggedOutput:
        readable = dict(element) if isinstance(element, Mapping) else repr(element)
        failure = FailedRecord(
            reason=error.reason,
            message=error.message,
            field=error.field,
            destination=self._settings.destination.host,
            record_json=record_as_json(readable),
            file=source.file if source else None,
            row=source.row if source else None,
        )
        metrics.count_failed(failure)
        return beam.pvalue.TaggedOutput(FAILED, self._codec.restore(failure, origin))

    def _add(self, event: bytes, origin: Run) -> Iterator[Any]:
        """One event that joins the bundle's tail."""
        full = self._tail.add(event, origin)
        if full is not None:
            yield self._emit(full)

    def _table(self, table: pa.Table, origin: Run) -> Iterator[Any]:
        """Hands the table's slices to the encoders, and emits what they have done meanwhile."""
        self._read += len(table)
        place = TableOrigin.of(table)
        limits = self._settings.limits
        rows = slice_rows(table, limits.batch_events)
        for start in range(0, len(table), rows):
            part = table.slice(start, rows)
            where = origin._replace(count=len(part))
            if place is not None:
                where = where._replace(file=place.file, row=place.first_row + start)
            key = None if place is None else place.key
            if self._columnar is None:
                yield from self._rows(part, range(len(part)), key, where)
                continue
            future = self._pool.submit(encode_slice, self._columnar, part, key, [where], limits)
            self._ahead.append(_Slice(future, _TableSlice(part, where), key))
            yield from self._slices(ENCODERS)

    def _slices(self, ahead: int) -> Iterator[Any]:
        """Outputs of the oldest slices, until no more than `ahead` are under way."""
        while len(self._ahead) > ahead:
            done = self._ahead.popleft()
            encoded = done.future.result()
            self._long_strings += encoded.long_strings
            for chunk in encoded.chunks:
                yield self._emit(chunk)
            for event, where in encoded.rest:
                yield from self._add(event, where)
            if isinstance(done.input, _TableSlice):
                yield from self._rows(done.input.table, encoded.odd, done.key, done.input.origin)
            else:
                self._batch_size = batch_size(encoded, self._settings.limits)
                origins = done.input.origin_of_each() if encoded.odd else []
                for row in encoded.odd:
                    yield from self._encode(done.input.records[row], origins[row], None)

    def _rows(
        self, table: pa.Table, rows: Sequence[int], key: str | None, origin: Run
    ) -> Iterator[Any]:
        """Rows of a table, one by one."""
        for at in range(0, len(rows), 2000):
            some = rows[at : at + 2000]
            for row, record in zip(some, rows_as_records(table, some), strict=True):
                where = origin.slice(row, 1)
                source = None if key is None else Source(where.file, key, where.row)
                yield from self._encode(record, where, source)


class _RecordBatch:
    """Records that wait to be encoded together, and their origins as runs."""

    def __init__(self) -> None:
        self.records: list[dict[Any, Any]] = []
        self._runs: list[list[Any]] = []  # [count, timestamp, windows]

    def add(self, record: dict[Any, Any], timestamp: int, windows: tuple[str, ...]) -> None:
        """Takes one more."""
        last = self._runs[-1] if self._runs else None
        if last is not None and last[1] == timestamp and last[2] == windows:
            last[0] += 1
        else:
            self._runs.append([1, timestamp, windows])
        self.records.append(record)

    @property
    def origins(self) -> list[Run]:
        """One run for neighbours that share timestamp and windows."""
        return [Run(*run) for run in self._runs]

    def origin_of_each(self) -> list[Run]:
        """One run for each record."""
        return [run.slice(i, 1) for run in self.origins for i in range(run.count)]


@dataclasses.dataclass(frozen=True)
class _TableSlice:
    """A part of a table, and where its rows come from."""

    table: pa.Table
    origin: Run


@dataclasses.dataclass(frozen=True)
class _Slice:
    """What an encoder is at."""

    future: concurrent.futures.Future[EncodedSlice]
    input: _TableSlice | _RecordBatch
    key: str | None


def batch_size(encoded: EncodedSlice, limits: Limits) -> int:
    """How many records to take together next: a request's worth, but few if they are large."""
    events = sum(chunk.count for chunk in encoded.chunks) + len(encoded.rest)
    raw_bytes = sum(chunk.raw_bytes for chunk in encoded.chunks)
    raw_bytes += sum(len(event) for event, _ in encoded.rest)
    if not events:
        return min(FIRST_BATCH, limits.batch_events)
    return max(16, min(limits.batch_events, BATCH_BYTES * events // max(1, raw_bytes)))


def lane_key(destination: Destination, lane: int) -> str:
    """The key of a lane; part of the upgrade contract."""
    return f"{destination.url}#{lane}"
