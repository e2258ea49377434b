"""Values of each Arrow type in the form that `api.values` decides, as Polars expressions."""

from __future__ import annotations

import functools
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.api.numbers import PER_SECOND
from mixpanel_sink.encode.columnar.arrow_types import (
    Unsupported,
    check_nesting,
    decoded,
    is_binary,
    is_list,
    is_native,
    is_pattern,
    yields_text,
)
from mixpanel_sink.encode.columnar.expressions import json_of, line
from mixpanel_sink.encode.columnar.numbers import check_decimal, whole
from mixpanel_sink.encode.json_columns import JsonType


def is_columnar(kind: pa.DataType) -> bool:
    """Whether values of the type are written without a Python object for each."""
    try:
        if types.is_map(kind):
            map_texts(pl.element(), kind)
        elif types.is_decimal(kind):
            check_decimal(kind)
        else:
            convert(pl.element(), kind)
    except Unsupported:
        return isinstance(kind, JsonType)
    return True


def convert(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    """A column's values for Polars' JSON writer.

    Raises:
        Unsupported: for types that only the record encoder does.
    """
    check_nesting(kind)
    return _convert(expr, kind)


def _convert(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    if types.is_dictionary(kind):
        return _convert(expr, kind.value_type)  # see `plain_type`
    if types.is_decimal(kind):
        return whole(expr, kind)  # those with fractions are mixed: see `numbers`
    if types.is_float16(kind) or types.is_float32(kind):
        return expr.cast(pl.Float64)
    if types.is_duration(kind):
        return _seconds(expr, kind)
    if is_binary(kind):
        return expr.bin.encode("base64")
    if types.is_date(kind) or types.is_timestamp(kind) or types.is_time(kind):
        return _moment_text(expr, kind)
    if is_native(kind):
        return expr
    if is_list(kind):
        return expr.list.eval(_convert(pl.element(), kind.value_type))
    if types.is_struct(kind):
        return _struct(expr, kind)
    raise Unsupported(str(kind))


def _seconds(expr: pl.Expr, kind: pa.DurationType) -> pl.Expr:
    per_second = {"s": 1_000, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[kind.unit]
    value = expr.cast(pl.Int64)
    # Polars multiplies by the inverse of a literal, which rounds twice; a column it divides by.
    return value / (value * 0 + per_second)


def _struct(expr: pl.Expr, kind: pa.StructType) -> pl.Expr:
    if any(is_pattern(field.name) for field in kind):
        raise Unsupported("a field whose name Polars takes for a pattern")
    fields = [
        _convert(expr.struct.field(field.name), field.type).alias(field.name)
        for field in sorted(kind, key=lambda field: field.name)
    ]
    return pl.when(expr.is_not_null()).then(pl.struct(fields))


def map_texts(expr: pl.Expr, kind: pa.MapType) -> tuple[pl.Expr, pl.Expr]:
    """The JSON objects of a column of maps, and whether each has every key once.

    Args:
        expr: the maps as lists of entries, see `plain_type`.

    Raises:
        Unsupported: for keys or values that only the record encoder does.
    """
    check_nesting(kind)
    entry = pl.element().struct
    key = _convert(entry.field("key"), kind.key_type)
    if types.is_integer(decoded(kind.key_type)) or types.is_decimal(kind.key_type):
        key = key.cast(pl.String)
    elif not yields_text(decoded(kind.key_type)):
        raise Unsupported(str(kind))
    value = _convert(entry.field("value"), kind.item_type)
    pair = line([json_of(key), ":", json_of(value)]).sort_by(key)
    texts = line(["{", expr.list.eval(pair).list.join(","), "}"])
    once = expr.list.eval(key).list.n_unique() == expr.list.len()
    return texts, expr.is_null() | once


def _moment_text(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    """Dates, timestamps and times of day as ISO 8601."""
    if types.is_date(kind):
        return expr.cast(pl.Date).dt.to_string("%Y-%m-%d")
    if types.is_time(kind):
        nanoseconds = expr.cast(pl.Int64)
        return _with_fraction(expr.dt.to_string("%H:%M:%S"), nanoseconds % 1_000_000_000, "ns")
    unit: Any = "ms" if kind.unit == "s" else kind.unit  # Polars has no whole seconds
    text = expr.dt.to_string("%Y-%m-%dT%H:%M:%S")
    # Flooring, also before 1970: Polars' % has the sign of the divisor.
    text = _with_fraction(text, expr.dt.epoch(unit) % PER_SECOND[unit], unit)
    return text if kind.tz is None else text + "Z"


def timestamp_texts(moments: pl.Series, kind: pa.TimestampType) -> pl.Series:
    """Timestamps as ISO 8601, put together from a table of the days that occur and one of the
    seconds of a day: five times faster than `convert` where there are no fractions.
    """
    per_second = PER_SECOND["ms" if kind.unit == "s" else kind.unit]
    ticks = moments.to_physical()
    seconds = ticks // per_second
    days = seconds // 86_400
    first: Any = days.min()
    last: Any = days.max()
    if first is None or last - first > len(days) or (ticks != seconds * per_second).any():
        return moments.to_frame("t").select(_moment_text(pl.col("t"), kind)).to_series()
    every: Any = pl.int_range(first, last + 1, dtype=pl.Int32, eager=True)
    date: Any = every.cast(pl.Date).dt.to_string("%Y-%m-%d").gather(days - first)
    return date + _seconds_of_day(kind.tz is not None).gather(seconds - days * 86_400)


@functools.cache
def _seconds_of_day(zoned: bool) -> pl.Series:
    every: Any = pl.int_range(86_400, eager=True) * 1_000_000_000
    return "T" + every.cast(pl.Time).dt.to_string("%H:%M:%S") + ("Z" if zoned else "")


def _with_fraction(text: pl.Expr, fraction: pl.Expr, unit: str) -> pl.Expr:
    """Adds ".ffffff" where there is a fraction, or nine digits where nanoseconds need them."""

    def digits(value: pl.Expr, count: int) -> pl.Expr:
        return text + "." + value.cast(pl.String).str.zfill(count)

    if unit == "ms":
        six = digits(fraction * 1000, 6)
    elif unit == "us":
        six = digits(fraction, 6)
    else:
        some = pl.when(fraction % 1000 == 0)
        six = some.then(digits(fraction // 1000, 6)).otherwise(digits(fraction, 9))
    return pl.when(fraction == 0).then(text).otherwise(six)
