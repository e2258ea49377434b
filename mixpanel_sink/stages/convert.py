"""Convert: records and tables to chunks of events, and the records that cannot be one.

This file routes each record to its project; `pack.py` makes the chunks of one project.
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.batch.origin import RecordBlock, Source, TableOrigin
from mixpanel_sink.batch.runs import Run, join_runs
from mixpanel_sink.encode.arrow_rows import rows_as_records, take_rows
from mixpanel_sink.encode.records import as_mapping
from mixpanel_sink.encode.redaction import Masker
from mixpanel_sink.encode.tables import slice_rows, table_of
from mixpanel_sink.errors import RecordError
from mixpanel_sink.report import metrics
from mixpanel_sink.results import FailedRecord, ReadCount
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.project import Route, shown, unknown_project
from mixpanel_sink.stages.pack import (
    Packer,
    Slice,
    failed_output,
    failure,
    slices,
    source_of,
)
from mixpanel_sink.windowing import WindowCodec

READ = "read"
"""Tag of the output that tells how many records each bundle read; `FAILED` is the other."""
ENCODERS = 2
"""Threads that encode slices of tables ahead of Send. More won nothing on two cores."""


class ConvertToChunks(beam.DoFn):
    """Emits (lane key, chunk as bytes); FAILED and READ on the side.

    Elements are dicts, rows, named tuples, `pyarrow.Table`s and record batches, `RecordBlock`s, and
    records that failed before, as `FailedRecord`s. Chunks are
    in the global window; failed records in that of their record.
    """

    def __init__(self, settings: Job) -> None:
        self._settings = settings

    def setup(self) -> None:
        """Resolves the tokens and builds the encoders."""
        settings = self._settings
        self._codec = WindowCodec(settings.window_coder)
        self._pool = concurrent.futures.ThreadPoolExecutor(ENCODERS, "mixpanel-encode")
        self._ahead: collections.deque[Slice] = collections.deque()
        self._packers = {
            target.name: Packer(target, settings, self._codec, self._pool, self._ahead)
            for target in settings.targets
        }
        (self._only, *more) = self._packers.values()
        # One project and dicts is the way of most records.
        self._masker = (
            None if settings.privacy is None else Masker(settings.privacy, settings.mapping is None)
        )
        # A ready-made event or update may say beside its parts where it goes.
        self._label = settings.route.column if settings.route and not settings.mapping else None
        one_way = not more and settings.route is None and self._masker is None
        self._simple = one_way and self._only.collects
        self.start_bundle()

    def start_bundle(self) -> None:
        """Begins with nothing in hand."""
        while self._ahead:  # of a bundle that failed
            self._ahead.pop().future.cancel()
        for packer in self._packers.values():
            packer.start()
        self._held: list[Any] = []
        self._windows: Any = None
        self._texts: tuple[str, ...] = ()
        self._lost: collections.Counter[str] = collections.Counter()
        """Records of no known project; by its name, if they failed before with one."""

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any]:
        """One record or table."""
        if windowed.windows is not self._windows:  # which neighbours mostly share
            self._windows = windowed.windows
            self._texts = self._codec.encode(self._windows)
        timestamp, windows = windowed.timestamp_micros, self._texts
        outputs: Iterable[Any]
        if self._simple and type(element) is dict:
            outputs = self._only.collect(element, timestamp, windows)
        elif isinstance(element, pa.Table | pa.RecordBatch):
            outputs = self._whole_table(element, Run(len(element), timestamp, windows))
        elif isinstance(element, RecordBlock):
            outputs = self._block(element, Run(1, timestamp, windows))
        elif isinstance(element, FailedRecord):
            outputs = self._again(element, Run(1, timestamp, windows))
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
        for packer in self._packers.values():
            yield from packer.send_batch()
        yield from slices(self._ahead, 0)
        counts = [ReadCount(name, count) for name, count in self._lost.items()]
        for name, packer in self._packers.items():
            yield from packer.flush()
            counts.append(ReadCount(name, packer.read))
            metrics.count("long_strings", packer.long_strings)
        for read in counts:
            if read.count:
                metrics.count("records_read", read.count)
                value = WindowedValue(read, MIN_TIMESTAMP, (GlobalWindow(),))
                yield beam.pvalue.TaggedOutput(READ, value)
        self.start_bundle()

    def teardown(self) -> None:
        """Ends the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, element: Any, origin: Run, source: Source | None = None) -> Iterator[Any]:
        """One record that is no dict, or needs no mapping, or may be any project's."""
        route = self._settings.route
        shown_as = element if self._masker is None else None
        try:
            record = as_mapping(element)
            if self._masker is not None:
                shown_as = record = self._masker.record(record)
            packer = self._only if route is None else self._packer(route.name_of(record))
        except RecordError as error:
            yield self._failure(error, shown_as, origin, source)
            return
        if self._label is not None and self._label in record:
            record = {name: value for name, value in record.items() if name != self._label}
        if packer.collects and source is None:
            yield from packer.collect(dict(record), origin.timestamp, origin.windows)
        else:
            packer.read += 1
            yield from packer.encode(record, origin, source)

    def _failure(self, error: RecordError, record: Any, origin: Run, source: Source | None) -> Any:
        """A record that gets to no project; None in place of one that could not be masked."""
        name = None
        if self._settings.route is None:
            name = self._only.name
            self._only.read += 1
        else:
            self._lost[""] += 1
        if record is not None or self._masker is None:
            return failure(error, record, origin, source, name, self._codec)
        value = FailedRecord(error.reason, error.message, error.field, name)
        if source is not None:
            value = value._replace(file=source.file, row=source.row)
        return failed_output(value, origin, self._codec)

    def _again(self, failed: FailedRecord, origin: Run) -> Iterator[Any]:
        """A record that failed before: to the project it was for, or else its record is for."""
        if self._masker is not None:
            failed = self._masker.failed(failed)
        route, name = self._settings.route, failed.destination
        packer = self._only if route is None else self._packers.get(name or "")
        if packer is None and failed.can_be_sent:
            assert route is not None
            try:
                if name is not None:
                    raise unknown_project(name, self._packers, route.column)
                if isinstance(record := failed.record, dict):
                    packer = self._packer(route.name_of(record))
                    if record.pop(self._label, None) is not None:
                        failed = failed._replace(record_json=json.dumps(record))
            except RecordError as error:
                failed = failed._replace(
                    reason=error.reason, message=error.message, field=error.field, destination=None
                )
        if packer is not None:
            yield from packer.again(failed, origin)
            return
        self._lost[failed.destination or ""] += 1
        yield failed_output(failed, origin, self._codec)

    def _whole_table(self, table: pa.Table | pa.RecordBatch, whole: Run) -> Iterator[Any]:
        """A table as it came; as records where it cannot be masked as a table."""
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        place = TableOrigin.of(table)
        masked = self._masked(table)
        if masked is not None:
            yield from self._table(masked, place, runs_from(place, None, whole))
            return
        step = slice_rows(table, 1)
        for start in range(0, len(table), step):
            records = rows_as_records(table, range(start, min(start + step, len(table))))
            yield from self._each(RecordBlock(records, place and place.at(start)), whole)

    def _masked(self, table: pa.Table) -> pa.Table | None:
        """Without what must not leave; None if that must be done record by record.

        So it is for ready-made events, whose properties lie deeper, and where a value cannot be
        hashed, which fails its record alone.
        """
        if self._masker is None:
            return table
        if self._settings.mapping is None:
            return None
        try:
            return self._masker.table(table)
        except RecordError:
            return None

    def _block(self, block: RecordBlock, origin: Run) -> Iterator[Any]:
        """Records that know their place: as a table where that is the same, else one by one."""
        place, count = block.origin, len(block.records)
        runs = runs_from(place, block.offsets, origin._replace(count=count))
        if self._simple:
            key = None if place is None else place.key
            yield from self._only.block(block.records, key, runs)
            return
        table = table_of(block.records)
        if table is not None and (table := self._masked(table)) is not None:
            yield from self._table(table, place, runs)
        else:
            yield from self._each(block, origin)

    def _each(self, block: RecordBlock, origin: Run) -> Iterator[Any]:
        """Records that know their place, one by one; together again once they are masked."""
        place = block.origin
        # Updates are never encoded ahead: they would overtake each other.
        apart = self._settings.route is not None or not self._only.collects
        masked: list[Mapping[Any, Any]] = []
        offsets: list[int] = []
        for offset, record in zip(
            block.offsets or range(len(block.records)), block.records, strict=True
        ):
            source = None if place is None else place.source(offset)
            where = origin._replace(count=1)
            if source is not None:
                where = where._replace(file=source.file, row=source.row)
            if apart or self._masker is None:
                yield from self._one(record, where, source)
                continue
            try:
                masked.append(self._masker.record(record))
                offsets.append(offset)
            except RecordError as error:
                yield self._failure(error, None, where, source)
        if masked:
            runs = runs_from(place, offsets, origin._replace(count=len(masked)))
            yield from self._only.block(masked, None if place is None else place.key, runs)

    def _packer(self, name: Any) -> Packer:
        packer = self._packers.get(name) if isinstance(name, str) else None
        if packer is None:
            assert self._settings.route is not None
            raise unknown_project(name, self._packers, self._settings.route.column)
        return packer

    def _table(
        self, table: pa.Table, place: TableOrigin | None, origins: Sequence[Run]
    ) -> Iterator[Any]:
        """Rows of one or of several projects, and where they come from: runs that add up to the
        table."""
        key = None if place is None else place.key
        if self._settings.route is None:
            yield from self._only.table(table, key, origins)
            return
        each = [run.slice(i, 1) for run in origins for i in range(run.count)]
        for name, rows in rows_by_project(table, self._settings.route):
            numbers = rows.tolist()
            runs = list(join_runs(each[row] for row in numbers))
            try:
                if isinstance(name, RecordError):
                    raise name
                packer = self._packer(name)
            except RecordError as error:
                self._lost[""] += len(numbers)
                for row, record in zip(numbers, rows_as_records(table, numbers), strict=True):
                    source = source_of(each[row], key)
                    yield failure(error, record, each[row], source, None, self._codec)
                continue
            part = take_rows(table, numbers)
            if self._label in part.schema.names:
                part = part.drop_columns([self._label])
            yield from packer.table(part, key, runs)


