"""Packs the records of one project into chunks: what Convert does for each of its projects.

Dicts and tables are encoded ahead, on threads; results keep the order of the records.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.builder import ChunkBuilder
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.origin import Source
from mixpanel_sink.batch.runs import Run, cut_runs
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.event_tables import EventTables
from mixpanel_sink.encode.records import EventChecker, RecordEncoder
from mixpanel_sink.encode.replay import ReplayEncoder
from mixpanel_sink.encode.tables import EncodedSlice, encode_slice, slice_rows, table_of
from mixpanel_sink.encode.updates import UpdateChecker, UpdateEncoder
from mixpanel_sink.errors import RecordError
from mixpanel_sink.report import metrics
from mixpanel_sink.results import FailedRecord, hidden, record_as_json
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import UpdateMapping
from mixpanel_sink.settings.project import Target
from mixpanel_sink.windowing import WindowCodec

FAILED = "failed"
"""Tag of the output of failed records."""
FIRST_BATCH = 256
"""Records that are encoded together, before their size is known."""
BATCH_REQUESTS = 5
"""Records of so many requests at most are encoded together ..."""
BATCH_BYTES = 8_000_000
"""... and of so much JSON. Each batch costs some milliseconds, whatever its size."""
AHEAD = 2
"""Slices that may wait, encoded, for their turn."""


class Packer:
    """Fills the chunks of one project.

    Args:
        target: the project.
        settings: of Convert.
        codec: for windows.
        pool: threads to encode on.
        ahead: what is under way there, of all projects, in the records' order.
    """

    def __init__(
        self,
        target: Target,
        settings: Job,
        codec: WindowCodec,
        pool: concurrent.futures.Executor,
        ahead: collections.deque[Slice],
    ) -> None:
        self.name = target.name
        self._settings = settings
        self._limits = target.limits
        self._codec = codec
        self._pool = pool
        self._ahead = ahead
        self._records, self._together = encoders(target, settings)
        self._replay: ReplayEncoder | None = None
        self._batch_size = min(FIRST_BATCH, self._limits.batch_events)
        self._turn = 0
        self.start()

    @property
    def collects(self) -> bool:
        """Whether records are encoded together."""
        return self._together is not None

    def start(self) -> None:
        """Begins a bundle with nothing in hand."""
        endpoint = self._settings.endpoint
        group_of = endpoint.group_of if endpoint.ordered else None
        # Updates of a profile stay in one lane; of events only full chunks are spread.
        lanes = self._settings.lanes if endpoint.ordered else 1
        self._tails = [ChunkBuilder(self._limits, group_of) for _ in range(lanes)]
        self._batch = RecordBatch()
        self.read = 0
        self.long_strings = 0

    def collect(
        self, record: dict[Any, Any], timestamp: int, windows: tuple[str, ...]
    ) -> Iterable[Any]:
        """One record that joins the batch, which goes to the encoders when it is full."""
        self._batch.add(record, timestamp, windows)
        if len(self._batch.records) < self._batch_size:
            return ()
        return self.send_batch()

    def send_batch(self) -> Iterator[Any]:
        """Hands the records so far to the encoders, and emits what they have done meanwhile."""
        batch, self._batch = self._batch, RecordBatch()
        if batch.records:
            yield from self.block(batch.records, None, batch.origins)

    def block(
        self, records: Sequence[Mapping[Any, Any]], key: str | None, origins: Sequence[Run]
    ) -> Iterator[Any]:
        """Hands records to the encoders, some requests' worth together.

        Args:
            records: of this project.
            key: stands for their file in position ids; None if that is unknown.
            origins: where they come from, as runs that add up to the records.
        """
        self.read += len(records)
        yield from self._records_ahead(records, key, origins)

    def _records_ahead(
        self, records: Sequence[Mapping[Any, Any]], key: str | None, origins: Sequence[Run]
    ) -> Iterator[Any]:
        start = 0
        while start < len(records):
            part = records[start : start + self._batch_size]
            where = list(cut_runs(origins, start, start + len(part)))
            start += len(part)
            yield from self._encode_ahead(self._encode_records, RecordSlice(part, key, where))

    def table(self, table: pa.Table, key: str | None, origins: Sequence[Run]) -> Iterator[Any]:
        """Hands the table's slices to the encoders; the arguments are as in `block`."""
        self.read += len(table)
        rows = slice_rows(table, self._limits.batch_events)
        for start in range(0, len(table), rows):
            part = table.slice(start, rows)
            where = list(cut_runs(origins, start, start + len(part)))
            given = TableSlice(part, key, where)
            if isinstance(self._together, ColumnarEncoder):
                yield from self._encode_ahead(self._encode_table, given)
            elif self._together is not None:
                yield from self._records_ahead(given.at(range(len(part))), key, where)
            else:
                yield from self._one_by_one(given, range(len(part)))

    def _encode_ahead(
        self, encode: Callable[[Any], EncodedSlice], given: TableSlice | RecordSlice
    ) -> Iterator[Any]:
        """Begins to encode, and emits what was encoded meanwhile."""
        self._ahead.append(Slice(self, self._pool.submit(encode, given), given))
        yield from slices(self._ahead, AHEAD)

    def _encode_table(self, given: TableSlice) -> EncodedSlice:
        assert isinstance(self._together, ColumnarEncoder)
        return encode_slice(self._together, given.table, given.key, given.origins, self._limits)

    def _encode_records(self, given: RecordSlice) -> EncodedSlice:
        """As a table where that makes the same events, which takes a quarter of the time."""
        found = None
        if isinstance(self._together, EventTables):
            found = self._together.table_of(given.records)
        elif self._together is not None:
            table = table_of(given.records, self._together.mapping)
            found = None if table is None else (self._together, table)
        if found is None:
            return EncodedSlice(odd=list(range(len(given.records))))
        return encode_slice(*found, given.key, given.origins, self._limits)

    def done(self, encoded: EncodedSlice, given: TableSlice | RecordSlice) -> Iterator[Any]:
        """Outputs of one slice."""
        self.long_strings += encoded.long_strings
        for chunk in encoded.chunks:
            yield self._emit(chunk, self._next_lane(chunk))
        for event, where in encoded.rest:
            yield from self._add(event, where)
        yield from self._one_by_one(given, encoded.odd)
        if isinstance(given, RecordSlice):
            self._batch_size = batch_size(encoded, self._limits)

    def _one_by_one(self, given: TableSlice | RecordSlice, rows: Sequence[int]) -> Iterator[Any]:
        """Some of a slice's records, through the record encoder."""
        each: list[Run] = []
        if len(given.origins) > 1 and len(rows):
            each = [run.slice(i, 1) for run in given.origins for i in range(run.count)]
        for at in range(0, len(rows), 2000):
            some = rows[at : at + 2000]
            for row, record in zip(some, given.at(some), strict=True):
                where = each[row] if each else given.origins[0].slice(row, 1)
                yield from self.encode(record, where, source_of(where, given.key))

    def encode(
        self, record: Mapping[Any, Any], origin: Run, source: Source | None
    ) -> Iterator[Any]:
        """One record through the record encoder."""
        try:
            encoded = self._records.encode(record, source)
        except RecordError as error:
            insert_id = None
            if isinstance(self._records, RecordEncoder | EventChecker):
                insert_id = self._records.id_of(record, source)
            yield failure(error, record, origin, source, self.name, self._codec, insert_id)
            return
        except Exception as error:  # a class of the user's; it must not cost the bundle
            unreadable = RecordError(
                "unreadable_value",
                f"The record holds something that cannot be read ({type(error).__name__}). Convert "
                "or exclude it.",
            )
            yield failure(unreadable, record, origin, source, self.name, self._codec)
            return
        self.long_strings += encoded.long_strings
        yield from self._add(encoded.json, origin)

    def again(self, failed: FailedRecord, origin: Run) -> Iterator[Any]:
        """A record that failed before."""
        self.read += 1
        where = origin._replace(
            file=failed.file or "", row=-1 if failed.row is None else failed.row
        )
        if not failed.can_be_sent:
            yield failed_output(failed._replace(destination=self.name), where, self._codec)
            return
        try:
            encoded = self._replayer().encode(failed)
        except RecordError as error:
            same = failed._replace(reason=error.reason, message=error.message, field=error.field)
            yield failed_output(same._replace(destination=self.name), where, self._codec)
            return
        self.long_strings += encoded.long_strings
        yield from self._add(encoded.json, where)

    def _replayer(self) -> ReplayEncoder:
        if self._replay is None:
            mapping = self._settings.mapping
            if not isinstance(self._records, RecordEncoder | EventChecker):
                raise RecordError(
                    "unsupported_record",
                    "Failed records are sent again to /import and /track only.",
                )
            assert mapping is None or isinstance(mapping, EventMapping)
            self._replay = ReplayEncoder(self._records, mapping)
        return self._replay

    def flush(self) -> Iterator[Any]:
        """What is left at the end of a bundle."""
        for lane, tail in enumerate(self._tails):
            if (chunk := tail.flush()) is not None:
                yield self._emit(chunk, lane)

    def _add(self, record: bytes, origin: Run) -> Iterator[Any]:
        """One event or update that joins the bundle's tail."""
        lane = 0
        if len(self._tails) > 1:
            group = self._settings.endpoint.group_of(record)
            lane = zlib.crc32(group.encode()) % len(self._tails)
        full = self._tails[lane].add(record, origin)
        if full is not None:
            yield self._emit(full, lane if len(self._tails) > 1 else self._next_lane(full))

    def _next_lane(self, chunk: EventChunk) -> int:
        # Only full chunks take turns: partial ones all meet in the first lane.
        if self._settings.endpoint.ordered or chunk.count < self._limits.batch_events:
            return 0
        self._turn = (self._turn + 1) % self._settings.lanes
        return self._turn

    def _emit(self, chunk: EventChunk, lane: int) -> WindowedValue:
        timestamp = Timestamp(micros=min(run.timestamp for run in chunk.runs))
        key = lane_key(self.name, self._settings.endpoint, lane)
        return WindowedValue((key, chunk.to_bytes()), timestamp, (GlobalWindow(),))


