"""Parquet as Arrow tables that know their file and row."""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.api.insert_ids import file_key
from mixpanel_sink.batch.origin import SLICE_ROWS, TableOrigin
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.connection import is_passing, short
from mixpanel_sink.read.files import opened_whole
from mixpanel_sink.read.int96 import Inexact, int96_columns, with_nanoseconds
from mixpanel_sink.read.partitions import partition_keys
from mixpanel_sink.read.pruning import wanted_rows
from mixpanel_sink.read.source import (
    Columns,
    Element,
    FormatOption,
    Unit,
    asked,
    unreadable_file,
)
from mixpanel_sink.results import FailedRecord

BATCH_ROWS = SLICE_ROWS
"""Rows of one table, which is encoded at once, ..."""
TABLE_BYTES = 32_000_000
"""... if it is no larger than this ..."""
_ENOUGH_BYTES = TABLE_BYTES // 2
"""Of batches that are put together: the next table is read while these are being encoded."""
STEP_ROWS = 10_000
"""... and of so many rows more at most. A file does not tell how large its texts are in memory: its
sizes count a dictionary once. Five requests' worth, so that tables stay whole requests."""
GROUP_BYTES = 128_000_000
"""Compressed row groups of up to so many bytes are read column by column ..."""
COLUMN_BYTES = 8_000_000
"""... larger ones in parts of so many bytes a column."""
INT96_UNIT = "us"
"""Spark's and Impala's old timestamps. As nanoseconds, which is pyarrow's default, every year
before 1678 or after 2262 becomes another one without a word; int96.py keeps the digits."""
_MAX_FOOTER = 512 << 20
_ARROW_SCHEMA = b"ARROW:schema"
"""The key under which writers keep Arrow's own types in the footer."""


@dataclasses.dataclass(frozen=True)
class Parquet:
    """Reads Parquet as Arrow tables of up to 50,000 rows. A unit is a row group."""

    name: ClassVar[str] = "Parquet"
    states_columns: ClassVar[bool] = True
    states_types: ClassVar[bool] = True
    options: ClassVar[tuple[FormatOption, ...]] = ()

    def schema(self, path: str) -> pa.Schema:
        """As the footer says."""
        return self._ask(path, lambda file: _plain_file(file).schema_arrow)

    def sample(self, path: str, rows: int) -> pa.Table:
        """The first rows."""
        return self._ask(path, lambda file: _first_rows(path, file, rows))

    def units(self, path: str) -> list[Unit]:
        """The row groups, by the footer."""
        return self._ask(path, lambda file: list(_units(path, file)))

    def prune(self, path: str, units: list[Unit], mapping: Any) -> list[Unit]:
        """Without the row groups whose statistics say that the mapping leaves out all rows."""
        return self._ask(path, lambda file: _pruned(path, file, units, mapping))

    def estimated_rows(self, path: str) -> int:
        """As the footer says."""
        return sum(unit.rows or 0 for unit in self.units(path))

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """The tables of a unit, in order. Memory: one batch, not the group.

        A damaged row group is a failed record, and the others are read.
        """
        with opened_whole(unit.path) as file:
            reading = _Reading(file, unit, columns)
            row = unit.first_row
            try:
                for table in reading.tables(reading.groups):
                    yield _placed(unit, table, row)
                    row += _rows(table)
                return
            except Exception as error:  # pyarrow, OSError, and what each cloud's client raises
                if is_passing(error):
                    raise
            for element in reading.group_by_group(row):
                yield _placed(unit, element, reading.row)

    def _ask(self, path: str, question: Callable[[Any], Any]) -> Any:
        def answer() -> Any:
            with opened_whole(path) as file:
                return question(file)

        return asked(self.name, path, answer)


