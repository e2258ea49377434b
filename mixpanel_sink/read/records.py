"""Formats that give records one by one: what they share."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import pyarrow as pa

from mixpanel_sink.api.insert_ids import file_key
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.connection import is_passing, short
from mixpanel_sink.read.files import fingerprint_of
from mixpanel_sink.read.source import Columns, Element, FormatOption, Unit
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import record_as_json

BLOCK_RECORDS = 10_000
"""Records of one block."""


class BadRecord(NamedTuple):
    """What should be a record and cannot be read as one.

    Attributes:
        message: cause and fix in a sentence.
        text: as it stands in the file; None if it cannot be shown.
    """

    message: str
    text: str | None


Row = tuple[int, dict[str, Any] | BadRecord]


class Reader(Protocol):
    """What `ReadRecords` reads a kind of file with. Picklable."""

    def columns(self, path: str) -> list[str]:
        """The columns that the file's beginning shows, to check a mapping before anything is
        sent. Raises what reading the file raises."""
        ...

    def rows(self, path: str) -> Iterator[Row]:
        """Records in their order, each with its row, counted from 0. Rows may leave gaps."""
        ...


class RecordFormat:
    """A `Format` made of `columns` and `rows`; one file is one unit."""

    name: ClassVar[str] = "records"
    states_columns: ClassVar[bool] = True
    states_types: ClassVar[bool] = False
    options: ClassVar[tuple[FormatOption, ...]] = ()

    def columns(self, path: str) -> list[str]:
        """See `Reader.columns`."""
        raise NotImplementedError

    def rows(self, path: str) -> Iterator[Row]:
        """See `Reader.rows`."""
        raise NotImplementedError

    def schema(self, path: str) -> pa.Schema:
        """The columns, with the types of a sample."""
        names = checked_columns(self, path)
        types = {field.name: field for field in self.sample(path, 1000).schema}
        return pa.schema([types.get(name, pa.field(name, pa.null())) for name in names])

    def sample(self, path: str, rows: int) -> pa.Table:
        """The first good records."""
        names = checked_columns(self, path)
        good: list[dict[str, Any]] = []
        try:
            for _, record in itertools.islice(self.rows(path), rows):
                if not isinstance(record, BadRecord):
                    good.append(record)
        except Exception as error:  # the file breaks off; reading all of it will say so
            if is_passing(error):
                raise
        return table_of_sample(names, good)

    def units(self, path: str) -> list[Unit]:
        """The file as one unit."""
        return [Unit(path, file_key(path, fingerprint_of(path)))]

    def estimated_rows(self, path: str) -> int:
        """The number of rows, counted: nothing tells it without reading them."""
        try:
            return sum(1 for _ in self.rows(path))
        except Exception:  # reading it will say what is wrong
            return 0

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """Blocks of records, and bad ones."""
        return elements_of(self.rows(unit.path), unit.path, unit.key, keep_text)


class FormatOfReader(RecordFormat):
    """A user's `Reader` as a format."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def columns(self, path: str) -> list[str]:
        """As the reader says."""
        return self._reader.columns(path)

    def rows(self, path: str) -> Iterator[Row]:
        """As the reader says."""
        return self._reader.rows(path)


def elements_of(
    rows: Iterable[Row], path: str, key: str, keep_text: bool
) -> Iterator[RecordBlock | FailedRecord]:
    """Blocks of the good records, and a failed record for each bad one.

    Neither a gap between rows nor a bad record ends a block: a file of which every other line is
    empty or bad would be sent record by record. So a bad record may come before its neighbours.
    """
    block: list[dict[str, Any]] = []
    places: list[int] = []
    try:
        for row, record in rows:
            if isinstance(record, BadRecord):
                yield failed_record(record, path, row, keep_text)
                continue
            block.append(record)
            places.append(row)
            if len(block) >= BLOCK_RECORDS:
                yield _block(block, places, path, key)
                block, places = [], []
    except Exception:  # the file breaks off: what came before is good
        if block:
            yield _block(block, places, path, key)
        raise
    if block:
        yield _block(block, places, path, key)


def failed_record(bad: BadRecord, path: str, row: int, keep_text: bool) -> FailedRecord:
    """The failed record of a bad one."""
    text = bad.text if keep_text else None
    return FailedRecord(
        reason="line_unreadable",
        message=bad.message,
        record_json=None if text is None else record_as_json(text),
        file=path,
        row=row,
    )


def _block(records: list[dict[str, Any]], places: list[int], path: str, key: str) -> RecordBlock:
    first = places[0]
    gaps = places != list(range(first, first + len(places)))
    offsets = [row - first for row in places] if gaps else None
    return RecordBlock(records, TableOrigin(path, key, first), offsets)


def table_of_sample(names: Sequence[str], records: Sequence[dict[str, Any]]) -> pa.Table:
    """Records as a table for people to look at: a column whose values no one type holds becomes
    text, and its field says so in its metadata (`mixed`)."""
    fields, columns = [], []
    for name in dict.fromkeys([*names, *itertools.chain.from_iterable(records)]):
        column, kinds = _column([record.get(name) for record in records])
        metadata = {"mixed": ", ".join(kinds)} if kinds else None
        columns.append(column)
        fields.append(pa.field(name, column.type, metadata=metadata))
    return pa.table(columns, pa.schema(fields))


def _column(values: list[Any]) -> tuple[pa.Array, list[str]]:
    """Values as a column, and their types if no one type holds them. In objects it is only the
    members of several types that become text."""
    try:
        return pa.array(values), []
    except Exception:  # of several types, or integers beyond 64 bits
        kinds = sorted({type(value).__name__ for value in values if value is not None})
        if kinds == ["dict"]:
            members = dict.fromkeys(itertools.chain.from_iterable(filter(None, values)))
            inner = {
                str(name): _column([None if each is None else each.get(name) for each in values])[0]
                for name in members
            }
            nulls = pa.array([each is None for each in values])
            return pa.StructArray.from_arrays(list(inner.values()), list(inner), mask=nulls), []
        return pa.array([None if value is None else _shown(value) for value in values]), kinds


def _shown(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def checked_columns(reader: Reader, path: str) -> list[str]:
    """The file's columns.

    Raises:
        InputError: if it cannot be read as such a file.
    """
    try:
        return reader.columns(path)
    except InputError:
        raise
    except Exception as error:  # of formats, of the disk, and of each cloud's client
        if is_passing(error):
            raise
        raise InputError(
            f"{path} cannot be read ({short(error)}). Check that it is complete, and its format."
        ) from None