def encoders(
    target: Target, settings: Job
) -> tuple[
    RecordEncoder | EventChecker | UpdateEncoder | UpdateChecker,
    ColumnarEncoder | EventTables | None,
]:
    """What turns a project's records into JSON: one by one, and together where that can be."""
    # Without a token in the events, Convert needs no secret.
    wanted = target.credentials.token is not None
    token = target.credentials.resolve().token if wanted else None
    clock = settings.clock
    mapping, limits, endpoint = settings.mapping, target.limits, settings.endpoint

    def milliseconds() -> int:
        return int(clock() * 1000)

    if endpoint.identity:
        assert token is not None
        if mapping is None:
            return UpdateChecker(endpoint, limits, token), None
        assert isinstance(mapping, UpdateMapping)
        return UpdateEncoder(mapping, endpoint, limits, token, milliseconds), None
    if mapping is None:
        return (
            EventChecker(limits, token, endpoint=endpoint, clock=milliseconds),
            EventTables(limits, token, milliseconds),
        )
    assert isinstance(mapping, EventMapping)
    return (
        RecordEncoder(mapping, limits, token, milliseconds),
        ColumnarEncoder(mapping, limits, token, milliseconds),
    )


def failure(
    error: RecordError,
    record: Any,
    origin: Run,
    source: Source | None,
    name: str | None,
    codec: WindowCodec,
    insert_id: str | None = None,
) -> beam.pvalue.TaggedOutput:
    """A record that cannot be sent, for the output of failed records."""
    try:
        readable: Any = dict(record) if isinstance(record, Mapping) else repr(record)
    except Exception:  # of a user's class
        readable = hidden(record)
    value = FailedRecord(
        reason=error.reason,
        message=error.message,
        field=error.field,
        destination=name,
        record_json=record_as_json(readable),
        file=source.file if source else None,
        row=source.row if source else None,
        insert_id=insert_id,
    )
    return failed_output(value, origin, codec)


