"""Properties of an input's columns: their hashes, column by column, without an object a value.

What is not plain (a value that may be refused, a type that is rare) is said, not decided: such a
row goes to `expected.py`, value by value. Nothing here comes from the encoders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.inspect.verify.canonical import Hashes, hashes_of, hashes_of_cells, kind_of
from mixpanel_sink.inspect.verify.exact import exact_column
from mixpanel_sink.inspect.verify.held import NESTED_BYTES, Refused, held, json_of

Flags = npt.NDArray[np.bool_]
_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
"""A second's."""
_YEAR_1000, _YEAR_10000 = -30_610_224_000, 253_402_300_800
_FLOAT_EXACT = 2**53
_NUMBER_BYTES = 26


@dataclasses.dataclass
class Property:
    """A column as a property.

    Attributes:
        hashes: of its values, 0 for nulls.
        kinds: of its values.
        sure: whether each value surely is what was hashed, and is not refused; None if all are.
        size: at most so many bytes of JSON has each value.
    """

    hashes: Hashes
    kinds: set[str]
    sure: Flags | None
    size: Any


class Unsure(Exception):
    """A table whose rows are looked at one by one."""


def property_of(name: str, column: pa.ChunkedArray, drop: bool) -> Property:
    """A column as the property of this name.

    Args:
        name: of the property.
        column: as it was read.
        drop: whether NaN and infinity are null.
    """
    values = plain(column)
    if values is None:
        return of_cells(name, exact_column(column), drop)
    series, sure = values
    size: Any = _NUMBER_BYTES
    if series.dtype == pl.String:
        size = series.str.len_bytes().fill_null(0).to_numpy().astype(np.int64) * 6 + 6
    elif series.dtype == pl.Float64:
        finite = series.is_finite().fill_null(True)
        if not finite.all():
            series = series.set(~finite, None)
            sure = sure if drop else _both(sure, finite.to_numpy())
    return Property(hashes_of(name, series, shortened=True), kind_of(series), sure, size)


def of_cells(name: str, values: Sequence[Any], drop: bool) -> Property:
    """Exact values as a property, one by one."""
    found: list[Any] = [None] * len(values)
    sure = np.ones(len(values), np.bool_)
    size = np.full(len(values), _NUMBER_BYTES, np.int64)
    for row, value in enumerate(values):
        try:
            found[row] = kept = held(value, name, drop)
            if isinstance(kept, list | dict):
                size[row] = length = len(json_of(kept))
                sure[row] = length <= NESTED_BYTES
            elif isinstance(kept, str):
                size[row] = 6 * len(kept.encode()) + 6
        except Refused:
            sure[row] = False
    return Property(hashes_of_cells(name, found, shortened=True), kind_of(found), sure, size)


def plain(column: pa.ChunkedArray) -> tuple[pl.Series, Flags | None] | None:
    """A column as text, booleans, integers or floats, and which of them are sure; None for types
    and values that need more care."""
    kind = column.type
    try:
        if types.is_dictionary(kind):
            return plain(column.cast(kind.value_type))
        for is_of, convert in _KINDS:
            if is_of(kind):
                found = convert(column)
                return found if isinstance(found, tuple) else (found, None)
    except (pa.ArrowException, pl.exceptions.PolarsError, UnicodeDecodeError, ValueError):
        pass
    return None


def series_of(column: pa.ChunkedArray) -> pl.Series:
    """A column without its name, which Polars may take for a pattern."""
    found = pl.from_arrow(column)
    assert isinstance(found, pl.Series)
    return found.rechunk().alias("")


def _text(column: pa.ChunkedArray) -> pl.Series:
    column.validate(full=True)  # Parquet's text may be none
    return series_of(column).cast(pl.String)


def _float(column: pa.ChunkedArray) -> pl.Series:
    return series_of(column).cast(pl.Float64)


def _decimal(column: pa.ChunkedArray) -> Any:
    if column.type.scale == 0:
        return series_of(column.cast(pa.int64()))
    if column.type.scale < 0:
        raise ValueError
    # By way of text, since that is rounded to the nearest float for certain.
    numbers = series_of(column.cast(pa.string())).cast(pl.Float64)
    return numbers, (numbers.abs() < _FLOAT_EXACT).fill_null(True).to_numpy()


def _bytes(column: pa.ChunkedArray) -> pl.Series:
    return series_of(column.cast(pa.large_binary())).bin.encode("base64")


def _timestamp(column: pa.ChunkedArray) -> tuple[pl.Series, Flags]:
    kind = column.type
    ticks, second = ticks_of(column), _TICKS[kind.unit]
    seconds, fraction = ticks // second, ticks % second
    sure = seconds.is_between(_YEAR_1000, _YEAR_10000, closed="left").fill_null(True)
    seconds = seconds.set(~sure, None)
    texts = (seconds * 1000).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%dT%H:%M:%S")
    if second > 1 and fraction.sum():
        frame = pl.DataFrame({"text": texts, "nanoseconds": fraction * (10**9 // second)})
        part, digits = pl.col("nanoseconds"), pl.col("nanoseconds").cast(pl.String).str.zfill(9)
        fractions = pl.when(part % 1000 == 0).then(digits.str.head(6)).otherwise(digits)
        tail = pl.when(part == 0).then(pl.lit("")).otherwise(pl.lit(".") + fractions)
        texts = frame.select(pl.col("text") + tail).to_series()
    if kind.tz is not None:
        texts = texts + "Z"
    return texts, sure.to_numpy()


def ticks_of(column: pa.ChunkedArray) -> pl.Series:
    """Timestamps as the whole numbers that are stored."""
    return series_of(column.cast(pa.timestamp(column.type.unit)).cast(pa.int64()))


def _date(column: pa.ChunkedArray) -> tuple[pl.Series, Flags]:
    days = series_of(column.cast(pa.int32()))
    sure = days.is_between(_YEAR_1000 // 86_400, _YEAR_10000 // 86_400, closed="left")
    sure = sure.fill_null(True)
    return days.set(~sure, None).cast(pl.Date).dt.strftime("%Y-%m-%d"), sure.to_numpy()


def _duration(column: pa.ChunkedArray) -> tuple[pl.Series, Flags]:
    ticks = series_of(column.cast(pa.int64()))
    sure = ticks.is_between(-_FLOAT_EXACT, _FLOAT_EXACT).fill_null(True)
    # A column, since Polars multiplies by the inverse of a single number, which rounds twice.
    second = pl.Series([float(_TICKS[column.type.unit])]).new_from_index(0, len(ticks))
    return ticks.cast(pl.Float64) / second, sure.to_numpy()


_KINDS: list[tuple[Callable[[Any], bool], Callable[[Any], Any]]] = [
    (lambda kind: types.is_string(kind) or types.is_large_string(kind), _text),
    (types.is_boolean, series_of),
    (types.is_integer, series_of),
    (types.is_null, series_of),
    (lambda kind: types.is_float32(kind) or types.is_float64(kind), _float),
    (lambda kind: types.is_decimal128(kind), _decimal),
    (lambda kind: types.is_binary(kind) or types.is_large_binary(kind), _bytes),
    (types.is_timestamp, _timestamp),
    (types.is_date32, _date),
    (types.is_duration, _duration),
]


def _both(one: Flags | None, other: Flags) -> Flags:
    return other if one is None else one & other
