"""`Source`: any input; `Format`: a kind of file.

Commands, checks and pipelines use these, never one kind of file. No Beam is
imported until `Source.read`, or until a file is not local.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import pyarrow as pa

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.errors import InputError
from mixpanel_sink.read.connection import is_passing, short
from mixpanel_sink.read.partitions import with_keys
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.mapping import EventMapping

Element: TypeAlias = "pa.Table | RecordBlock | FailedRecord"
"""What a source yields. A failed record is a bad line (`line_unreadable`, which counts as a record
read), or a file or a part of one (`file_unreadable`, whose records cannot be counted)."""

_Answer = TypeVar("_Answer")
FILE_UNREADABLE = "file_unreadable"
UNIT_ROWS = 200_000
"""Small neighbouring units are read together up to this many rows."""


class Unit(NamedTuple):
    """Neighbouring parts of one file that one worker reads: row groups of Parquet, else the file.

    Attributes:
        path: of the file.
        key: stands for the file in position ids (`insert_ids.file_key`).
        first, parts: which parts, counted from 0.
        first_row: the row with which they begin.
        rows: how many they have; None if the file does not say.
        size: their bytes as they are stored; 0 if the file does not say.
    """

    path: str
    key: str
    first: int = 0
    parts: int = 1
    first_row: int = 0
    rows: int | None = None
    size: int = 0


class Planned(NamedTuple):
    """Which files to read, as a checkpoint's run has planned it.

    Attributes:
        checkpoint: the folder.
        run: which holds its lease.
        leave_unfinished: whether files that are still being written are left for another run.
    """

    checkpoint: str
    run: str
    leave_unfinished: bool = False


class Listed(NamedTuple):
    """A file of a plan, as a worker found it.

    Attributes:
        path: its path.
        mark: of its content, in hex digits.
        is_left: whether it is still being written, so that it was left for another run.
    """

    path: str
    mark: str
    is_left: bool


class Columns(NamedTuple):
    """Which columns to read.

    Attributes:
        only: these; None for all.
        but: not these, of all. They are not decoded.
        keys: whether the keys of Hive's partitions in a file's path are columns as well.
        required: of these a record that lacks one differs from one that has null; None for all.
    """

    only: tuple[str, ...] | None = None
    but: frozenset[str] = frozenset()
    keys: bool = False
    required: frozenset[str] | None = None

    def of(self, names: Sequence[str]) -> list[str] | None:
        """The columns to read of a file that has these; None for all of them. Where none is
        wanted, the first: a table without columns has no rows, and its records would be lost."""
        chosen = self.among(names) or list(names[:1])
        return None if len(chosen) == len(names) else chosen

    def among(self, names: Sequence[str]) -> list[str]:
        """Those of these columns that are wanted."""
        wanted = set(names if self.only is None else self.only) - self.but
        return [name for name in names if name in wanted]


ALL_COLUMNS = Columns()


class FormatOption(NamedTuple):
    """A setting of a format, as commands declare it.

    Attributes:
        name: the keyword of the format's class.
        default: of the option.
        help: one sentence for people.
        parse: makes the value of a text.
        choices: the values that there are, if they are few.
    """

    name: str
    default: Any
    help: str
    parse: Any = str
    choices: tuple[str, ...] | None = None


@runtime_checkable
class Format(Protocol):
    """A kind of file. Picklable. A new one is a module, and a line in `registry`."""

    name: ClassVar[str]
    states_columns: ClassVar[bool]
    """Whether each file states its columns: a column that the mapping names and no file has is a
    mistake then."""
    states_types: ClassVar[bool]
    """Whether each file states its columns' types; else those of `schema` are of a sample."""
    options: ClassVar[tuple[FormatOption, ...]]

    def schema(self, path: str) -> pa.Schema:
        """The columns that the file states or its beginning shows. InputError if it cannot be
        read; so do the others."""
        ...

    def sample(self, path: str, rows: int) -> pa.Table:
        """The first rows with all their columns, bad ones left out."""
        ...

    def units(self, path: str) -> list[Unit]:
        """The smallest parts that can be read by themselves, in their order."""
        ...

    def estimated_rows(self, path: str) -> int:
        """About how many rows the file has, where `units` do not say."""
        ...

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """A unit's rows in their order, with file and row.

        What breaks off raises, or is a failed record (`file_unreadable`) where reading goes on.

        Args:
            unit: to read.
            columns: to read, where the format can leave others out.
            keep_text: whether a bad line's failed record holds its text. Not where columns of it
                must not leave the workers.
        """
        ...