def failed_output(
    failed: FailedRecord, origin: Run, codec: WindowCodec
) -> beam.pvalue.TaggedOutput:
    """Counts it, and puts it where its record was."""
    metrics.count_failed(failed)
    return beam.pvalue.TaggedOutput(FAILED, codec.restore(failed, origin))


def source_of(origin: Run, key: str | None) -> Source | None:
    """Where one row lies, if that is known."""
    return None if key is None else Source(origin.file, key, origin.row)


class RecordBatch:
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


@dataclasses.dataclass(frozen=True)
class TableSlice:
    """A part of a table, and where its rows come from: see `Packer.block`."""

    table: pa.Table
    key: str | None
    origins: Sequence[Run]

    def at(self, rows: Sequence[int]) -> Sequence[Mapping[Any, Any]]:
        """Some rows as records."""
        return rows_as_records(self.table, rows)


@dataclasses.dataclass(frozen=True)
class RecordSlice:
    """Some records, and where they come from: see `Packer.block`."""

    records: Sequence[Mapping[Any, Any]]
    key: str | None
    origins: Sequence[Run]

    def at(self, rows: Sequence[int]) -> Sequence[Mapping[Any, Any]]:
        """Some of them."""
        return [self.records[row] for row in rows]


@dataclasses.dataclass(frozen=True)
class Slice:
    """What an encoder is at, and for whom."""

    packer: Packer
    future: concurrent.futures.Future[EncodedSlice]
    given: TableSlice | RecordSlice


def slices(ahead: collections.deque[Slice], most: int) -> Iterator[Any]:
    """Outputs of the oldest slices, until no more than `most` are under way."""
    while len(ahead) > most:
        done = ahead.popleft()
        yield from done.packer.done(done.future.result(), done.given)


def batch_size(encoded: EncodedSlice, limits: Limits) -> int:
    """How many records to take together next: some requests' worth, but few if they are large."""
    events = sum(chunk.count for chunk in encoded.chunks) + len(encoded.rest)
    raw_bytes = sum(chunk.raw_bytes for chunk in encoded.chunks)
    raw_bytes += sum(len(event) for event, _ in encoded.rest)
    if not events:
        return min(FIRST_BATCH, limits.batch_events)
    most = BATCH_REQUESTS * limits.batch_events
    fitting = min(most, BATCH_BYTES * events // max(1, raw_bytes))
    if fitting >= limits.batch_events:  # whole requests leave no rest
        fitting -= fitting % limits.batch_events
    return max(16, fitting)


def lane_key(name: str, endpoint: Endpoint, lane: int) -> str:
    """The key of a lane; part of the upgrade contract."""
    return f"{name}/{endpoint.name}#{lane}"


def lane_of(key: str) -> tuple[str, int]:
    """The project's name and the lane's number of a `lane_key`."""
    place, _, number = key.rpartition("#")
    return place.rpartition("/")[0], int(number)
