"""A record as JSON, for people and for replay: what JSON cannot hold is marked."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
from collections.abc import Mapping
from typing import Any

import orjson

from mixpanel_sink.api.numbers import Rounded
from mixpanel_sink.api.values import to_json
from mixpanel_sink.errors import RecordError

NOT_JSON = "$not_json"
"""Marks a value that JSON does not hold: {"$not_json": reason, "like": what it looks like}."""


_PLACEHOLDERS = frozenset(
    {
        "duplicate_property",
        "non_finite_number",
        "number_too_large",
        "unreadable_value",
        "unsupported_type",
        "unsupported_value",
    }
)
"""Reasons why a value's readable form is not the value."""


def record_as_json(record: Any) -> str:
    """Any record as JSON text for a failure, never raising.

    Values are written as in an event, so that the record can be sent again. What JSON does not
    hold, such as NaN, is marked with `NOT_JSON`: sent again it must not pass for something else.
    """
    try:
        if isinstance(record, Mapping):
            record = {name: _value(value) for name, value in _columns(record).items()}
        return orjson.dumps(record, default=exact, option=orjson.OPT_NON_STR_KEYS).decode()
    except Exception:  # also of a user's class
        pass
    try:
        # Lone surrogates and huge integers: the standard library escapes and keeps them.
        return json.dumps(record, default=readable, skipkeys=True)
    except Exception:
        pass
    try:
        return json.dumps(repr(record))
    except Exception:  # an integer of thousands of digits, a cycle
        return json.dumps(hidden(record))


CANNOT_BE_SHOWN = "that cannot be shown)"
"""Ends the placeholder of a value that has no text."""


def hidden(value: Any) -> str:
    """Stands for such a value."""
    return f"({type(value).__name__} {CANNOT_BE_SHOWN}"


def _columns(record: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """A raw event's properties are its columns."""
    properties = record.get("properties")
    if len(record) == 2 and "event" in record and isinstance(properties, Mapping):
        return {"event": record["event"], "properties": _Properties(properties)}
    return record


class _Properties(dict[Any, Any]):
    """Properties of a raw event."""


def _value(value: Any) -> Any:
    if type(value) is _Properties:
        return {name: _value(part) for name, part in value.items()}
    try:
        return to_json(value, "", False)
    except RecordError as error:
        if error.reason not in _PLACEHOLDERS:
            return value  # JSON holds it as it is; Mixpanel does not
        return {NOT_JSON: error.reason, "like": _like(value)}
    except Exception:  # a user's type; this must not raise
        return value


def _like(value: Any) -> Any:
    try:
        return to_json(value, "", True)  # NaN as null
    except Exception:
        return value


def exact(value: Any) -> Any:
    """As `readable`, but numbers keep all their digits."""
    if isinstance(value, decimal.Decimal) and value.is_finite():
        value = Rounded(value)
    return orjson.Fragment(str(value)) if type(value) is Rounded else readable(value)


def readable(value: Any) -> Any:
    """What `json` is given for a value that it does not know."""
    if type(value) is Rounded:
        return float(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, set | frozenset):
        return list(value)
    try:
        return _arrow_scalar(value) if type(value).__module__ == "pyarrow.lib" else str(value)
    except Exception:  # of a user's class: no reason to lose the rest of the record
        return hidden(value)


def _arrow_scalar(scalar: Any) -> Any:
    """A value that Python has no type for: nanoseconds, text that is not UTF-8, ..."""
    try:
        return scalar.as_py()
    except (ValueError, OverflowError, LookupError):
        if hasattr(scalar, "as_buffer"):
            return scalar.as_buffer().to_pybytes().decode("utf-8", "backslashreplace")
    try:
        return scalar.cast("string").as_py()  # nanoseconds and the like
    except (ValueError, NotImplementedError):
        return getattr(scalar, "value", f"(unreadable {scalar.type})")
