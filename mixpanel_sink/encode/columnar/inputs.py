"""The columns of a table that a mapping needs."""

from __future__ import annotations

from collections.abc import Set

import polars as pl
import pyarrow as pa

from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.encode.columnar.arrow_types import Unsupported, decoded, plain_type
from mixpanel_sink.encode.columnar.expressions import needs_escapes
from mixpanel_sink.encode.columnar.values import is_columnar
from mixpanel_sink.encode.json_columns import JsonType, json_column
from mixpanel_sink.settings.mapping import EventMapping


class Inputs:
    """Chooses and names the columns for Polars.

    Args:
        mapping: what becomes what.
        schema: of the tables.

    Attributes:
        by_value: columns whose values are made JSON one by one.

    Raises:
        Unsupported: if Polars cannot hold them.
    """

    def __init__(self, mapping: EventMapping, schema: pa.Schema) -> None:
        mapped = mapping.mapped_columns()
        properties = [column for _, column in mapping.plan(tuple(schema.names))]
        self._names = list(dict.fromkeys([*mapped, *properties]))
        if not self._names:
            raise Unsupported("no columns")  # a frame without columns has no rows
        for name in self._names:
            if schema.names.count(name) != 1 or "\0" in name:  # NUL makes Polars panic
                raise Unsupported(name)
        self._types = {name: decoded(schema.field(name).type) for name in self._names}
        self.by_value = [
            column
            for column in properties
            if column not in mapped and not is_columnar(self._types[column])
        ]
        self._types |= {column: JsonType() for column in self.by_value}
        self._drop = mapping.non_finite == "drop"
        # Polars takes "*" and "^...$" for patterns: columns go by number.
        self._numbers = {name: f"c{i}" for i, name in enumerate(self._names)}
        kinds = [plain_type(kind) for kind in self._types.values()]
        self._schema = pa.schema(list(zip(self._numbers.values(), kinds, strict=True)))

    def type_of(self, name: str) -> pa.DataType:
        """The type of a column's values, without a dictionary around them."""
        return self._types[name]

    def __getitem__(self, name: str) -> pl.Expr:
        """A column as `read` gives it."""
        return pl.col(self._numbers[name])

    def choose(self, table: pa.Table) -> pa.Table:
        """The columns that are needed, those `by_value` as JSON."""
        table = table.select(self._names)
        for name in self.by_value:
            values = values_of(table.column(name))
            place = self._names.index(name)
            table = table.set_column(place, name, json_column(values, name, self._drop))
        return table

    def read(self, table: pa.Table) -> tuple[pl.DataFrame, pa.Table]:
        """What `choose` gave as a frame, and as the table of plain types behind it."""
        columns = table.rename_columns(self._schema.names).cast(self._schema)
        return pl.from_arrow(columns, rechunk=False), columns  # type: ignore[return-value]

    def special(self, columns: pa.Table, names: Set[str]) -> set[str]:
        """Those of some columns of text, as `read` gave them, that need escapes in JSON."""
        return {name for name in names if needs_escapes(columns.column(self._numbers[name]))}
