"""`Block`: the form that Convert gives to every element. No Beam here.

A block holds records of one kind, and knows where each comes from: rows of a table, dicts, or
records that failed before. The differences between these are here; the steps of Convert (redaction,
routing, batching, encoding) treat all blocks alike.
"""

from __future__ import annotations

import abc
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from mixpanel_sink.batch.origin import FileKey, RecordBlock, RowOrigin, TableOrigin, runs_from
from mixpanel_sink.batch.runs import Run, cut_runs, singles, take_runs
from mixpanel_sink.encode.arrow_rows import rows_as_records, take_rows
from mixpanel_sink.encode.tables import slice_rows, table_of
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import hidden, record_as_json
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.project import Route, shown, unknown_project

if TYPE_CHECKING:
    from mixpanel_sink.encode.encoder import Encoder
    from mixpanel_sink.encode.event_json import EncodedEvent
    from mixpanel_sink.encode.redaction import Masker

Failure = tuple[FailedRecord, Run]
"""A failed record, and its origin."""
Names = tuple[list[Any], np.ndarray[Any, np.dtype[np.int64]]]
"""The different names of projects, or errors in their place; and each record's index there."""


@dataclasses.dataclass(frozen=True)
class Block(abc.ABC):
    """Records of one kind, with their origins.

    Attributes:
        key: stands for their file in position ids; None if that is unknown.
        runs: where they come from, in their order; counts add up to the records.
    """

    key: str | None
    runs: Sequence[Run]

    together: ClassVar[bool] = True
    """Whether the records may be encoded a column at a time."""

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def records(self, rows: Sequence[int] | None = None) -> Sequence[Any]:
        """The records, or those with these numbers."""

    @abc.abstractmethod
    def take(self, rows: Sequence[int]) -> Block:
        """A block of the records with these numbers."""

    @abc.abstractmethod
    def slices(self, batch_events: int) -> Iterator[Block]:
        """Parts small enough to be encoded at once."""

    @abc.abstractmethod
    def as_table(self, mapping: EventMapping | None = None) -> pa.Table | None:
        """A table that makes the same events; None if there is none. See `tables.table_of`."""

    @abc.abstractmethod
    def names(self, route: Route, projects: Mapping[str, Any]) -> Names:
        """The projects that the records are for."""

    @abc.abstractmethod
    def without(self, column: str) -> Block:
        """The same records without a column."""

    def as_records(self, records: Sequence[Any], rows: Sequence[int]) -> Block:
        """A block of these records, which were made from the block's records with these numbers."""
        return RecordsBlock(self.key, take_runs(self.runs, rows), records)

    @property
    def file_key(self) -> FileKey:
        """Stands for the file in position ids: `key`, or one for each record."""
        return self.key

    def origins(self, rows: Sequence[int]) -> Iterator[Run]:
        """Where some of the records come from."""
        return singles(take_runs(self.runs, rows))

    def source(self, origin: Run) -> RowOrigin | None:
        """Where one of the records lies; None if unknown."""
        return None if self.key is None else RowOrigin(origin.file, self.key, origin.row)

    def redact(self, masker: Masker, record: Any) -> Any:
        """One of the records, with its private columns dropped or hashed.

        Raises:
            RecordError: if a value cannot be hashed.
        """
        return masker.record(record)

    def encode(self, encoder: Encoder, record: Any, source: RowOrigin | None) -> EncodedEvent:
        """One of the records as JSON.

        Raises:
            RecordError: with the reason why it cannot be encoded.
        """
        return encoder.encode(record, source)

    def failure(self, error: RecordError, record: Any, source: RowOrigin | None) -> FailedRecord:
        """The failed record that one of the records becomes."""
        return failed_record(error, record, source)


