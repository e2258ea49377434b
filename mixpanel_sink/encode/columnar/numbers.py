"""Decimals as numbers of JSON: integers where they are whole, else the nearest float."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.api.values import MAX_INT, MIN_INT
from mixpanel_sink.encode.columnar.arrow_types import Unsupported

_FLOAT_DIGITS = 15
"""A float keeps so many digits of any number, ..."""
_PLAIN_DIGITS = 5
"""... and is written without an exponent if no more of them are behind the point."""
BOTH = pl.Struct({"text": pl.String, "exact": pl.String})


def whole(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    """Decimals of a type that has no fractions, as integers.

    Raises:
        Unsupported: for other types of decimals.
    """
    if kind.scale != 0 or types.is_decimal256(kind):
        raise Unsupported(str(kind))
    return expr.cast(pl.Int64 if kind.precision <= 18 else pl.Int128)


def check_decimal(kind: pa.DataType) -> None:
    """Raises Unsupported for decimals that Polars does not have."""
    if types.is_decimal256(kind) or not 0 <= kind.scale <= kind.precision:
        raise Unsupported(str(kind))


def sendable(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    """Whether the part before the point has 64 bits, or there is no value."""
    return expr.is_null() | _before_point(expr, kind).is_between(_wide(MIN_INT), _wide(MAX_INT))


def fraction(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    """The digits behind the point, as an integer."""
    return expr.to_physical() % _wide(10**kind.scale)


def _before_point(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    return expr.to_physical() // _wide(10**kind.scale)


def _wide(number: int) -> pl.Expr:
    return pl.lit(number, pl.Int128)


def plain_text(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    """All digits, without zeros at the end of the fraction."""
    text = expr.cast(pl.String)
    return text.str.strip_chars_end("0").str.strip_suffix(".") if kind.scale else text


class _Texts(NamedTuple):
    text: pl.Series
    exact: pl.Series | None


def texts(values: pl.Series, kind: pa.DataType) -> pl.Series:
    """Decimals as the JSON that is sent.

    Returns:
        Structs of `text` and `exact`, which holds all digits where `text` does not.
    """
    text, exact = _texts(values, kind)
    if exact is None:
        exact = pl.repeat(None, len(text), dtype=pl.String, eager=True)
    return pl.DataFrame({"text": text, "exact": exact}).to_struct(values.name)


def exact_texts(values: pl.Series, kind: pa.DataType) -> pl.Series:
    """Decimals as the JSON that ids are made from."""
    text, exact = _texts(values, kind)
    if exact is None:
        return text
    both: Any = pl.select(pl.coalesce(exact, text))
    return both.to_series()


def _texts(values: pl.Series, kind: pa.DataType) -> _Texts:
    frame, value = values.to_frame("v"), pl.col("v")
    plain = frame.select(plain_text(value, kind)).to_series()
    if not kind.scale:
        return _Texts(plain, None)
    small = kind.precision <= _FLOAT_DIGITS or bool(
        frame.select((value.to_physical().abs() < _wide(10**_FLOAT_DIGITS)).all()).item()
    )
    if small and kind.scale <= _PLAIN_DIGITS:
        return _Texts(plain, None)
    # With few digits the division is exact; beyond, only reading the text rounds right.
    divided = small and kind.scale <= _FLOAT_DIGITS
    number = (value if divided else value.cast(pl.String)).cast(pl.Float64).cast(pl.String)
    mixed = pl.when(fraction(value, kind) == 0).then(plain).otherwise(number)
    text = frame.select(mixed).to_series()
    if small:
        return _Texts(text, None)
    rounded = _rounded(text, plain)
    exact = pl.select(pl.when(rounded).then(plain)).to_series() if rounded.any() else None
    return _Texts(text, exact)


def _rounded(text: pl.Series, plain: pl.Series) -> pl.Series:
    """Which texts lack digits of the plain ones; the exponent, if any, is right."""
    suspects = (text != plain).fill_null(False).arg_true()
    rounded = pl.repeat(False, len(text), eager=True)
    differ = _digits(text.gather(suspects)) != _digits(plain.gather(suspects))
    return rounded.scatter(suspects.filter(differ), True)


def _digits(numbers: pl.Series) -> pl.Series:
    digits = numbers.str.replace(r"e.*$", "").str.replace_all(r"[-.]", "")
    return digits.str.strip_chars("0")
