"""How each type of value is written as a property. Decided here, once, for both encoders.

| type                      | JSON                                                        |
|---------------------------|-------------------------------------------------------------|
| text, boolean, integer    | as they are (integers of up to 64 bits)                     |
| float                     | as it is; NaN and infinity fail the record, or count as null |
| decimal                   | the nearest 64-bit float, as every JSON reader makes of it  |
| timestamp                 | ISO 8601; with a time zone: in UTC with a "Z"               |
| date, time of day         | ISO 8601                                                    |
| duration                  | seconds, as a float                                         |
| binary                    | Base64                                                      |
| list, tuple, set          | list                                                        |
| dict, row, struct, map    | object; keys as text                                        |
| enum, UUID, Path          | value, text, text                                           |
| null                      | left out of the properties; kept inside lists and objects   |

Fractions of a second have no digits if zero, else 6, or 9 for nanoseconds.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import math
import pathlib
import uuid
from collections.abc import Mapping
from typing import Any

from mixpanel_sink.errors import RecordError
from mixpanel_sink.limits import MAX_DEPTH, MAX_LIST_ITEMS, MAX_NESTED_KEYS

_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1
_UTC = datetime.timezone.utc


def to_json(value: Any, field: str, drop_non_finite: bool, depth: int = 1) -> Any:
    """A value as orjson takes it.

    Args:
        value: anything that a record may hold.
        field: the property's name, for errors.
        drop_non_finite: NaN and infinity become None instead of failing.
        depth: levels of objects above the value; properties itself is the first.

    Raises:
        RecordError: if Mixpanel cannot hold it.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        if not _MIN_INT <= value <= _MAX_INT:
            raise RecordError(
                "integer_too_large",
                f"{field} holds an integer beyond 64 bits, which JSON readers round. Send it as "
                "text.",
                field,
            )
        return value
    if kind is float:
        if math.isfinite(value):
            return value
        if drop_non_finite:
            return None
        raise RecordError(
            "non_finite_number",
            f"{field} is {value}, which JSON cannot hold. Clean it, or set non_finite: drop in the "
            "mapping.",
            field,
        )
    if isinstance(value, Mapping):
        return _object(value, field, drop_non_finite, depth)
    if isinstance(value, list | tuple | set | frozenset):
        if hasattr(value, "_asdict"):
            return _object(value._asdict(), field, drop_non_finite, depth)
        if len(value) > MAX_LIST_ITEMS:
            raise RecordError(
                "list_too_long",
                f"{field} holds a list of {len(value)}; Mixpanel takes fewer than 255 elements. "
                "Shorten it or leave it out.",
                field,
            )
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        return [to_json(item, field, drop_non_finite, depth) for item in items]
    return _scalar(value, field, drop_non_finite, depth)


def _object(value: Mapping[Any, Any], field: str, drop_non_finite: bool, depth: int) -> Any:
    if depth >= MAX_DEPTH:
        raise RecordError(
            "nested_too_deep",
            f"{field} nests deeper than Mixpanel's {MAX_DEPTH} levels. Flatten it.",
            field,
        )
    if len(value) > MAX_NESTED_KEYS:
        raise RecordError(
            "too_many_keys",
            f"{field} holds an object of {len(value)} keys; Mixpanel takes fewer than 255.",
            field,
        )
    result: dict[str, Any] = {}
    for key, item in value.items():
        name = key if type(key) is str else _key(key, field)
        if name in result:
            raise RecordError("duplicate_property", f"{field} holds the key {name!r} twice.", field)
        result[name] = to_json(item, field, drop_non_finite, depth + 1)
    return result


def _key(key: Any, field: str) -> str:
    text = to_json(key, field, False)
    if isinstance(text, str):
        return text
    if isinstance(text, bool):
        return "true" if text else "false"
    if isinstance(text, int):
        return str(text)
    raise RecordError(
        "unsupported_type", f"{field} holds an object whose key is a {type(key).__name__}.", field
    )


def _scalar(value: Any, field: str, drop_non_finite: bool, depth: int) -> Any:
    if isinstance(value, enum.Enum):
        return to_json(value.value, field, drop_non_finite, depth)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | int | float):
        plain: Any = int(value) if isinstance(value, int) else float(value)
        return to_json(plain, field, drop_non_finite, depth)
    if isinstance(value, datetime.datetime):
        return timestamp_text(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        nanoseconds = getattr(value, "value", None)  # pandas.Timedelta
        return value.total_seconds() if nanoseconds is None else nanoseconds / 1e9
    if isinstance(value, decimal.Decimal):
        return to_json(float(value), field, drop_non_finite, depth)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, uuid.UUID | pathlib.PurePath):
        return str(value)
    if hasattr(value, "to_utc_datetime"):  # Beam's Timestamp
        return timestamp_text(value.to_utc_datetime(has_tz=True))
    if hasattr(value, "as_dict"):  # beam.Row
        return _object(value.as_dict(), field, drop_non_finite, depth)
    if hasattr(value, "as_py"):  # an Arrow scalar that Python has no type for
        return _arrow_scalar(value, field, drop_non_finite, depth)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # NumPy scalars and arrays
        return to_json(value.tolist(), field, drop_non_finite, depth)
    raise RecordError(
        "unsupported_type",
        f"{field} is a {type(value).__name__}, which has no form in JSON. Convert or exclude it.",
        field,
    )


def timestamp_text(value: datetime.datetime) -> str:
    """ISO 8601; aware ones in UTC with a Z."""
    if value.tzinfo is None:
        return value.isoformat()
    return value.astimezone(_UTC).replace(tzinfo=None).isoformat() + "Z"


def _arrow_scalar(value: Any, field: str, drop_non_finite: bool, depth: int) -> Any:
    """Nanoseconds, which Python's datetime cannot hold."""
    import pyarrow as pa

    kind = value.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        seconds, fraction = divmod(value.value, 1_000_000_000)
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
        return f"{moment.isoformat()}.{fraction:09d}" + ("Z" if kind.tz else "")
    if pa.types.is_time64(kind) and kind.unit == "ns":
        seconds, fraction = divmod(value.value, 1_000_000_000)
        moment = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
        return f"{moment.time().isoformat()}.{fraction:09d}"
    if pa.types.is_duration(kind):
        return value.value / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
    try:
        return to_json(value.as_py(), field, drop_non_finite, depth)
    except (ValueError, OverflowError, UnicodeDecodeError):
        raise RecordError(
            "unreadable_value",
            f"{field} holds a {kind} that cannot be read (out of range, or text that is not "
            "UTF-8). Mend it at its source or exclude the column.",
            field,
        ) from None


def id_text(value: Any, field: str) -> str:
    """A value of an id column as text: text as it is, everything else as its JSON."""
    import orjson

    plain = to_json(value, field, False)
    if isinstance(plain, str):
        return plain
    return orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode()
