"""Casts of a `Shape`: what text or a value becomes as text, a number, a boolean or a time.

A value's meaning never depends on its neighbours: Arrow's own casts, which take more forms of
numbers, are used only for columns whose every text is plain, and values that no type holds together
are taken apart.
"""

from __future__ import annotations

import contextlib
import decimal
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.api.numbers import Rounded, seconds, whole_number
from mixpanel_sink.api.values import MAX_INT, MIN_INT, id_text
from mixpanel_sink.encode.apart import Apart
from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.encode.json_columns import lost_rows
from mixpanel_sink.encode.times import text_ns
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import SHAPE_FAILED
from mixpanel_sink.settings.columns import TimeColumn

_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
_PLAIN = {"integer": r"^-?[0-9]{1,18}$", "number": r"^-?[0-9]{1,15}(\.[0-9]+)?$"}
"""Texts that Arrow reads as this module does, and that a 64-bit number holds."""
_MOST_CHARACTERS = 1000
"""The longest number as text; `int` refuses more than 4,300 digits."""


def cast(column: pa.ChunkedArray, name: str, kind: str) -> tuple[Any, dict[int, RecordError]]:
    """A column as another type, and the rows whose value cannot be one, which are null in it.

    Args:
        column: any.
        name: for messages.
        kind: `text`, `integer`, `number`, `boolean` or `time`.

    Raises:
        Apart: if the values need two types.
    """
    if _is_already(column.type, kind):
        return column, {}
    if (made := _at_once(column, kind)) is not None:
        return made, {}
    read = _READ[kind]
    failed = {row: _misfit(name, kind) for row in lost_rows(column)}
    values: list[Any] = []
    for row, value in enumerate(_seconds(column) or values_of(column)):
        try:
            values.append(None if value is None else read(value))
        except (ValueError, TypeError, ArithmeticError, RecordError):
            failed[row] = _misfit(name, kind)
            values.append(None)
    if kind == "time":
        return _times(values, name, failed), failed
    made = TYPES[kind]
    if kind == "integer" and any(value is not None and value >= 2**63 for value in values):
        made = pa.uint64()
        if any(value is not None and value < 0 for value in values):
            made = pa.decimal128(20)  # which holds those with a sign and those without one
    return pa.chunked_array([pa.array(values, made)]), failed


def types_apart(column: pa.ChunkedArray) -> np.ndarray[Any, Any] | None:
    """A code for the type that each value of a cast column has by itself, as a condition sees it:
    one that a cast gives to a column without other values. None if that is the column's type."""
    kind = column.type
    if pa.types.is_uint64(kind) or pa.types.is_decimal(kind):
        wide = pc.greater_equal(column, pa.scalar(2**63, kind))
        return _both(wide)
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        micros = column.cast(pa.timestamp("us", kind.tz), safe=False).cast(kind)
        return _both(pc.not_equal(column, micros))
    return None


def _both(flags: Any) -> np.ndarray[Any, Any] | None:
    codes = np.asarray(pc.fill_null(flags, False))
    valid = np.asarray(flags.is_valid())
    return None if len(np.unique(codes[valid])) < 2 else codes


def _misfit(name: str, kind: str) -> RecordError:
    return RecordError(
        SHAPE_FAILED,
        f"{name} holds a value that cannot become {kind}. Correct it, or take {name} out of cast.",
        name,
    )


def _is_already(given: pa.DataType, kind: str) -> bool:
    if kind == "integer" and pa.types.is_integer(given):
        return True
    if kind == "time":
        return bool(pa.types.is_timestamp(given) and given.tz)
    return bool(given == TYPES[kind])


def _at_once(column: pa.ChunkedArray, kind: str) -> Any:
    """The column by Arrow's own casts, or None."""
    given = column.type
    if kind == "time" and pa.types.is_timestamp(given):
        return pc.assume_timezone(column, "UTC")
    if kind == "time" and pa.types.is_date64(given):
        moments = column.cast(pa.int64()).cast(pa.timestamp("ms", "UTC"))
        return pc.floor_temporal(moments, unit="day")
    if kind == "time" and pa.types.is_date(given):  # in seconds every date has its place
        days = column.cast(pa.int32()).cast(pa.int64())
        return pc.multiply(days, 86_400).cast(pa.timestamp("s", "UTC"))
    if kind == "number" and pa.types.is_integer(given):
        with contextlib.suppress(pa.ArrowInvalid):  # a float does not hold each of them
            return column.cast(pa.float64())
    if kind in _PLAIN and (pa.types.is_string(given) or pa.types.is_large_string(given)):
        plain = pc.all(pc.match_substring_regex(column, _PLAIN[kind]), min_count=0)
        return column.cast(TYPES[kind]) if plain.as_py() else None
    return None


def _seconds(column: pa.ChunkedArray) -> list[Any] | None:
    """Durations as numbers, which is what they are as properties; None for other columns."""
    if not pa.types.is_duration(column.type):
        return None
    ticks = column.cast(pa.int64()).to_pylist()
    found = [None if tick is None else seconds(tick, column.type.unit) for tick in ticks]
    return [number.exact if isinstance(number, Rounded) else number for number in found]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else id_text(value, "")


def _integer(value: Any) -> int:
    whole: Any = value
    if isinstance(value, str):
        whole = int(_matched(_INTEGER, value))
    elif isinstance(value, float) and value.is_integer():
        whole = int(value)
    elif isinstance(value, decimal.Decimal):
        whole = whole_number(value)
    if not isinstance(whole, int) or not MIN_INT <= whole <= MAX_INT:
        raise ValueError
    return int(whole)


def _is_int64(value: int) -> bool:
    return -(2**63) <= value < 2**63


def _number(value: Any) -> float:
    """The nearest float of a fraction; of a whole number only the same."""
    if isinstance(value, str):
        exact = decimal.Decimal(_matched(_NUMBER, value))
    elif isinstance(value, bool | int | decimal.Decimal):
        exact = decimal.Decimal(value)
    elif isinstance(value, float):
        return value
    else:
        raise TypeError
    number = float(exact)
    whole = whole_number(exact)
    if not math.isfinite(number) or (whole is not None and whole != number):
        raise ValueError
    return number


def _matched(pattern: re.Pattern[str], text: str) -> str:
    text = text.strip()
    if len(text) > _MOST_CHARACTERS or not pattern.fullmatch(text):
        raise ValueError
    return text


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in (*_TRUE, *_FALSE):
        raise ValueError
    return text in _TRUE


def _nanoseconds(value: Any) -> int:
    if not isinstance(value, str):  # a number would need a unit
        raise TypeError
    return text_ns(value.strip(), _ISO_8601)


def _times(values: list[int | None], name: str, failed: dict[int, RecordError]) -> Any:
    """Nanoseconds since 1970 as timestamps: in microseconds, which hold every year, unless one
    needs more digits. That one fails if its own year is far."""
    for row, value in enumerate(values):
        if value is not None and value % 1000 and not _is_int64(value):
            failed[row] = _misfit(name, "time")
            values[row] = None
    fine = np.array([value is not None and value % 1000 != 0 for value in values], bool)
    if not fine.any():
        micros = [None if value is None else value // 1000 for value in values]
        return pa.chunked_array([pa.array(micros, pa.timestamp("us", "UTC"))])
    if not all(value is None or _is_int64(value) for value in values):
        raise Apart(fine)
    return pa.chunked_array([pa.array(values, pa.timestamp("ns", "UTC"))])


_ISO_8601 = TimeColumn("text", unit="iso8601")
TYPES: dict[str, pa.DataType] = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
}
_READ: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "time": _nanoseconds,
}
