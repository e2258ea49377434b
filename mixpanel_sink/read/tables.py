"""`Table`: an input that is not files, but a table that another system holds.

A new kind of table is a module, and a line in `registry.TABLES`. Its rows have no position, so
that events need an `insert_id` of key columns or of their content.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import pyarrow as pa

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.connection import reached
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.listing import File
from mixpanel_sink.read.source import ALL_COLUMNS, Columns, Element, FormatOption, Unit
from mixpanel_sink.read.watermark import kind_of


class Table(Protocol):
    """Rows that another system holds. Picklable."""

    @property
    def name(self) -> str:
        """Its address, to be shown."""
        ...

    @property
    def kind(self) -> str:
        """The system that holds it, to be shown."""
        ...

    @property
    def in_turns(self) -> bool:
        """Whether its parts must be read one after the other, such as for a quota."""
        ...

    @property
    def element_type(self) -> type[pa.Table] | type[RecordBlock]:
        """Whether its rows come as tables or as blocks of records."""
        ...

    def look(self) -> Look:
        """Its columns and size. Costs one question to that system; `TableSource` asks it once.

        Raises:
            InputError: if it is missing or forbidden.
        """
        ...

    def parts(self, columns: Sequence[str] | None) -> Iterable[bytes]:
        """Divides the rows with these columns, or all of them, among the workers that read them.

        Raises:
            InputError: if it is missing or forbidden.
        """
        ...

    def elements(self, part: bytes) -> Iterator[Element]:
        """The rows of one part.

        Raises:
            InputError: if they cannot be read to their end.
        """
        ...


class Look(NamedTuple):
    """What a table says about itself.

    Attributes:
        table: to read from now on: where a query was run, its result.
        schema: of all columns.
        rows: how many, as far as that is known.
        parts: of all columns, if looking has divided them.
    """

    table: Table
    schema: pa.Schema
    rows: int | None = None
    parts: tuple[bytes, ...] | None = None


class TableFormat:
    """How a table's rows are stored: with columns that have names and types."""

    name: ClassVar[str] = "table"
    states_columns: ClassVar[bool] = True
    states_types: ClassVar[bool] = True
    options: ClassVar[tuple[FormatOption, ...]] = ()

    def __init__(self, table: Table) -> None:
        self.table = table

    @functools.cached_property
    def look(self) -> Look:
        """What the table says about itself, asked once."""
        with reached(self.table.name):
            return self.table.look()

    def schema(self, path: str) -> pa.Schema:
        """The table's columns."""
        return self.look.schema

    def sample(self, path: str, rows: int) -> pa.Table:
        """Some rows, not necessarily the first."""
        made: list[pa.Table] = []
        left = rows
        for element in self.elements(Unit(path, ""), ALL_COLUMNS):
            if isinstance(element, pa.Table):
                made.append(element.slice(0, left))
                left -= len(made[-1])
            if left <= 0:
                break
        return pa.concat_tables(made) if made else self.look.schema.empty_table()

    def units(self, path: str) -> list[Unit]:
        """The table as one part."""
        return [Unit(path, "", rows=self.look.rows)]

    def estimated_rows(self, path: str) -> int:
        """The number of rows, if the table tells it."""
        return self.look.rows or 0

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """The table's rows."""
        table, schema, _, parts = self.look
        chosen = columns.of(schema.names)
        if chosen is not None or parts is None:
            parts = tuple(table.parts(chosen))
        for part in parts:
            yield from table.elements(part)


class TableSource(FileSource):
    """A table as an input of the commands."""

    def __init__(self, table: Table, format: TableFormat | None = None) -> None:
        self._rows = format or TableFormat(table)
        super().__init__(table.name, self._rows)
        self.files = [File(table.name, 0)]
        self.kind = table.kind
        self.table = table
        self.watermark: str | None = None

    def after(self, table: Table, column: str) -> TableSource:
        """The rows of a table of which the largest value in a column is to be known.

        Raises:
            SettingError: if the column is not there, or has no order that is of use.
            InputError: if the table is missing or forbidden.
        """
        made = TableSource(table)
        schema = made.schema()
        if column not in schema.names:
            raise SettingError(f"--since {column}: {table.name} has no such column.")
        kind_of(schema.field(column).type, column)
        made.watermark = column
        return made

    def file_count(self) -> int:
        """0: a table has no files to count."""
        return 0

    def schema_of(self, path: str) -> pa.Schema:
        """Its columns. Unlike a path, an address with a `key=value` in it adds none."""
        return self.format.schema(path)

    def sample(self, rows: int) -> pa.Table:
        """Its first rows."""
        return self.format.sample(self.table.name, rows)

    def elements(self, columns: Columns = ALL_COLUMNS, keep_text: bool = True) -> Iterator[Element]:
        """All rows."""
        return super().elements(columns._replace(keys=False), keep_text)

    def spread(self, rows: int, columns: Columns = ALL_COLUMNS) -> Iterator[Element]:
        """Some rows of the table."""
        return super().spread(rows, columns._replace(keys=False))

    def read(self, columns: Columns = ALL_COLUMNS, **options: Any) -> Any:
        """A transform that reads all rows on a pipeline's workers."""
        from mixpanel_sink.read.table_transform import ReadTable

        table, schema, *_ = self._rows.look
        in_turns = table.in_turns or options.get("in_turns", False)
        chosen = columns.of(schema.names)
        if chosen is not None and self.watermark is not None and self.watermark not in chosen:
            chosen = [*chosen, self.watermark]
        return ReadTable(table, chosen, in_turns=in_turns, since=self.watermark)