class _Reading:
    """A unit's row groups, read together or, where that fails, one by one."""

    def __init__(self, file: Any, unit: Unit, columns: Columns) -> None:
        self._unit = unit
        self._file = file
        self._metadata = _plain_file(file).metadata
        self._columns = columns
        self.groups = range(unit.first, unit.first + unit.parts)
        self.row = unit.first_row
        """The row in the file where the table begins that `group_by_group` yielded last."""

    def tables(
        self, groups: range, without_arrow_types: bool = False, digits: bool = True
    ) -> Iterator[pa.Table | Inexact]:
        """Tables of those row groups; with the nanoseconds of INT96, unless told not to."""
        metadata = self._metadata
        if without_arrow_types:
            metadata = _metadata_without_arrow_types(self._file)
        buffer = _buffer_bytes(metadata, self.groups)
        parquet = _plain_file(self._file, metadata=metadata, buffer_size=buffer)
        rows = _batch_rows(metadata, self.groups)
        step = min(rows, STEP_ROWS)
        wanted = self._wanted(parquet.schema_arrow)
        batches = parquet.iter_batches(step, row_groups=groups, columns=wanted)
        fine = _plain_file(self._file, "ns", metadata=metadata, buffer_size=buffer)
        int96 = int96_columns(parquet.schema_arrow, fine.schema_arrow)
        if wanted is not None:
            int96 = [name for name in int96 if name in wanted]
        if int96 and digits:
            twice = fine.iter_batches(step, row_groups=groups, columns=int96)
            batches = with_nanoseconds(batches, twice)
        return _tables(batches, rows)

    def group_by_group(self, done: int, alike: bool = False) -> Iterator[Element | Inexact]:
        """What comes from that row on; `alike` if all tables must have the same types."""
        lists = self._has_fixed_size_lists()
        tries = [True] if lists and alike else [False, True] if lists else [False]
        end = self._unit.first_row
        for group in self.groups:
            first, end = end, end + self._metadata.row_group(group).num_rows
            self.row = max(first, done)
            if self.row >= end:
                continue
            error = None
            for plain_lists in tries:
                try:
                    yield from self._rest_of(group, first, plain_lists, not alike)
                    break
                except Exception as raised:  # pyarrow, OSError, and what clouds' clients raise
                    if is_passing(raised):
                        raise
                    error = error or raised
            if self.row < end and error is not None:
                yield unreadable_file(
                    self._unit.path,
                    f"{self._unit.path} is damaged in row group {group} ({short(error)}). Its rows "
                    f"{self.row:,} to {end - 1:,} were not read.",
                )

    def _rest_of(
        self, group: int, first: int, without_arrow_types: bool, digits: bool
    ) -> Iterator[pa.Table | Inexact]:
        skip = self.row - first
        stated = _plain_file(self._file).schema_arrow
        for table in self.tables(range(group, group + 1), without_arrow_types, digits):
            skipped, skip = skip, max(0, skip - _rows(table))
            if skipped >= _rows(table):
                continue
            if isinstance(table, Inexact):
                yield table
                self.row += 1
                continue
            rest = table.slice(skipped)
            yield _with_types(rest, stated) if without_arrow_types else rest
            self.row += len(rest)

    def _wanted(self, schema: pa.Schema) -> list[str] | None:
        return self._columns.of(schema.names)

    def _has_fixed_size_lists(self) -> bool:
        schema = _plain_file(self._file).schema_arrow
        wanted = self._wanted(schema)
        return any(
            _fixed_size_list_in(field.type)
            for field in schema
            if wanted is None or field.name in wanted
        )


def _plain_file(file: Any, int96: str = INT96_UNIT, **options: Any) -> pq.ParquetFile:
    return pq.ParquetFile(
        file,
        pre_buffer=False,
        coerce_int96_timestamp_unit=int96,
        page_checksum_verification=True,  # pages that were damaged on the way are values otherwise
        **options,
    )


def _rows(table: pa.Table | Inexact) -> int:
    return 1 if isinstance(table, Inexact) else len(table)


def _placed(unit: Unit, element: Element | Inexact, row: int) -> Element:
    """What is read from a row on, with its place in the file."""
    if isinstance(element, pa.Table):
        return TableOrigin(unit.path, unit.key, row).attach(element)
    if not isinstance(element, Inexact):
        return element
    return FailedRecord(
        "unreadable_value",
        f"{element.column} holds a timestamp with nanoseconds beside or in a year outside 1678 to "
        "2261, which no type of Arrow holds. Round it at its source or exclude the column.",
        field=element.column,
        file=unit.path,
        row=row,
    )


def _first_rows(path: str, file: Any, rows: int) -> pa.Table:
    metadata = _plain_file(file).metadata
    unit = Unit(path, "", 0, metadata.num_row_groups, 0, metadata.num_rows)
    held: list[pa.Table] = []
    for element in _Reading(file, unit, Columns()).group_by_group(0, alike=True):
        if not isinstance(element, pa.Table):
            break
        held.append(element)
        if sum(map(len, held)) >= rows:
            break
    if not held:
        return _plain_file(file).schema_arrow.empty_table()
    return pa.concat_tables(held).slice(0, rows)


