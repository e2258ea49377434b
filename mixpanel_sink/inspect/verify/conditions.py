"""A shape's condition, as the proof reads it: which records it leaves out."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import itertools
from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.errors import MappingError
from mixpanel_sink.inspect.verify.exact import Moment
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.results import SHAPE_FAILED
from mixpanel_sink.settings.shape import Shape

_EPOCH = datetime.datetime(1970, 1, 1)


@dataclasses.dataclass(frozen=True)
class Types:
    """What a table declares of its records.

    Attributes:
        columns: those with a type of their own.
        open: whether the records' data tell which columns there are.
    """

    columns: Mapping[str, pa.ChunkedArray]
    open: bool

    @classmethod
    def of(cls, table: pa.Table | None, shape: Shape) -> Types:
        """Those of a table, or of records that come from none."""
        origin = None if table is None else TableOrigin.of(table)
        if table is None or (origin is not None and not origin.declared):
            return cls({}, True)
        columns = dict(zip(table.schema.names, table.columns, strict=True))
        made = any(name in columns for name in shape.json)
        made |= any(
            name in columns and not pa.types.is_struct(columns[name].type) for name in shape.flatten
        )
        return cls(columns, made)

    def fields(self, name: str) -> list[str]:
        """The fields of a column of objects, which are there also where it is null."""
        column = self.columns.get(name)
        if column is None or not pa.types.is_struct(column.type):
            return []
        return [field.name for field in column.type]

    def has_fractions(self, name: str, shape: Shape) -> bool:
        """Whether a default that is a whole number becomes one of these."""
        if name in shape.cast:
            return shape.cast[name] == "number" and (self.open or name in self.columns)
        column = self.columns.get(name)
        return column is not None and pa.types.is_floating(column.type)


_OF_CAST: dict[str, Any] = {
    "text": pl.String,
    "integer": pl.Int64,
    "number": pl.Float64,
    "boolean": pl.Boolean,
    "time": pl.Datetime("us", "UTC"),
}
_SMALL = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
_WIDE = pl.col(_SMALL).cast(pl.Int64)
"""Sums of small integers may be large."""


def leave_out(records: list[Any], shape: Shape, types: Types) -> None:
    """Leaves out what the condition does not match. Records of equal types are looked at together:
    where it makes no sense for a type that a value has, and the column has no type of its own, the
    record does not fit, nor where a value cannot be converted."""
    assert shape.where is not None
    expression = pl.sql_expr(shape.where)
    names = expression.meta.root_names()
    changed = {*shape.json, *shape.flatten, *shape.split, *shape.join, *shape.cast}
    changed |= {*shape.defaults}
    typed: dict[str, Any] = {
        name: _typed(types.columns[name])
        for name in names
        if name in types.columns and name not in changed
    }
    # A cast and a join give their columns a type, also where a record has no value.
    casts = {n: _OF_CAST[k] for n, k in shape.cast.items() if types.open or n in types.columns}
    joined = {
        name: pl.String
        for name, how in shape.join.items()
        if types.open or any(column in types.columns for column in how.columns)
    }
    made: dict[str, Any] = {**joined, **casts}
    groups: dict[Any, list[int]] = {}
    nulls = {name: column.is_null().to_list() for name, column in typed.items()}
    rows: dict[int, list[Any]] = {}
    for place, record in enumerate(records):
        if isinstance(record, dict):
            rows[place] = [_seen(record.get(n), nulls.get(n), place) for n in names]
            groups.setdefault(tuple(map(_kind, rows[place])), []).append(place)
    together = list(groups.values())
    for places in together:  # which grows
        columns = {
            name: typed[name][places]
            if rows[places[0]][at] is _TYPED
            else _series([rows[place][at] for place in places], made.get(name))
            for at, name in enumerate(names)
        }
        try:
            frame = pl.DataFrame({"": places, **columns}).with_columns(_WIDE)
            matches = _evaluated(frame, expression)
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            of_values = "conversion from" in str(error) and " out of " in str(error)
            if of_values and len(places) > 1:
                half = len(places) // 2
                together += [places[:half], places[half:]]
                continue
            if not of_values and set(names) <= {*typed, *shape.cast, *shape.join}:
                raise MappingError(f"where cannot be evaluated: {error}") from None
            for place in places:
                records[place] = Refused(SHAPE_FAILED, f"where cannot be evaluated: {error}", "")
            continue
        for place, keep in zip(places, matches.to_list(), strict=True):
            if not keep:
                records[place] = None


_TYPED = object()
"""Stands for the value that a table's column has, with the type that it declares."""


def _seen(value: Any, nulls: list[bool] | None, place: int) -> Any:
    """A value as the condition sees it; the data may have filled a null of the table's column."""
    if nulls is None or (value is not None and nulls[place]):
        return _python(value)
    return _TYPED


def _kind(value: Any) -> Any:
    """What decides about the type of a column that holds the value."""
    if type(value) is int:
        if 2**63 <= value < 2**64:
            return "unsigned"
        return next((bits for bits in (63, 127) if -(2**bits) <= value < 2**bits), "endless")
    if type(value) is decimal.Decimal:
        return max(0, -int(value.as_tuple().exponent))
    return repr(value) if isinstance(value, list | dict) else type(value)


def _series(values: list[Any], of_nulls: Any) -> Any:
    if values[0] is None:
        return pl.Series(values, dtype=of_nulls or pl.Null)
    if type(values[0]) is decimal.Decimal:
        return pl.Series(values, dtype=pl.Decimal(38, _kind(values[0])))
    return values


_ANY: tuple[Any, ...] = (
    *(pl.Null, pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Datetime("us"), pl.Date),
    pl.List(pl.String),
)
"""Types that a column of nulls may have."""


def _typed(column: pa.ChunkedArray) -> Any:
    """A column as Polars has it: of a dictionary the values, of long decimals those it holds."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_decimal256(kind):
        try:
            column = column.cast(pa.decimal128(38, kind.scale))
        except pa.ArrowInvalid:
            column = column.cast(pa.float64())
    return pl.from_arrow(column)


def _evaluated(frame: Any, expression: Any) -> Any:
    """The condition for each row; a column of nulls has whatever type suits it."""
    empty = [name for name, kind in frame.schema.items() if kind == pl.Null]
    tried = [(kind,) * len(empty) for kind in _ANY]
    if len(empty) == 2:
        tried += itertools.product(_ANY, _ANY)
    failed: Exception | None = None
    for kinds in tried:
        try:
            made = frame.cast(dict(zip(empty, kinds, strict=True))) if empty else frame
            found = made.select(pl.col(""), expression.cast(pl.Boolean).alias("\0keep"))["\0keep"]
            if found.dtype != pl.Boolean:  # objects become objects of booleans
                raise pl.exceptions.InvalidOperationError(f"it is {found.dtype}, not a boolean")
            return found
        except pl.exceptions.PolarsError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _python(value: Any) -> Any:
    if isinstance(value, Moment):
        wall = _EPOCH + datetime.timedelta(microseconds=value.nanoseconds // 1000)
        return wall.replace(tzinfo=datetime.timezone.utc) if value.zoned else wall
    return value
