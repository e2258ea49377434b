"""What Mixpanel should hold for an exact value, written from the table of types in docs/mapping.md.

Numbers with a fraction that a float cannot hold stay `Decimal` here, so that ids are made of all
their digits; `json_of` writes either form.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from typing import Any

import orjson

from mixpanel_sink.inspect.verify.exact import Clock, Moment, Unfit

_LEVELS = 3
_ITEMS = _KEYS = 254
NESTED_BYTES = 8192
"""Bytes of JSON in one property of an event."""
_LEAST, _MOST = -(2**63), 2**64 - 1
_EPOCH = datetime.datetime(1970, 1, 1)


class Refused(Exception):
    """A record that cannot be an event, and why."""

    def __init__(self, reason: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field


def is_held(value: Any) -> bool:
    """Whether `held` surely gives the value back: most values, at a fraction of its time."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is int:
        return bool(_LEAST <= value <= _MOST)
    return value is None or kind is bool or (kind is float and math.isfinite(value))


def held(value: Any, field: str, drop: bool, levels: int = 2) -> Any:
    """An exact value as a property of an event.

    Args:
        value: as `exact` gives it.
        field: the property's name, for messages.
        drop: whether NaN and infinity are null.
        levels: in half levels of nesting: 2 for a property, 2 more in each object, 1 to 2 more in
            each list, so that lists in lists count, but not an object in a list.

    Raises:
        Refused: if no event can have it.
    """
    if is_held(value):
        return value
    if isinstance(value, str):
        return _text(value, field)
    if isinstance(value, int):
        if not _LEAST <= value <= _MOST:
            raise Refused("integer_too_large", f"{field} is an integer beyond 64 bits.", field)
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        if drop:
            return None
        raise Refused("non_finite_number", f"{field} is {value}.", field)
    if isinstance(value, decimal.Decimal):
        return _decimal(value, field, drop, levels)
    if isinstance(value, list):
        if (levels + 1) // 2 > _LEVELS:
            raise Refused("nested_too_deep", f"{field} is nested too deeply.", field)
        if len(value) > _ITEMS:
            raise Refused("list_too_long", f"{field} is a list of {len(value)}.", field)
        inside = (levels + 1) // 2 * 2 + 1
        return [held(item, field, drop, inside) for item in value]
    if isinstance(value, dict):
        return _object(value, field, drop, levels)
    return _other(value, field)


def check_size(value: Any, field: str) -> None:
    """Raises Refused for a list or an object that is larger than Mixpanel takes in an event."""
    if isinstance(value, list | dict) and len(json_of(value)) > NESTED_BYTES:
        reason = "lists_too_large" if isinstance(value, list) else "object_too_large"
        raise Refused(reason, f"{field} has more than {NESTED_BYTES:,} bytes of JSON.", field)


def _decimal(value: decimal.Decimal, field: str, drop: bool, levels: int) -> Any:
    if not value.is_finite():
        return held(math.nan, field, drop, levels)
    if value.adjusted() < 1000 and value == value.to_integral_value():
        return held(int(value), field, drop, levels)
    if math.isinf(float(value)):
        raise Refused("number_too_large", f"{field} is a decimal beyond 64-bit floats.", field)
    number = float(value) + 0.0
    return number if decimal.Decimal(repr(number)) == value else value


def _object(value: dict[Any, Any], field: str, drop: bool, levels: int) -> dict[str, Any]:
    level = levels // 2
    if level >= _LEVELS:
        raise Refused("nested_too_deep", f"{field} is nested too deeply.", field)
    if len(value) > _KEYS:
        raise Refused("too_many_keys", f"{field} is an object of {len(value)} keys.", field)
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = held(key, field, False)
        if not isinstance(name, str):
            name = orjson.dumps(name).decode()
        if name in found:
            raise Refused("duplicate_property", f"{field} has the key {name!r} twice.", field)
        found[name] = held(item, field, drop, 2 * (level + 1))
    return dict(sorted(found.items()))


def _other(value: Any, field: str) -> str:
    if isinstance(value, bytes):
        return base64.standard_b64encode(value).decode()
    if isinstance(value, Moment):
        try:
            return moment_text(value)
        except OverflowError:
            raise Refused(
                "unreadable_value", f"{field} is not in the years 1 to 9999.", field
            ) from None
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, Clock):
        return _clock_text(value.nanoseconds)
    if isinstance(value, Unfit):
        raise Refused(value.reason, f"{field} is {value.message}.", field)
    raise Refused("unsupported_type", f"{field} is a {type(value).__name__}.", field)


def _text(value: str, field: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refused("invalid_text", f"{field} is not valid Unicode text.", field) from None
    return value


def moment_text(moment: Moment) -> str:
    """ISO 8601, with "Z" if it is zoned.

    Raises:
        OverflowError: if it lies beyond the years 1 to 9999.
    """
    days, nanoseconds = divmod(moment.nanoseconds, 86_400 * 10**9)
    day = (_EPOCH + datetime.timedelta(days)).date().isoformat()
    return f"{day}T{_clock_text(nanoseconds)}{'Z' if moment.zoned else ''}"


def _clock_text(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 10**9)
    text = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if not fraction:
        return text
    return f"{text}.{fraction // 1000:06}" if fraction % 1000 == 0 else f"{text}.{fraction:09}"


def json_of(value: Any, exactly: bool = False) -> bytes:
    """JSON; decimals as the nearest float, or `exactly`: with all their digits.

    Raises:
        Refused: if it cannot be written.
    """

    def write(number: Any) -> Any:
        if not isinstance(number, decimal.Decimal):
            raise TypeError
        return orjson.Fragment(digits(number)) if exactly else float(number)

    try:
        return orjson.dumps(value, write)
    except (TypeError, RecursionError) as error:
        raise Refused("unsupported_value", f"The event cannot be written ({error}).") from None


def digits(number: decimal.Decimal) -> str:
    """All digits of a number with a fraction."""
    if number.adjusted() < -1000:
        return str(number).lower()
    return format(number, "f").rstrip("0")
