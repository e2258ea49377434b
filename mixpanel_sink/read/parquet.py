"""Reads Parquet as Arrow tables that know their file and row.

Beam's own `ReadFromParquetBatched` does not say where a table comes from; position ids,
file names in failed records, and slices of huge row groups need it.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.coders import registry
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker

from mixpanel_sink import coders
from mixpanel_sink.api.insert_ids import file_key
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.encode.tables import SLICE_ROWS
from mixpanel_sink.errors import InputError
from mixpanel_sink.report import metrics
from mixpanel_sink.results import FailedRecord

coders.register()

BATCH_ROWS = SLICE_ROWS
"""Rows of one table, which is encoded at once, ..."""
TABLE_BYTES = 32_000_000
"""... if it is no larger than this ..."""
STEP_ROWS = 10_000
"""... and of so many rows more at most. A file does not tell how large its texts are in memory: its
sizes count a dictionary once. Five requests' worth, so that tables stay whole requests."""
UNIT_ROWS = 200_000
"""Small row groups are read together up to this many rows."""
GROUP_BYTES = 128_000_000
"""Compressed row groups of up to so many bytes are read column by column ..."""
COLUMN_BYTES = 8_000_000
"""... larger ones in parts of so many bytes a column."""
INT96_UNIT = "us"
"""Spark's and Impala's old timestamps; read as nanoseconds, which is pyarrow's default, every year
before 1678 or after 2262 becomes another one without a word."""
FAILED = "failed"
_MAX_FOOTER = 512 << 20


