"""`ReadFiles`: files on a pipeline's workers, as tables or blocks of records that know their place.

Beam's own readers do not say where a table comes from; position ids, file names in failed records,
and slices of huge row groups need it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.coders import registry

from mixpanel_sink import coders
from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.manifest import read_plan
from mixpanel_sink.errors import InputError, SettingError, kind_of
from mixpanel_sink.read.connection import is_passing, short
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.files import match_files, size_and_mark
from mixpanel_sink.read.given import Patterns, names_of, patterns_of
from mixpanel_sink.read.in_turns import AllOfThem
from mixpanel_sink.read.parquet import Parquet
from mixpanel_sink.read.records import FormatOfReader, Reader
from mixpanel_sink.read.selection import Selection, skipped
from mixpanel_sink.read.shown import reading_shown
from mixpanel_sink.read.source import (
    ALL_COLUMNS,
    FILE_UNREADABLE,
    Columns,
    Format,
    Listed,
    Planned,
    Unit,
    guarded,
    together,
    unreadable_file,
)
from mixpanel_sink.report import lineage, metrics
from mixpanel_sink.results import FailedRecord

coders.register()
registry.register_coder(Unit, coders.ResultCoder)

FAILED = "failed"
LISTED = "listed"


class ReadResult(NamedTuple):
    """What a source gives.

    Attributes:
        elements: PCollection of tables, blocks of records and failed records (bad lines), for
            `WriteToMixpanel`, which counts the bad ones as read and as failed.
        failed: PCollection of `FailedRecord`, one for each file, or part of a file, that cannot be
            read.
        listed: PCollection of `Listed`, one for each file of a plan; None without a plan.
        watermarks: PCollection of the largest values of a table's watermark column; None without.
    """

    elements: Any
    failed: Any
    listed: Any = None
    watermarks: Any = None


class ReadFiles(beam.PTransform):
    """Reads files of one format, with file and row.

    Args:
        patterns: paths, folders or globs, local or of any file system that Beam knows (gs://).
        format: of the files.
        columns: to read, where the format can leave others out.
        keep_text: whether a bad line's failed record holds its text. Not where columns of it must
            not leave the workers.
        planned: read the files of this plan, of those that the patterns match.
        in_turns: one unit a bundle. For runners that hand a stage all its input as one bundle, and
            hand its output on when the bundle ends, such as Prism: memory would hold all of it.
        selection: which rows are wanted; None for all. With a limit one worker reads.

    Returns:
        ReadResult: elements and unreadable files.
    """

    def __init__(
        self,
        patterns: str | Sequence[str],
        format: Format,
        columns: Columns = ALL_COLUMNS,
        *,
        keep_text: bool = True,
        in_turns: bool = False,
        selection: Selection | None = None,
        planned: Planned | None = None,
    ) -> None:
        super().__init__()
        self._selection = selection or Selection()
        self._patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self._format = format
        self._planned = planned
        self._reading = (format, columns, keep_text)
        self._in_turns = in_turns

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        format, columns, _ = self._reading
        selection, planned = self._selection, self._planned
        return reading_shown(self._patterns, format, columns, selection, planned, self._in_turns)

    def expand(self, pbegin: Any) -> ReadResult:
        """Builds the flow: patterns, files, units, elements."""
        if isinstance(pbegin, beam.PCollection):
            raise SettingError(
                "A reader begins a pipeline. For a PCollection of paths: ReadAllParquetTables."
            )
        if self._selection.limit is not None:
            first = _parted(_ReadFirst(*self._reading, self._selection))
            read = pbegin | "Patterns" >> beam.Create([self._patterns]) | "Read" >> first
            return self._result(read.elements, read[FAILED])
        return self._elements(*self._listed(pbegin))

    def of_paths(self, paths: Any) -> ReadResult:
        """The flow from the files' paths on."""
        return self._elements(self._units(paths))

    def _elements(self, listed: Any, planned: Any = None) -> ReadResult:
        units = listed.units
        units.element_type = Unit
        if self._in_turns:
            units = units | "Gather units" >> beam.combiners.ToList()
            fn: beam.DoFn = _ReadInTurns(*self._reading)
        else:
            units = units | "Spread units" >> beam.Reshuffle()
            fn = _Read(*self._reading)
        read = units | "Read" >> _parted(fn)
        for failed in (listed[FAILED], read[FAILED]):
            failed.element_type = FailedRecord
        failed = (listed[FAILED], read[FAILED]) | "Unreadable" >> beam.Flatten()
        return self._result(read.elements, failed, planned)

    def _result(self, elements: Any, failed: Any, listed: Any = None) -> ReadResult:
        # For its coder: there may be blocks and failed records among tables, and the other way.
        elements.element_type = pa.Table if self._format.states_types else RecordBlock
        failed.element_type = FailedRecord
        return ReadResult(elements, failed, listed)

    def _listed(self, pbegin: Any) -> tuple[Any, Any]:
        """Units and unreadable files; and what was found of a plan's files, if there is one."""
        if self._planned is None:
            patterns = pbegin | "Patterns" >> beam.Create([self._patterns])
            paths = patterns | "Match" >> beam.FlatMap(match_files).with_output_types(str)
            return self._units(paths), None
        files = (
            pbegin
            | "Plan" >> beam.Create([tuple(self._planned[:2])])
            | "Planned files" >> beam.FlatMap(_planned).with_output_types(tuple[str, int])
            | "Spread files" >> beam.Reshuffle()
        )
        fn = _ListPlanned(self._format, self._selection, self._planned.leave_unfinished)
        units = beam.ParDo(fn).with_outputs(FAILED, LISTED, main="units")
        found = files | "List units" >> units
        found[LISTED].element_type = Listed
        return found, found[LISTED]

    def _units(self, paths: Any) -> Any:
        fn = _ListUnits(self._format, self._selection)
        files = paths | "Spread files" >> beam.Reshuffle()
        return files | "List units" >> beam.ParDo(fn).with_outputs(FAILED, main="units")


def _parted(fn: beam.DoFn) -> beam.PTransform:
    return beam.ParDo(fn).with_outputs(FAILED, main="elements")


class TablesResult(NamedTuple):
    """Tables, and one failed record for each file that cannot be read to its end."""

    tables: Any
    failed: Any


class ReadParquetTables(beam.PTransform):
    """Reads Parquet files as `pyarrow.Table`s of up to 50,000 rows, with their origin.

    Args:
        patterns: paths, folders or globs, local or of any file system that Beam knows (gs://).
        columns: the columns to read; None for all. Columns that a file does not have are
            left out of its tables. The keys of Hive's partitions in a path are columns, too.
        in_turns: one part of a file at a time. For runners that hand a stage all its input as one
            bundle, such as Prism.
        mapping: of the write that comes next: row groups are not read of which the statistics say
            that its filter or condition leaves out all rows.
        limit: the first so many records that become events or failed records.

    Returns:
        TablesResult: tables and unreadable files.
    """

    def __init__(
        self,
        patterns: Patterns,
        columns: Sequence[str] | None = None,
        in_turns: bool = False,
        mapping: Any = None,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        wanted = Columns(names_of("columns", columns), keys=True)
        selection = Selection(mapping, limit)
        files = patterns_of(patterns)
        self._read = ReadFiles(files, Parquet(), wanted, in_turns=in_turns, selection=selection)

    def expand(self, pbegin: Any) -> TablesResult:
        """Builds the flow: patterns, files, row groups, tables."""
        return TablesResult(*self._read.expand(pbegin)[:2])

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return self._read.display_data()


class RecordsResult(NamedTuple):
    """Records, with those that are bad; and one failed record for each file that cannot be read
    to its end."""

    records: Any
    failed: Any


class ReadRecords(beam.PTransform):
    """Reads files as `RecordBlock`s, for `WriteToMixpanel`.

    A bad record is a `FailedRecord` among them (`line_unreadable`), which the sink counts as read
    and as failed, so that its accounting balances. One worker reads one file.

    Args:
        patterns: paths, folders or globs, local or of any file system that Beam knows (gs://).
            What is compressed with gzip, bzip2 or Zstandard is unpacked.
        reader: of this kind of files, such as `JsonLines()`, or a `Reader` of your own.
        keep_text: whether a failed record holds the text of a bad one. Not where columns of it
            must not leave the workers.

    Returns:
        RecordsResult: records and unreadable files.
    """

    def __init__(self, patterns: Patterns, reader: Reader, keep_text: bool = True) -> None:
        super().__init__()
        if not all(callable(getattr(reader, name, None)) for name in ("columns", "rows")):
            raise SettingError(
                f"reader is {kind_of(reader)}; give JsonLines(), CsvRows(), AvroRecords() or a "
                "Reader of your own."
            )
        format = reader if isinstance(reader, Format) else FormatOfReader(reader)
        self._read = ReadFiles(patterns_of(patterns), format, keep_text=keep_text)

    def expand(self, pbegin: Any) -> RecordsResult:
        """Builds the flow: patterns, files, blocks."""
        return RecordsResult(*self._read.expand(pbegin)[:2])

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return self._read.display_data()


class _ListUnits(beam.DoFn):
    def __init__(self, format: Format, selection: Selection) -> None:
        self._format = format
        self._selection = selection

    def process(self, path: str) -> Iterator[Any]:
        yield from self._wanted(self._units(path), path)

    def _units(self, path: str) -> list[Unit] | FailedRecord:
        try:
            return self._selection.units_of(self._format, path)
        except InputError as error:
            return unreadable_file(path, str(error))

    def _wanted(self, units: list[Unit] | FailedRecord, path: str) -> Iterator[Any]:
        try:
            if isinstance(units, FailedRecord):
                yield _failed(units)
                return
            wanted = self._selection.units(self._format, path, units)
        except InputError as error:
            yield _failed(unreadable_file(path, str(error)))
            return
        if not self._selection.wants(path):
            metrics.count("files_skipped")
            return
        metrics.count("files_read")
        lineage.read_file(path)
        _count_skipped(*skipped(units, wanted))
        yield from together(wanted)


class _ListPlanned(_ListUnits):
    """The same for files of a plan, with a mark of their content. One that has another size than
    when it was planned, or that is not whole, may still be being written."""

    def __init__(self, format: Format, selection: Selection, leave_unfinished: bool) -> None:
        super().__init__(format, selection)
        self._leaves = leave_unfinished

    def process(self, file: tuple[str, int]) -> Iterator[Any]:  # type: ignore[override]
        path, planned_size = file
        try:
            size, mark = size_and_mark(path)
        except Exception as error:  # OSError, and what each cloud's client raises
            if is_passing(error):
                raise
            yield _failed(unreadable_file(path, f"{path} cannot be opened ({short(error)})."))
            return
        units = self._units(path)
        is_broken = isinstance(units, FailedRecord)
        is_left = self._leaves and (is_broken or size != planned_size)
        yield beam.pvalue.TaggedOutput(LISTED, Listed(path, mark.hex(), is_left))
        if is_left:
            metrics.count("files_left")
            return
        yield from self._wanted(units, path)


def _planned(plan: tuple[str, str]) -> Iterator[tuple[str, int]]:
    checkpoint, run = plan
    files = read_plan(open_folder(checkpoint), run)
    for batch in files.filter(pc.is_null(files["like"])).to_batches(10_000):
        yield from zip(batch["path"].to_pylist(), batch["size"].to_pylist(), strict=True)


class _Read(beam.DoFn):
    def __init__(self, format: Format, columns: Columns, keep_text: bool) -> None:
        self._reading = (columns, keep_text)
        self._format = format

    def process(self, unit: Unit) -> Iterator[Any]:
        for element in guarded(self._format, unit, *self._reading):
            if isinstance(element, FailedRecord) and element.reason == FILE_UNREADABLE:
                yield _failed(element)
            else:
                yield element


def _failed(failed: FailedRecord) -> beam.pvalue.TaggedOutput:
    metrics.count("files_unreadable")
    return beam.pvalue.TaggedOutput(FAILED, failed)


class _ReadFirst(beam.DoFn):
    """Reads files one after another up to a limit."""

    def __init__(
        self, format: Format, columns: Columns, keep_text: bool, selection: Selection
    ) -> None:
        self._reading = (columns, keep_text)
        self._source = (format, None, selection)

    def process(self, patterns: Sequence[str]) -> Iterator[Any]:
        source = FileSource(patterns, *self._source)
        for element in source.elements(*self._reading):
            if isinstance(element, FailedRecord) and element.reason == FILE_UNREADABLE:
                yield _failed(element)
            else:
                yield element
        left_out = source.files_skipped()
        metrics.count("files_read", source.file_count() - source.unreadable_count() - left_out)
        metrics.count("files_skipped", left_out)
        _count_skipped(*source.skipped())


def _count_skipped(rows: int, size: int) -> None:
    metrics.count("rows_skipped", rows)
    metrics.count("bytes_skipped", size)


class _ReadInTurns(_Read):
    """Reads a list of units, one a bundle.

    After each unit it asks for the others to come again, so that one unit is read while the one
    before is sent, and memory holds two.
    """

    def process(  # type: ignore[override]
        self,
        units: Sequence[Unit],
        tracker: Any = beam.DoFn.RestrictionParam(AllOfThem()),  # noqa: B008
    ) -> Iterator[Any]:
        number = tracker.current_restriction().start
        if number < len(units) and tracker.try_claim(number):
            yield from super().process(units[number])
            tracker.defer_remainder()