@dataclasses.dataclass(frozen=True)
class TableBlock(Block):
    """The rows of a table."""

    table: pa.Table

    @classmethod
    def of(cls, table: pa.Table, origin: Run) -> Block:
        """A block of a table, whose metadata may tell its file."""
        place = TableOrigin.of(table)
        first, offsets = (None, None) if place is None else place.parts()
        runs = runs_from(first, offsets, origin._replace(count=len(table)))
        return cls.made(None if place is None else place.key, runs, table)

    @classmethod
    def made(cls, key: str | None, runs: Sequence[Run], table: pa.Table) -> Block:
        """A block of a table; of records if it has no columns, since Arrow loses their number."""
        if table.num_columns:
            return cls(key, runs, table)
        return RecordsBlock(key, runs, [{} for _ in singles(runs)])

    def __len__(self) -> int:
        return len(self.table)

    def records(self, rows: Sequence[int] | None = None) -> Sequence[Any]:
        """The rows as dicts."""
        return rows_as_records(self.table, range(len(self.table)) if rows is None else rows)

    def take(self, rows: Sequence[int]) -> Block:
        """A block of the rows with these numbers."""
        return TableBlock(self.key, take_runs(self.runs, rows), take_rows(self.table, rows))

    def slices(self, batch_events: int) -> Iterator[Block]:
        """Parts of whole requests where they are that large; without copying."""
        step = slice_rows(self.table, batch_events)
        for start in range(0, len(self), step):
            part = self.table.slice(start, step)
            yield TableBlock(self.key, list(cut_runs(self.runs, start, start + len(part))), part)

    def as_table(self, mapping: EventMapping | None = None) -> pa.Table | None:
        """The table."""
        return self.table

    def names(self, route: Route, projects: Mapping[str, Any]) -> Names:
        """By a column's values all at once; or by a function row by row, which is much slower."""
        return _names_of_column(self.table, route.column) or _names_of(
            map(_asking(route), self.records()), len(self)
        )

    def without(self, column: str) -> Block:
        """The table without this column."""
        if column not in self.table.schema.names:
            return self
        return TableBlock.made(self.key, self.runs, self.table.drop_columns([column]))


@dataclasses.dataclass(frozen=True)
class JoinedTables(TableBlock):
    """The rows of small tables with one schema, to encode them at once.

    Attributes:
        keys: stand for their files in position ids, by path; none where they are unknown.
    """

    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def join(cls, blocks: Sequence[TableBlock]) -> JoinedTables:
        """Joins blocks, either all with a key or all without."""
        tables = [block.table.replace_schema_metadata(None) for block in blocks]
        runs = [run for block in blocks for run in block.runs]
        keys = {
            run.file: block.key for block in blocks if block.key is not None for run in block.runs
        }
        return cls(None, runs, pa.concat_tables(tables), keys)

    @property
    def file_key(self) -> FileKey:
        """One for each row."""
        if not self.keys:
            return None
        return [key for run in self.runs for key in [self.keys[run.file]] * run.count]

    def source(self, origin: Run) -> RowOrigin | None:
        """Where one of the rows lies; None if unknown."""
        key = self.keys.get(origin.file)
        return None if key is None else RowOrigin(origin.file, key, origin.row)


@dataclasses.dataclass(frozen=True)
class RecordsBlock(Block):
    """Records as dicts.

    Attributes:
        given: the records.
        weight: about how many bytes of JSON they make; 0 if unknown.
    """

    given: Sequence[Any]
    weight: int = 0

    @classmethod
    def of(
        cls, records: Sequence[Any], runs: Sequence[Run], key: str | None = None
    ) -> RecordsBlock:
        """A block of records that a `Gatherer` collected."""
        return cls(key, runs, records)

    @classmethod
    def of_block(cls, block: RecordBlock, origin: Run) -> RecordsBlock:
        """A block of records that a reader put together."""
        runs = runs_from(block.origin, block.offsets, origin._replace(count=len(block.records)))
        key = None if block.origin is None else block.origin.key
        return cls(key, runs, block.records)

    def __len__(self) -> int:
        return len(self.given)

    def records(self, rows: Sequence[int] | None = None) -> Sequence[Any]:
        """The dicts themselves."""
        return self.given if rows is None else [self.given[row] for row in rows]

    def take(self, rows: Sequence[int]) -> Block:
        """Some of them."""
        return self.as_records(self.records(rows), rows)

    def slices(self, batch_events: int) -> Iterator[Block]:
        """The block itself: a `Gatherer` keeps blocks small."""
        yield self

    def as_table(self, mapping: EventMapping | None = None) -> pa.Table | None:
        """A table of the same values; None if there is none."""
        return table_of(self.given, mapping)

    def names(self, route: Route, projects: Mapping[str, Any]) -> Names:
        """By asking for each record."""
        return _names_of(map(_asking(route), self.given), len(self))

    def without(self, column: str) -> Block:
        """The records without this column; those that have it are copied."""
        given = [
            {name: value for name, value in record.items() if name != column}
            if column in record
            else record
            for record in self.given
        ]
        return dataclasses.replace(self, given=given)


