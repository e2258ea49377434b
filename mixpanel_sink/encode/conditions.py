"""The condition of a `Shape`: which rows match it."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mixpanel_sink.encode.arrow_rows import take_rows, values_of
from mixpanel_sink.encode.json_columns import JsonType
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.results import SHAPE_FAILED

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

    Raises:
        MappingError: for such a condition.
    """
    expression = pl.sql_expr(where)
    names = list(dict.fromkeys(expression.meta.root_names()))
    known = {name: columns[name] for name in names if name in columns}
    by_value = [name for name in known if name in loose or isinstance(known[name].type, JsonType)]
    try:
        if not any(isinstance(column.type, JsonType) for column in known.values()):
            return _evaluate(_frame(known, count), expression, names), {}
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
            mask[rows] = _evaluate(frame.with_columns(typed), expression, names)
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            failed |= {row: RecordError(SHAPE_FAILED, _said(error, where)) for row in rows}
    return mask, failed


def _frame(columns: Mapping[str, Any], count: int) -> Any:
    return pl.from_arrow(pa.table({**columns, "\0row": np.arange(count)}))


def _evaluate(frame: Any, expression: Any, names: Sequence[str]) -> Mask:
    """The condition for each row. Columns of nothing but nulls tell no type: of those that others
    may have, the first is taken with which the condition makes sense."""
    condition = expression.cast(pl.Boolean).alias("keep")
    empty = [name for name in names if name not in frame.columns or frame[name].dtype == pl.Null]
    found: Any = None
    for kind in (pl.Null, pl.String, pl.Float64, pl.Boolean) if empty else ():
        nulls = [pl.lit(None, kind).alias(name) for name in empty]
        with contextlib.suppress(pl.exceptions.PolarsError):
            found = frame.with_columns(nulls).select(condition)["keep"]
            break
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