def _units(path: str, file: Any) -> Iterator[Unit]:
    size = file.seek(0, os.SEEK_END) or file.tell()
    key = file_key(path, size.to_bytes(8, "big") + _footer_bytes(path, file, size))
    file.seek(0)
    metadata = _plain_file(file).metadata
    row = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        yield Unit(path, key, number, 1, row, group.num_rows, _compressed_bytes(group))
        row += group.num_rows


def _pruned(path: str, file: Any, units: list[Unit], mapping: Any) -> list[Unit]:
    import pyarrow.dataset as ds

    keys = partition_keys(path)  # they take the place of the file's own columns
    own = pa.schema(field for field in _plain_file(file).schema_arrow if field.name not in keys)
    wanted = wanted_rows(mapping, own)
    if wanted is None:
        return units
    file.seek(0)
    fragment = ds.ParquetFileFormat().make_fragment(pa.PythonFile(file, "r"))
    parts = fragment.split_by_row_group(wanted)
    groups = {group.id for part in parts for group in part.row_groups}
    return [unit for unit in units if unit.first in groups]


def _tables(batches: Iterable[pa.RecordBatch | Inexact], rows: int) -> Iterator[pa.Table | Inexact]:
    """Batches put together to tables of so many rows, or fewer where they are large or differ."""
    held: list[pa.RecordBatch] = []
    count = size = 0
    try:
        for batch in batches:
            if held and (isinstance(batch, Inexact) or batch.schema != held[0].schema):
                yield pa.Table.from_batches(held)
                held, count, size = [], 0, 0
            if isinstance(batch, Inexact):
                yield batch
                continue
            held.append(batch)
            count += len(batch)
            size += batch.nbytes
            if count >= rows or size >= _ENOUGH_BYTES:
                yield pa.Table.from_batches(held)
                held, count, size = [], 0, 0
    except Exception:  # the file is damaged from here on: what came before is good
        if held:
            yield pa.Table.from_batches(held)
        raise
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


def _footer_bytes(path: str, file: Any, size: int) -> bytes:
    if size < 12:
        raise InputError(
            f"{path} is empty or not a Parquet file ({size} bytes). Check how it was made."
        )
    file.seek(size - 8)
    end = file.read(8)
    length = struct.unpack("<I", end[:4])[0]
    if end[4:] != b"PAR1" or length > min(size - 8, _MAX_FOOTER):
        raise InputError(
            f"{path} is not a complete Parquet file (footer missing). Check that it is Parquet, "
            "and that its upload was finished."
        )
    file.seek(size - 8 - length)
    return bytes(file.read(length))


def _metadata_without_arrow_types(file: Any) -> pq.FileMetaData:
    """The footer with Arrow's own types hidden: a list of a fixed size is a plain list then.

    pyarrow refuses a list of a fixed size that is null, although the file is in order, and has no
    option to read it as the plain list that Parquet stores.
    """
    size = file.seek(0, os.SEEK_END) or file.tell()
    footer = _footer_bytes("", file, size)
    file.seek(0)
    hidden = footer.replace(_ARROW_SCHEMA, _ARROW_SCHEMA.lower())
    packed = b"PAR1" + hidden + len(hidden).to_bytes(4, "little") + b"PAR1"
    return pq.read_metadata(io.BytesIO(packed))


def _fixed_size_list_in(kind: pa.DataType) -> bool:
    if pa.types.is_fixed_size_list(kind):
        return True
    return any(_fixed_size_list_in(kind.field(i).type) for i in range(kind.num_fields))


def _with_types(table: pa.Table, stated: pa.Schema) -> pa.Table:
    """The table with the stated types where they are not of lists of a fixed size."""
    for place, field in enumerate(table.schema):
        kind = stated.field(field.name).type
        digits = pa.types.is_timestamp(field.type) and not field.type.tz  # INT96
        if kind != field.type and not digits and not _fixed_size_list_in(kind):
            column = table.column(place).cast(kind)
            table = table.set_column(place, pa.field(field.name, kind), column)
    return table
