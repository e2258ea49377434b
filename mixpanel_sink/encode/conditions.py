"""The condition of a `Shape`: which rows match it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mixpanel_sink.encode.arrow_rows import take_rows, values_of
from mixpanel_sink.encode.json_columns import JsonType
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.results import SHAPE_FAILED

_UNFIT = re.compile(r"conversion from .* failed in column .* for (\d+) out of (\d+) values")
_NARROW = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def matching_rows(
    columns: Mapping[str, Any], where: str, count: int, loose: Collection[str]
) -> tuple[Mask, dict[int, RecordError]]:
    """The rows for which a condition is true, and those for which it makes no sense.

    Args:
        columns: Arrow columns by name; the condition may name others, which are null.
        where: an expression of Polars SQL.
        count: of the rows.
        loose: columns whose type was told by their values, so that one value of another type
            fails its record. A condition that does not fit the type of another column is wrong.
            A value that the condition cannot convert fails its record, whatever the column.

    Raises:
        MappingError: for such a condition.
    """
    expression = pl.sql_expr(where)
    names = list(dict.fromkeys(expression.meta.root_names()))
    known = {name: columns[name] for name in names if name in columns}
    by_value = [name for name in known if name in loose or isinstance(known[name].type, JsonType)]
    if not any(isinstance(column.type, JsonType) for column in known.values()):
        try:
            return _one_by_one(_frame(known, count), expression, names, where)
        except pl.exceptions.PolarsError as error:
            if not by_value:
                raise MappingError(_said(error, where)) from None
    return _by_types(known, by_value, expression, names, count, where)


def _by_types(
    known: dict[str, Any],
    by_value: Sequence[str],
    expression: Any,
    names: Sequence[str],
    count: int,
    where: str,
) -> tuple[Mask, dict[int, RecordError]]:
    """Evaluates the rows in groups in which each of those columns has values of one type."""
    values = {name: values_of(known[name]) for name in by_value}
    groups: dict[tuple[type, ...], list[int]] = {}
    for row, kinds in enumerate(zip(*(map(type, each) for each in values.values()), strict=True)):
        groups.setdefault(kinds, []).append(row)
    others = pa.table({name: known[name] for name in known if name not in values})
    mask = np.zeros(count, bool)
    failed: dict[int, RecordError] = {}
    for rows in groups.values():
        part = take_rows(others, rows)
        try:
            frame = _frame(dict(zip(part.column_names, part.columns, strict=True)), len(rows))
            typed = [pl.Series(n, [each[row] for row in rows]) for n, each in values.items()]
            mask[rows], wrong = _one_by_one(frame.with_columns(typed), expression, names, where)
            failed |= {rows[row]: error for row, error in wrong.items()}
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            failed |= {row: RecordError(SHAPE_FAILED, _said(error, where)) for row in rows}
    return mask, failed


def _one_by_one(
    frame: Any, expression: Any, names: Sequence[str], where: str
) -> tuple[Mask, dict[int, RecordError]]:
    """Evaluates as many rows together as can be; those with a value that the condition cannot
    convert fail."""
    try:
        return _evaluate(frame, expression, names), {}
    except pl.exceptions.PolarsError as error:
        unfit = _UNFIT.search(str(error))
        if unfit is None or unfit[2] != str(len(frame)):  # such as a constant
            raise
        if unfit[1] == unfit[2]:
            said = RecordError(SHAPE_FAILED, _said(error, where))
            return np.zeros(len(frame), bool), dict.fromkeys(range(len(frame)), said)
    half = len(frame) // 2
    first, failed = _one_by_one(frame[:half], expression, names, where)
    second, more = _one_by_one(frame[half:], expression, names, where)
    failed |= {half + row: error for row, error in more.items()}
    return np.concatenate([first, second]), failed


def _frame(columns: Mapping[str, Any], count: int) -> Any:
    taken = {name: _narrowed(column) for name, column in columns.items()}
    frame: Any = pl.from_arrow(pa.table({**taken, "\0row": np.arange(count)}))
    return frame.with_columns(pl.col(_NARROW).cast(pl.Int64))  # 100 + 100 is not -56


def _narrowed(column: Any) -> Any:
    """Decimals of 256 bits, which Polars does not have, as those of 128, or as floats; and the
    values of dictionaries, since Polars' functions of text do not take its categories."""
    if pa.types.is_dictionary(column.type):
        return column.cast(column.type.value_type)
    if not pa.types.is_decimal256(column.type):
        return column
    try:
        return column.cast(pa.decimal128(38, column.type.scale))
    except pa.ArrowInvalid:
        return column.cast(pa.float64())


def _evaluate(frame: Any, expression: Any, names: Sequence[str]) -> Mask:
    """The condition for each row. Columns of nothing but nulls tell no type: of those that others
    may have, the first is taken with which the condition makes sense."""
    condition = expression.cast(pl.Boolean).alias("keep")
    empty = [name for name in names if name not in frame.columns or frame[name].dtype == pl.Null]
    found, wrong = None, None
    for kind in (pl.Null, pl.String, pl.Float64, pl.Boolean) if empty else ():
        nulls = [pl.lit(None, kind).alias(name) for name in empty]
        try:
            found = frame.with_columns(nulls).select(condition)["keep"]
            break
        except pl.exceptions.PolarsError as error:
            wrong = error if wrong is None or _UNFIT.search(str(error)) else wrong
    if found is None and wrong is not None:
        raise wrong
    found = (frame.select(condition)["keep"] if found is None else found).fill_null(False)
    if len(found) == 1 != len(frame):  # a condition that names no column
        found = pl.repeat(found[0], len(frame), eager=True)
    mask: Mask = found.to_numpy()
    return mask


def _said(error: Exception, where: str) -> str:
    said = str(error).partition("\n")[0]
    if "date/datetime/time" in said or "Datetime(" in said:
        said += ". Compare dates as in day >= DATE '2024-01-31'"
    return f"where cannot be evaluated: {said}. The condition is {where!r}."