@runtime_checkable
class Source(Protocol):
    """An input of the commands."""

    def file_count(self) -> int:
        """How many files it has; 0 for an input that has none."""
        ...

    @property
    def format(self) -> Format:
        """The format that it is stored in."""
        ...

    def schema(self) -> pa.Schema:
        """Its columns, as its beginning shows them."""
        ...

    def row_count(self) -> int | None:
        """How many rows it has; None if that is not known without reading all of it."""
        ...

    def estimated_rows(self) -> int:
        """About how many rows it has; exactly where that is known."""
        ...

    def files_skipped(self) -> int:
        """How many of its files are not opened: their partitions tell that none of their rows is
        wanted."""
        ...

    def skipped(self) -> tuple[int, int]:
        """Rows, and their stored bytes, that are not read: none of them is wanted."""
        ...

    def sample(self, rows: int) -> pa.Table:
        """Its first rows, with all columns."""
        ...

    def spread(self, rows: int, columns: Columns = ALL_COLUMNS) -> Iterator[Element]:
        """So many rows, spread over the whole input. The same input gives the same rows."""
        ...

    def elements(self, columns: Columns = ALL_COLUMNS) -> Iterator[Element]:
        """All rows, read in this process."""
        ...

    def read(self, columns: Columns = ALL_COLUMNS, **options: Any) -> Any:
        """All rows, as a Beam transform whose result is a `ReadResult`; options are those of
        `transform.ReadFiles`."""
        ...


def asked(name: str, path: str, question: Callable[[], _Answer]) -> _Answer:
    """Asks a file something; an error becomes one sentence.

    Raises:
        InputError: if the file cannot be read as such a file.
        ConnectionError and its like: of the network, for callers that can retry.
    """
    try:
        return question()
    except InputError:
        raise
    except Exception as error:  # of formats, of the disk, and of each cloud's client
        if is_passing(error):
            raise
        raise InputError(
            f"{path} cannot be read as {name} ({short(error)}). Check that it is complete "
            "and readable."
        ) from None


def units_of(format: Format, path: str) -> list[Unit]:
    """A file's units.

    Raises:
        InputError: if it cannot be read.
    """
    return asked(format.name, path, lambda: format.units(path))


def together(units: Iterable[Unit]) -> Iterator[Unit]:
    """Units, with small neighbours of the same file joined and empty ones left out."""
    held: Unit | None = None
    for unit in units:
        if held is None or not _neighbours(held, unit):
            if held is not None and held.rows != 0:
                yield held
            held = unit
        else:
            rows = (held.rows or 0) + (unit.rows or 0)
            parts, size = held.parts + unit.parts, held.size + unit.size
            held = held._replace(parts=parts, rows=rows, size=size)
    if held is not None and held.rows != 0:
        yield held


def _neighbours(held: Unit, unit: Unit) -> bool:
    """Whether they follow each other and are small."""
    if held.rows is None or unit.rows is None or held.path != unit.path:
        return False
    return held.first + held.parts == unit.first and held.rows + unit.rows <= UNIT_ROWS


def guarded(
    format: Format, unit: Unit, columns: Columns, keep_text: bool = True
) -> Iterator[Element]:
    """A unit's elements; where it breaks off, a failed record ends them.

    Raises:
        ConnectionError, TimeoutError: of the network, for a runner to try again.
    """
    elements = iter(format.elements(unit, columns, keep_text))
    while True:
        try:
            element = next(elements, None)
        except Exception as error:  # of formats, of the disk, and of each cloud's client
            if is_passing(error):
                raise
            message = f"{unit.path} cannot be read, or not to its end ({short(error)})."
            if isinstance(error, InputError):  # it says all itself
                message = str(error)
            yield unreadable_file(unit.path, message)
            return
        if element is None:
            return
        yield with_keys(element, unit.path, columns)


def unreadable_file(path: str, message: str) -> FailedRecord:
    """The failed record of a file that cannot be read, or not completely."""
    return FailedRecord(reason=FILE_UNREADABLE, message=message, file=path)


def rows_in(element: Element) -> int:
    """How many records an element counts as; 0 for an unreadable file."""
    if isinstance(element, FailedRecord):
        return int(element.reason != FILE_UNREADABLE)
    return len(element.records) if isinstance(element, RecordBlock) else len(element)


def first_rows(element: pa.Table | RecordBlock, rows: int) -> pa.Table | RecordBlock:
    """The first rows of an element."""
    if isinstance(element, pa.Table):
        return element.slice(0, rows)
    offsets = None if element.offsets is None else element.offsets[:rows]
    return RecordBlock(element.records[:rows], element.origin, offsets)


def columns_needed(mapping: Any, more: Iterable[str] = ()) -> Columns:
    """The columns that a mapping reads, and more that something else does; those that a path has
    are among them."""
    required = None
    if isinstance(mapping, EventMapping) and mapping.drop_nulls:
        required = frozenset([*mapping.mapped_columns(), *more])
    listed = mapping.columns()
    if listed is not None:
        only = tuple(dict.fromkeys([*listed, *more]))
        return Columns(only, keys=True, required=required)
    if mapping.shape is not None:  # what it excludes are columns that the shape makes
        return Columns(keys=True, required=required)
    left_out = frozenset(mapping.exclude) - {*mapping.named_columns(), *more}
    return Columns(None, left_out, keys=True, required=required)