@dataclasses.dataclass(frozen=True)
class FooterInfo:
    """What a Parquet file's footer tells.

    Attributes:
        path: as matched.
        key: stands for the file in position ids.
        schema: Arrow's.
        group_rows: rows of each row group.
    """

    path: str
    key: str
    schema: pa.Schema
    group_rows: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Of the whole file."""
        return sum(self.group_rows)


class ReadUnit(NamedTuple):
    """Neighbouring row groups of one file, read by one worker."""

    path: str
    key: str
    first_group: int
    groups: int
    first_row: int


registry.register_coder(ReadUnit, coders.ResultCoder)


class TablesResult(NamedTuple):
    """Tables, and one failed record for each file that cannot be read to its end."""

    tables: Any
    failed: Any


class ReadParquetTables(beam.PTransform):
    """Reads Parquet files as `pyarrow.Table`s of up to 50,000 rows, with their origin.

    Args:
        patterns: paths or globs, local or of any file system that Beam knows (gs://).
        columns: the columns to read; None for all. Columns that a file does not have are
            left out of its tables.

    Returns:
        TablesResult: tables and unreadable files.
    """

    def __init__(self, patterns: str | Sequence[str], columns: Sequence[str] | None = None) -> None:
        super().__init__()
        self._patterns = [patterns] if isinstance(patterns, str) else list(patterns)
        self._columns = None if columns is None else list(columns)

    def expand(self, pbegin: Any) -> TablesResult:
        """Builds the flow: patterns, files, row groups, tables."""
        listed = (
            pbegin
            | "Patterns" >> beam.Create(self._patterns)
            | "Match" >> beam.FlatMap(match_files).with_output_types(str)
            | "Spread files" >> beam.Reshuffle()
            | "List row groups" >> beam.ParDo(_ListUnits()).with_outputs(FAILED, main="units")
        )
        units = listed.units
        units.element_type = ReadUnit
        if type(pbegin.pipeline.runner).__name__ == "PrismRunner":
            units = units | "Gather row groups" >> beam.combiners.ToList()
            fn: beam.DoFn = _ReadInTurns(self._columns)
        else:
            units = units | "Spread row groups" >> beam.Reshuffle()
            fn = _ReadTables(self._columns)
        read = units | "Read" >> beam.ParDo(fn).with_outputs(FAILED, main="tables")
        for failed in (listed[FAILED], read[FAILED]):
            failed.element_type = FailedRecord
        read.tables.element_type = pa.Table
        failed = (listed[FAILED], read[FAILED]) | "Unreadable" >> beam.Flatten()
        failed.element_type = FailedRecord
        return TablesResult(read.tables, failed)


def match_files(pattern: str) -> list[str]:
    """The files of a pattern, sorted; see `match_sizes`."""
    return [path for path, _ in match_sizes(pattern)]


def match_sizes(pattern: str) -> list[tuple[str, int]]:
    """The files of a pattern with their sizes in bytes, sorted; local paths made absolute, so
    that ids are stable.

    Raises:
        InputError: if there are none, or the place cannot be listed.
    """
    if "://" not in pattern:
        pattern = os.path.abspath(os.path.expanduser(pattern))
    try:
        found = FileSystems.match([pattern])[0].metadata_list
    except Exception as error:  # each file system has errors of its own
        raise InputError(
            f"{pattern} cannot be listed ({short(error)}). Check the path, its permissions and, "
            "for cloud storage, the credentials."
        ) from None
    if not found:
        raise InputError(f"No file matches {pattern}. Check the path; quote a glob in the shell.")
    return sorted({metadata.path: metadata.size_in_bytes for metadata in found}.items())


def read_footer(path: str) -> FooterInfo:
    """A file's schema, row groups and position key, without its data.

    Raises:
        InputError: if it cannot be read as Parquet.
    """
    try:
        with open_file(path) as file:
            file.seek(0, os.SEEK_END)
            size = file.tell()
            fingerprint = _footer_bytes(path, file, size)
            file.seek(0)
            with pq.ParquetFile(file, coerce_int96_timestamp_unit=INT96_UNIT) as parquet:
                metadata = parquet.metadata
                rows = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
                return FooterInfo(path, file_key(path, fingerprint), parquet.schema_arrow, rows)
    except InputError:
        raise
    except Exception as error:  # pyarrow, OSError, and what each cloud's client raises
        raise InputError(
            f"{path} cannot be read as Parquet ({short(error)}). Check that it is whole and "
            "readable."
        ) from None


def first_rows(path: str, rows: int) -> pa.Table:
    """The first rows of a file, as one table with all columns.

    Raises:
        InputError: if it cannot be read as Parquet.
    """
    try:
        with (
            open_file(path) as file,
            pq.ParquetFile(
                file, pre_buffer=False, coerce_int96_timestamp_unit=INT96_UNIT
            ) as parquet,
        ):
            batch = next(parquet.iter_batches(rows), None)
            empty = parquet.schema_arrow.empty_table()
            return empty if batch is None else pa.Table.from_batches([batch])
    except Exception as error:  # pyarrow, OSError, and what each cloud's client raises
        raise InputError(
            f"{path} cannot be read as Parquet ({short(error)}). Check that it is whole and "
            "readable."
        ) from None


def read_tables(unit: ReadUnit, columns: Iterable[str] | None) -> Iterator[pa.Table]:
    """The tables of a unit, in order, each with its origin. Memory: one batch, not the group."""
    row = unit.first_row
    groups = range(unit.first_group, unit.first_group + unit.groups)
    with (
        open_file(unit.path) as file,
        pq.ParquetFile(file) as whole,
        pq.ParquetFile(
            file,
            metadata=whole.metadata,
            pre_buffer=False,
            buffer_size=_buffer_bytes(whole.metadata, groups),
            coerce_int96_timestamp_unit=INT96_UNIT,
        ) as parquet,
    ):
        if columns is not None:
            have = set(parquet.schema_arrow.names)
            columns = [name for name in columns if name in have]
        rows = _batch_rows(whole.metadata, groups)
        batches = parquet.iter_batches(min(rows, STEP_ROWS), row_groups=groups, columns=columns)
        for table in _tables(batches, rows):
            yield TableOrigin(unit.path, unit.key, row).attach(table)
            row += len(table)


def _tables(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Batches put together to tables of so many rows, or fewer where they are large."""
    held: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        held.append(batch)
        count += len(batch)
        size += batch.nbytes
        if count >= rows or size >= TABLE_BYTES:
            yield pa.Table.from_batches(held)
            held, count, size = [], 0, 0
    if held:
        yield pa.Table.from_batches(held)


def _buffer_bytes(metadata: pq.FileMetaData, groups: range) -> int:
    """How much of each column to read at once: 0 for all of it in a row group.

    Less takes more requests to cloud storage, so only where all of it would not fit well.
    """
    largest = max((_compressed_bytes(metadata.row_group(group)) for group in groups), default=0)
    return COLUMN_BYTES if largest > GROUP_BYTES else 0


def _batch_rows(metadata: pq.FileMetaData, groups: range) -> int:
    """How many rows to read together: few where even the file's sizes tell that they are large."""
    rows = sum(metadata.row_group(group).num_rows for group in groups)
    size = sum(metadata.row_group(group).total_byte_size for group in groups)
    return max(8, min(BATCH_ROWS, TABLE_BYTES * rows // max(1, size)))


def _compressed_bytes(group: pq.RowGroupMetaData) -> int:
    return sum(group.column(i).total_compressed_size for i in range(group.num_columns))


def units_of(footer: FooterInfo) -> Iterator[ReadUnit]:
    """A file's row groups, small neighbours together."""
    first, rows, start = 0, 0, 0
    for number, count in enumerate(footer.group_rows):
        rows += count
        last = number == len(footer.group_rows) - 1
        if last or rows + footer.group_rows[number + 1] > UNIT_ROWS:
            if rows:
                yield ReadUnit(footer.path, footer.key, first, number + 1 - first, start)
            first, start, rows = number + 1, start + rows, 0


class _ListUnits(beam.DoFn):
    def process(self, path: str) -> Iterator[Any]:
        try:
            footer = read_footer(path)
        except InputError as error:
            yield unreadable_file(path, str(error))
            return
        metrics.count("files_read")
        yield from units_of(footer)


class _ReadTables(beam.DoFn):
    def __init__(self, columns: Sequence[str] | None) -> None:
        self._columns = columns

    def process(self, unit: ReadUnit) -> Iterator[Any]:
        yield from _tables_or_failure(unit, self._columns)


class _AllOfThem(beam.RestrictionProvider):
    """A list's range, which the runner need not split at the beginning."""

    def initial_restriction(self, element: Sequence[Any]) -> OffsetRange:
        return OffsetRange(0, len(element))

    def create_tracker(self, restriction: OffsetRange) -> OffsetRestrictionTracker:
        return OffsetRestrictionTracker(restriction)

    def restriction_size(self, element: Sequence[Any], restriction: OffsetRange) -> int:
        return restriction.size()


class _ReadInTurns(beam.DoFn):
    """Reads a list of units, one a bundle.

    Prism hands a stage all that there is as one bundle, and its output on when the bundle ends:
    the whole input at once. After each unit this one asks for the others to come again, so that
    one unit is read while the one before is sent, and memory holds two.
    """

    def __init__(self, columns: Sequence[str] | None) -> None:
        self._columns = columns

    def process(
        self,
        units: Sequence[ReadUnit],
        tracker: Any = beam.DoFn.RestrictionParam(_AllOfThem()),  # noqa: B008
    ) -> Iterator[Any]:
        number = tracker.current_restriction().start
        if number < len(units) and tracker.try_claim(number):
            yield from _tables_or_failure(units[number], self._columns)
            tracker.defer_remainder()


def _tables_or_failure(unit: ReadUnit, columns: Sequence[str] | None) -> Iterator[Any]:
    tables = read_tables(unit, columns)
    while True:
        try:
            table = next(tables, None)
        except Exception as error:  # pyarrow, OSError, and what each cloud's client raises
            if is_passing(error):
                raise
            message = (
                f"{unit.path} breaks off in row groups {unit.first_group} to "
                f"{unit.first_group + unit.groups - 1} ({short(error)}). Their remaining rows "
                "were not read."
            )
            yield unreadable_file(unit.path, message)
            return
        if table is None:
            return
        yield table


def unreadable_file(path: str, message: str) -> beam.pvalue.TaggedOutput:
    """A file that cannot be read, or not to its end, for the output of failed records."""
    metrics.count("files_unreadable")
    failure = FailedRecord(reason="file_unreadable", message=message, file=path)
    return beam.pvalue.TaggedOutput(FAILED, failure)


def open_file(path: str) -> Any:
    """Opens a local file, or one of any file system that Beam knows, for reading bytes."""
    return FileSystems.open(path) if "://" in path else open(path, "rb")


def _footer_bytes(path: str, file: Any, size: int) -> bytes:
    if size < 12:
        raise InputError(
            f"{path} is empty or no Parquet file ({size} bytes). Check how it was made."
        )
    file.seek(size - 8)
    end = file.read(8)
    length = struct.unpack("<I", end[:4])[0]
    if end[4:] != b"PAR1" or length > min(size - 8, _MAX_FOOTER):
        raise InputError(
            f"{path} is no Parquet file, or not whole: its end is not Parquet's. "
            "Check that its upload was finished."
        )
    file.seek(size - 8 - length)
    return size.to_bytes(8, "big") + bytes(file.read(length))


def is_passing(error: Exception) -> bool:
    """Whether a retry of the bundle may help: the network's fault, not the file's."""
    return isinstance(error, ConnectionError | TimeoutError)


def short(error: Exception) -> str:
    """What an error says, on one line."""
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__
