"""A BigQuery table as an input of the commands: `mixpanel-sink import bq://PROJECT.DATASET.TABLE`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.bigquery import SCHEME, BigQueryTable, open_session
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.files import File
from mixpanel_sink.read.source import ALL_COLUMNS, Columns, Element, FormatOption, Unit


def names_bigquery(patterns: Sequence[str]) -> bool:
    """Whether an input is a table of BigQuery's, and not files."""
    return any(pattern.startswith(SCHEME) for pattern in patterns)


class BigQueryFormat:
    """How BigQuery's rows are stored: in a table that states its columns and their types."""

    name: ClassVar[str] = "bigquery"
    states_columns: ClassVar[bool] = True
    states_types: ClassVar[bool] = True
    options: ClassVar[tuple[FormatOption, ...]] = ()

    def schema(self, path: str) -> pa.Schema:
        """The table's columns."""
        return BigQueryTable(path).schema()

    def sample(self, path: str, rows: int) -> pa.Table:
        """Some rows; BigQuery does not say which are the first."""
        return _first(BigQueryTable(path).tables(), rows, self.schema(path))

    def units(self, path: str) -> list[Unit]:
        """The table as one part."""
        return [Unit(path, "", rows=open_session(BigQueryTable(path), 1).rows)]

    def estimated_rows(self, path: str) -> int:
        """What BigQuery estimates."""
        return open_session(BigQueryTable(path), 1).rows or 0

    def elements(self, unit: Unit, columns: Columns, keep_text: bool = True) -> Iterator[Element]:
        """The table's rows; they have no position."""
        yield from _with(BigQueryTable(unit.path), columns, self.schema(unit.path).names).tables()


class BigQuerySource(FileSource):
    """A table of BigQuery's.

    Args:
        patterns: its address, `bq://PROJECT.DATASET.TABLE`.

    Raises:
        SettingError: for several, or an address that names no table.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        if len(patterns) != 1:
            raise SettingError(
                "Give one BigQuery table at a time, and no files beside it: several are several "
                "imports, or one query."
            )
        super().__init__(patterns, BigQueryFormat())
        self._table = BigQueryTable(self.patterns[0])
        self.files = [File(self._table.name, 0)]

    def file_count(self) -> int:
        """None: it is no file."""
        return 0

    def read(self, columns: Columns = ALL_COLUMNS, **options: Any) -> Any:
        """Reads all of it on a pipeline's workers."""
        from mixpanel_sink.read.bigquery_transform import ReadBigQuery

        names = [] if columns == ALL_COLUMNS else self.schema().names
        return ReadBigQuery(_with(self._table, columns, names))


def _with(table: BigQueryTable, columns: Columns, names: Sequence[str]) -> BigQueryTable:
    chosen = columns.of(names) if names else None
    return table if chosen is None else dataclasses.replace(table, columns=chosen)


def _first(tables: Iterator[pa.Table], rows: int, schema: pa.Schema) -> pa.Table:
    parts: list[pa.Table] = []
    left = rows
    for table in tables:
        parts.append(table.slice(0, left))
        left -= len(parts[-1])
        if left <= 0:
            break
    return pa.concat_tables(parts) if parts else schema.empty_table()
