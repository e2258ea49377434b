"""The condition of a `Shape`: which rows match it."""

from __future__ import annotations

import decimal
import itertools
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.encode.arrow_rows import take_rows, values_of
from mixpanel_sink.encode.json_columns import JsonType
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.results import SHAPE_FAILED

_UNFIT = re.compile(r"conversion from .* failed in column .* for (\d+) out of (\d+) values")
_NEIGHBOURS = re.compile(r" for \d+ out of \d+ values: .*")
"""What an error says of other rows."""
_NARROW = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
_OF_NULLS: tuple[pl.DataType, ...] = (
    *(pl.Null(), pl.String(), pl.Int64(), pl.Float64(), pl.Boolean(), pl.Datetime("us")),
    *(pl.Date(), pl.List(pl.String())),
)
_DIGITS = 38
"""Of the longest decimals that Polars has."""
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Rows = np.ndarray[Any, np.dtype[np.int64]]


def matching_rows(
    columns: Mapping[str, Any], where: str, count: int, told: Callable[[str], bool]
) -> tuple[Mask, dict[int, RecordError]]:
    """The rows for which a condition is true, and those for which it makes no sense.

    A row's result depends on its own values: where these tell a column's type, only rows whose
    values have the same types are evaluated together.

    Args:
        columns: Arrow columns by name; the condition may name others, which are null.
        where: an expression of Polars SQL.
        count: of the rows.
        told: whether a column's type is told by its values, so that one value of another type fails
            its record. A condition that does not fit the types of other columns is wrong. A value
            that the condition cannot convert fails its record, whatever the column.

    Raises:
        MappingError: for such a condition.
    """
    expression = pl.sql_expr(where)
    names = list(dict.fromkeys(expression.meta.root_names()))
    known = {name: columns[name] for name in names if name in columns}
    by_value = {name for name in names if told(name)}
    by_value |= {name for name in known if isinstance(known[name].type, JsonType)}
    mask = np.zeros(count, bool)
    failed: dict[int, RecordError] = {}
    for rows, typed, values in _alike(known, by_value, count):
        try:
            frame = _frame(typed, values, len(rows))
            mask[rows], wrong = _one_by_one(frame, expression, names, where)
            failed |= {int(rows[row]): error for row, error in wrong.items()}
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            if not by_value:
                raise MappingError(_said(error, where)) from None
            failed |= {int(row): RecordError(SHAPE_FAILED, _said(error, where)) for row in rows}
    return mask, failed


def _alike(
    known: Mapping[str, Any], by_value: Set[str], count: int
) -> Iterator[tuple[Rows, dict[str, Any], dict[str, list[Any]]]]:
    """Groups of rows in which each of the columns `by_value` has values of one type, or nulls: the
    rows, the columns that have a type, and the values of the others."""
    codes = np.zeros(count, np.int64)
    values: dict[str, list[Any]] = {}
    for name, column in known.items():
        if name not in by_value:
            continue
        if isinstance(column.type, JsonType) or types.is_nested(column.type):
            values[name] = values_of(column)
            numbers: dict[Hashable, int] = {}
            kinds = [numbers.setdefault(kind_of_value(v), len(numbers)) for v in values[name]]
            codes = codes * len(numbers) + np.array(kinds, np.int64)
            codes = np.unique(codes, return_inverse=True)[1]  # or many columns would overflow
        elif column.null_count:
            codes = codes * 2 + np.asarray(column.is_valid())
    typed = {name: column for name, column in known.items() if name not in values}
    groups = [np.flatnonzero(codes == code) for code in np.unique(codes)]
    for rows in groups or [np.arange(0)]:
        part = typed
        if len(groups) > 1 and typed:
            taken = take_rows(pa.table(typed), rows.tolist())
            part = dict(zip(taken.column_names, taken.columns, strict=True))
        given = {name: [each[row] for row in rows] for name, each in values.items()}
        for name in by_value & part.keys():
            if part[name].null_count == len(rows):  # nulls of no type
                given[name] = [None] * len(rows)
        yield rows, {name: part[name] for name in part.keys() - given.keys()}, given