class FailedBlock(RecordsBlock):
    """Records that failed before."""

    together = False

    @classmethod
    def of(
        cls, records: Sequence[Any], runs: Sequence[Run], key: str | None = None
    ) -> RecordsBlock:
        """A block of failed records, each of which knows its file and row."""
        places = [
            run._replace(file=failed.file or "", row=-1 if failed.row is None else failed.row)
            for failed, run in zip(records, singles(runs), strict=True)
        ]
        return cls(None, places, records)

    def as_records(self, records: Sequence[Any], rows: Sequence[int]) -> Block:
        """A block of these failed records."""
        return FailedBlock(None, take_runs(self.runs, rows), records)

    def as_table(self, mapping: EventMapping | None = None) -> pa.Table | None:
        """None: failed records are encoded one by one."""
        return None

    def names(self, route: Route, projects: Mapping[str, Any]) -> Names:
        """The project that a record was for, or else the one that its record names."""

        def ask(failed: FailedRecord) -> Any:
            name = failed.destination
            if name in projects:
                return name
            if failed.can_be_sent:
                if name is not None:
                    return unknown_project(name, projects, route.column)
                if isinstance(record := failed.record, dict):
                    return _asking(route)(record)
            return RecordError(failed.reason, failed.message, failed.field)

        return _names_of(map(ask, self.given), len(self))

    def without(self, column: str) -> Block:
        """The failed records, whose own records lose this column."""
        given = [
            failed._replace(record_json=json.dumps(record))
            if isinstance(record := failed.record, dict) and record.pop(column, None) is not None
            else failed
            for failed in self.given
        ]
        return FailedBlock(self.key, self.runs, given)

    def redact(self, masker: Masker, record: Any) -> Any:
        """Drops columns only: records that failed in a sink are hashed already."""
        return masker.failed(record)

    def encode(self, encoder: Encoder, record: Any, source: RowOrigin | None) -> EncodedEvent:
        """The event as it was, or the record once more."""
        if not record.can_be_sent:
            raise RecordError(record.reason, record.message, record.field)
        return encoder.replay(record)

    def failure(self, error: RecordError, record: Any, source: RowOrigin | None) -> FailedRecord:
        """The same record, with the reason why it fails now."""
        failed: FailedRecord = record._replace(
            reason=error.reason, message=error.message, field=error.field
        )
        known = error.reason != "destination_unknown"
        return failed if known else failed._replace(destination=None)


def failed_record(error: RecordError, record: Any, source: RowOrigin | None) -> FailedRecord:
    """The failed record of a record that cannot be sent."""
    try:
        readable: Any = dict(record) if isinstance(record, Mapping) else repr(record)
    except Exception:  # of a user's class
        readable = hidden(record)
    return FailedRecord(
        reason=error.reason,
        message=error.message,
        field=error.field,
        record_json=record_as_json(readable),
        file=source.file if source else None,
        row=source.row if source else None,
    )


def _asking(route: Route) -> Callable[[Any], Any]:
    """A function that names a record's project, or returns the error."""

    def ask(record: Any) -> Any:
        try:
            return route.name_of(record)
        except RecordError as error:
            return error

    return ask


def _names_of(names: Iterator[Any], count: int) -> Names:
    different: list[Any] = []
    numbers: dict[Any, int] = {}
    codes = np.empty(count, dtype=np.int64)
    for row, name in enumerate(names):
        key: Any = (type(name), name if isinstance(name, str) else shown(name))
        if isinstance(name, RecordError):
            key = (name.reason, name.message, name.field)
        if key not in numbers:
            numbers[key] = len(different)
            different.append(name)
        codes[row] = numbers[key]
    return different, codes


def _names_of_column(table: pa.Table, column: str | None) -> Names | None:
    """The different values of a column; None if it is not plain."""
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
