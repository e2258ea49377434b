"""Numbers that 64-bit floats cannot hold: sent as the nearest float, and kept exact for ids."""

from __future__ import annotations

import decimal
import json
import math
import re
from typing import Any

import orjson

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
MOST_ID_BITS = 3000
"""Integers of more bits have more digits than any id that Mixpanel takes."""
_MOST_DIGITS = 1000
"""Decimals with more digits before the point than this are all alike: too large."""
_FLOAT_DIGITS = 15
"""A float keeps so many digits of any number."""
_LONG_NUMBER, _LONG_NUMBER_BYTES = re.compile(r"\d{19}"), re.compile(rb"\d{19}")


class Rounded:
    """A number with a fraction that has more digits than a 64-bit float keeps.

    `json_bytes` writes the nearest float, as every JSON reader makes of it, or all digits for ids.
    """

    __slots__ = ("exact",)

    def __init__(self, exact: decimal.Decimal) -> None:
        self.exact = exact

    def __float__(self) -> float:
        return float(self.exact) + 0.0  # Arrow's decimals have no -0

    def __str__(self) -> str:
        """All digits, without an exponent where that is not absurdly long."""
        if abs(self.exact.adjusted()) > 1000:
            return str(self.exact).lower()
        text = format(self.exact, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text


def json_bytes(value: Any, rounded: list[Rounded] | None = None, exact: bool = False) -> bytes:
    """The JSON of what `to_json` gave.

    Args:
        value: what it gave.
        rounded: gets the numbers that were rounded.
        exact: writes all their digits, for ids.

    Raises:
        orjson.JSONEncodeError, RecursionError: if it has none.
    """

    def write(number: Any) -> Any:
        if type(number) is not Rounded:
            raise TypeError
        if rounded is not None:
            rounded.append(number)
        return orjson.Fragment(str(number)) if exact else float(number)

    return orjson.dumps(value, default=write)


def read_json(text: str | bytes) -> Any:
    """What a JSON text holds, with integers of any size.

    Raises:
        ValueError: if it is not JSON.
        RecursionError: if it is nested too deep.
    """
    value = orjson.loads(text)
    if isinstance(text, str):
        is_long = _LONG_NUMBER.search(text) is not None
    else:
        is_long = _LONG_NUMBER_BYTES.search(text) is not None
    # orjson rounds integers beyond 64 bits; the sink names them.
    return json.loads(text) if is_long else value


def whole_number(value: Any) -> int | None:
    """A decimal without a fraction as an integer; None for anything else."""
    if not isinstance(value, decimal.Decimal) or not value.is_finite():
        return None
    if not value:
        return 0
    if value.adjusted() > _MOST_DIGITS:  # int() would take all memory for 1E+999999999
        return 10**_MOST_DIGITS
    return int(value) if value == value.to_integral_value() else None


def nearest(exact: decimal.Decimal) -> float | Rounded:
    """A number with a fraction as a float, if that keeps all its digits."""
    number = float(exact)
    return number if decimal.Decimal(repr(number)) == exact else Rounded(exact)


def exact_float(text: str) -> float | decimal.Decimal:
    """A number with a fraction from its JSON: a decimal if a float does not keep all its digits."""
    number = nearest(decimal.Decimal(text))
    return number.exact if isinstance(number, Rounded) else number


def number_of(text: str) -> float | decimal.Decimal:
    """A number from a text such as a cell of CSV: a decimal if the text is neither the shortest
    form of a float nor one of 17 digits, which give the float back."""
    number = float(text)
    if not math.isfinite(number) or (len(text) <= _FLOAT_DIGITS and "e" not in text.lower()):
        return number
    exact = decimal.Decimal(text)
    forms = repr(number), f"{number:.17g}"
    return number if any(decimal.Decimal(form) == exact for form in forms) else exact


def seconds(ticks: int, unit: str) -> float | Rounded:
    """A duration in seconds."""
    number = ticks / PER_SECOND[unit]  # integers are divided exactly, and rounded once
    if abs(ticks) < 10**_FLOAT_DIGITS:
        return number
    exact = decimal.Decimal(f"{ticks}e-{len(str(PER_SECOND[unit])) - 1}")
    return number if decimal.Decimal(repr(number)) == exact else Rounded(exact)