def runs_from(place: TableOrigin | None, offsets: Sequence[int] | None, whole: Run) -> list[Run]:
    """Where records come from that lie at these offsets from a place; None: without a gap."""
    if place is None:
        return [whole]
    if offsets is None:
        return [whole._replace(file=place.file, row=place.first_row)]
    parts = np.split(
        rows := np.add(offsets, place.first_row), np.flatnonzero(np.diff(rows) != 1) + 1
    )
    return [whole._replace(count=len(p), file=place.file, row=int(p[0])) for p in parts]


def rows_by_project(
    table: pa.Table, route: Route
) -> Iterator[tuple[Any, np.ndarray[Any, np.dtype[np.int64]]]]:
    """What the route says, or why it says nothing, and the rows for which it does.

    A column is split in one go; a function, or a property of ready-made events, is asked row
    by row, which takes many times longer.
    """
    if not len(table):
        return
    names, codes = _names_of_column(table, route.column) or _names_of_rows(table, route)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    for name, rows in zip(names, np.split(order, ends[:-1]), strict=True):
        if len(rows):
            yield name, rows


def _names_of_column(table: pa.Table, column: str | None) -> tuple[list[Any], Any] | None:
    """The different values of a column, and the number of each row's; None if it is not plain."""
    place = -1 if column is None else table.schema.get_field_index(column)
    if place < 0:  # no such column, or two
        return None
    values = table.column(place)
    try:
        if pa.types.is_dictionary(values.type):
            values = values.cast(values.type.value_type)
        coded = values.combine_chunks().dictionary_encode(null_encoding="encode")
        return coded.dictionary.to_pylist(), coded.indices.to_numpy()
    except (pa.ArrowException, ValueError):  # an odd type, or text that is not UTF-8
        return None


def _names_of_rows(table: pa.Table, route: Route) -> tuple[list[Any], Any]:
    """The same, asked row by row; in place of a name there may be the error of its rows."""
    names: list[Any] = []
    numbers: dict[Any, int] = {}
    codes = np.empty(len(table), dtype=np.int64)
    for row, record in enumerate(rows_as_records(table, range(len(table)))):
        try:
            name: Any = route.name_of(record)
        except RecordError as error:
            name = error
        key = (type(name), name if isinstance(name, str) else shown(name))
        if key not in numbers:
            numbers[key] = len(names)
            names.append(name)
        codes[row] = numbers[key]
    return names, codes