def kind_of_value(value: Any) -> Any:
    """What the values have in common that are one column of a condition."""
    kind = type(value)
    if kind is int:
        if -(2**63) <= value < 2**63:
            return pl.Int64()
        if 0 <= value < 2**64:
            return pl.UInt64()
        return pl.Int128() if -(2**127) <= value < 2**127 else kind
    if kind is decimal.Decimal and value.is_finite():
        scale = max(0, -int(value.as_tuple().exponent))
        if scale <= _DIGITS and value.adjusted() + scale < _DIGITS:
            return pl.Decimal(_DIGITS, scale)
    if kind is list:
        kinds = {kind_of_value(item) for item in value} - {type(None)}
        # What Polars makes of a list of several kinds, it is to make of that list alone.
        return object() if len(kinds) > 1 else (list, *kinds)
    if kind is dict:
        return dict, tuple((name, kind_of_value(item)) for name, item in value.items())
    return kind


def _one_by_one(
    frame: Any, expression: Any, names: Sequence[str], where: str
) -> tuple[Mask, dict[int, RecordError]]:
    """Evaluates as many rows together as can be; those with a value that the condition cannot
    convert fail."""
    try:
        return _evaluate(frame, expression, names), {}
    except pl.exceptions.PolarsError as error:
        unfit = _UNFIT.search(str(error))
        if unfit is None or not len(frame):
            raise
        _evaluate(frame[:0], expression, names)  # raises what no row is to blame for
        if len(frame) == 1 or unfit[1] == unfit[2] == str(len(frame)):
            said = RecordError(SHAPE_FAILED, _said(error, where))
            return np.zeros(len(frame), bool), dict.fromkeys(range(len(frame)), said)
    half = len(frame) // 2
    first, failed = _one_by_one(frame[:half], expression, names, where)
    second, more = _one_by_one(frame[half:], expression, names, where)
    failed |= {half + row: error for row, error in more.items()}
    return np.concatenate([first, second]), failed


def _frame(typed: Mapping[str, Any], values: Mapping[str, list[Any]], count: int) -> Any:
    taken = {name: _narrowed(column) for name, column in typed.items()}
    frame: Any = pl.from_arrow(pa.table({**taken, "\0row": np.arange(count)}))
    frame = frame.with_columns(pl.col(_NARROW).cast(pl.Int64))  # 100 + 100 is not -56
    return frame.with_columns(_series(name, each) for name, each in values.items())


def _series(name: str, values: list[Any]) -> pl.Series:
    """Values of one kind; raises what Polars raises where it has no type for them."""
    kind = kind_of_value(values[0]) if values else None
    if kind is int:
        raise OverflowError(f"{name} is an integer of more than 128 bits")
    return pl.Series(name, values, dtype=kind if isinstance(kind, pl.DataType) else None)


def _narrowed(column: Any) -> Any:
    """Decimals of 256 bits, which Polars does not have, as those of 128, or as floats; and the
    values of dictionaries, since Polars' functions of text do not take its categories."""
    if types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if not types.is_decimal256(column.type):
        return column
    try:
        return column.cast(pa.decimal128(_DIGITS, column.type.scale))
    except pa.ArrowInvalid:
        return column.cast(pa.float64())


def _evaluate(frame: Any, expression: Any, names: Sequence[str]) -> Mask:
    """The condition for each row. Columns of nothing but nulls tell no type: of those that others
    may have, the first are taken with which the condition makes sense."""
    condition = expression.cast(pl.Boolean).alias("keep")
    empty = [name for name in names if name not in frame.columns or frame[name].dtype == pl.Null]
    found, wrong = None, None
    for kinds in _kinds_of_nulls(len(empty)):
        nulls = [pl.lit(None, kind).alias(name) for name, kind in zip(empty, kinds, strict=True)]
        try:
            found = frame.with_columns(nulls).select(condition)["keep"]
            break
        except pl.exceptions.PolarsError as error:
            wrong = error if wrong is None or _UNFIT.search(str(error)) else wrong
    if found is None:
        assert wrong is not None
        raise wrong
    found = found.fill_null(False)
    if len(found) == 1 != len(frame):  # a condition that names no column
        found = pl.repeat(found[0], len(frame), eager=True)
    mask: Mask = found.to_numpy()
    return mask


def _kinds_of_nulls(columns: int) -> Iterator[tuple[pl.DataType, ...]]:
    """Types for so many columns of nulls: first the same for all, then, of two, each with each."""
    if not columns:
        yield ()
        return
    yield from ((kind,) * columns for kind in _OF_NULLS)
    if columns == 2:
        yield from itertools.permutations(_OF_NULLS, 2)


def _said(error: Exception, where: str) -> str:
    said = _NEIGHBOURS.sub("", str(error).partition("\n")[0])
    if "date/datetime/time" in said or "Datetime(" in said:
        said += ". Compare dates as in day >= DATE '2024-01-31'"
    return f"where cannot be evaluated: {said}. The condition is {where!r}."
