"""How each type of value is written as a property. Decided here, once, for both encoders.

| type                        | JSON                                                        |
|-----------------------------|-------------------------------------------------------------|
| text, boolean, integer      | as they are (integers of up to 64 bits)                     |
| float                       | as it is; NaN and infinity fail the record, or count as null |
| decimal without a fraction  | an integer (so 5.00 is 5)                                   |
| decimal with one            | the nearest 64-bit float; see `numbers`                     |
| timestamp                   | ISO 8601; with a time zone: in UTC with a "Z"               |
| date, time of day           | ISO 8601                                                    |
| duration                    | seconds, as the nearest 64-bit float; see `numbers`         |
| binary                      | Base64                                                      |
| list, tuple, set            | list                                                        |
| dict, row, struct, map      | object; keys as text, sorted                                |
| enum, UUID, Path            | value, text, text                                           |
| null                        | left out of the properties; kept inside lists and objects   |

Fractions of a second have no digits if zero, else 6, or 9 for nanoseconds. Ids and hashes come
from the exact value, also where a float cannot hold it.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import math
import pathlib
import uuid
from collections.abc import Collection, Mapping
from typing import Any

import orjson

from mixpanel_sink.api.limits import MAX_DEPTH, MAX_LIST_ITEMS, MAX_NESTED_KEYS
from mixpanel_sink.api.numbers import (
    MOST_ID_BITS,
    PER_SECOND,
    Rounded,
    json_bytes,
    nearest,
    seconds,
    whole_number,
)
from mixpanel_sink.api.objects import fields_of
from mixpanel_sink.errors import RecordError, kind_of

MIN_INT, MAX_INT = -(2**63), 2**64 - 1
_AS_TO_JSON = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_UTC = datetime.timezone.utc
_MICROSECOND = datetime.timedelta(microseconds=1)


class ColumnsOfOneName:
    """Stands for two values where the table has two columns of one name: fit for a failure only."""

    def __init__(self, *values: Any) -> None:
        self._values = values

    def __str__(self) -> str:
        return str(self._values)


WITHOUT_LIMITS = -1e6
"""The `depth` of a value whose members become properties: Mixpanel's limits are theirs."""


def to_json(value: Any, field: str, drop_non_finite: bool, depth: float = 1) -> Any:
    """A value as `json_bytes` takes it.

    Args:
        value: anything that a record may hold.
        field: the property's name, for errors.
        drop_non_finite: NaN and infinity become None instead of failing.
        depth: of the value: a property's is 1, and an object's values are one deeper. What is in a
            list is half a level deeper, so that objects there are as deep as the list, but lists
            one deeper, as Mixpanel counts. Or `WITHOUT_LIMITS`.

    Raises:
        RecordError: if Mixpanel cannot hold it.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int:
        if not MIN_INT <= value <= MAX_INT:
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
    try:
        return _other(value, field, drop_non_finite, depth)
    except RecordError:
        raise
    except RecursionError:
        raise _too_deep(field) from None
    except Exception as error:  # whatever a class of the user's may raise
        raise RecordError(
            "unsupported_type",
            f"{field} is a {kind.__name__}, which cannot be written as JSON "
            f"({type(error).__name__}). Convert or exclude it.",
            field,
        ) from None


def _other(value: Any, field: str, drop_non_finite: bool, depth: float) -> Any:
    """An object, a list, or a scalar that JSON does not have."""
    if isinstance(value, Mapping):
        if hasattr(value, "as_py"):  # an Arrow struct or map
            return _arrow_scalar(value, field, drop_non_finite, depth)
        return _object(value.items(), field, drop_non_finite, depth)
    # What has such fields is one value, such as Arrow's intervals.
    if hasattr(value, "n_sequence_fields") or not isinstance(value, list | tuple | set | frozenset):
        return _scalar(value, field, drop_non_finite, depth)
    if hasattr(value, "_asdict"):
        return _object(value._asdict().items(), field, drop_non_finite, depth)
    if math.ceil(depth) > MAX_DEPTH:
        raise _too_deep(field)
    if depth > 0 and len(value) > MAX_LIST_ITEMS:
        raise RecordError(
            "list_too_long",
            f"{field} holds a list of {len(value)}; Mixpanel takes fewer than 255 elements. "
            "Shorten it or leave it out.",
            field,
        )
    items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
    depth = math.ceil(depth) + 0.5
    return [to_json(item, field, drop_non_finite, depth) for item in items]


def json_text(value: Any) -> str | None:
    """The JSON of `to_json(value)`, where orjson surely writes the same; a tenth of the time.

    None for values that it refuses, and where it may have passed over what `to_json` would not:
    a number that is not finite (it writes null), long lists, large or deep objects.
    """
    try:
        # As bytes, many of them would each keep much more memory than they fill.
        text = orjson.dumps(value, option=_AS_TO_JSON).decode()
    except (orjson.JSONEncodeError, RecursionError):
        return None
    # Fewer bytes hold no list that is too long (each item has a comma) and no object that is too
    # large, and fewer braces and brackets not too many levels.
    objects, lists = text.count("{"), text.count("[")
    if objects >= MAX_DEPTH or objects + lists > MAX_DEPTH:
        return None
    if len(text) > 2 * MAX_LIST_ITEMS or "null" in text:
        return None
    return text


def _object(
    items: Collection[tuple[Any, Any]], field: str, drop_non_finite: bool, depth: float
) -> dict[str, Any]:
    """Sorted by key, so that equal objects make equal events and equal content ids."""
    depth = math.floor(depth)
    if depth >= MAX_DEPTH:
        raise _too_deep(field)
    if depth > 0 and len(items) > MAX_NESTED_KEYS:
        raise RecordError(
            "too_many_keys",
            f"{field} holds an object of {len(items)} keys; Mixpanel takes fewer than 255.",
            field,
        )
    result: dict[str, Any] = {}
    for key, item in items:
        name = key if type(key) is str else _key(key, field)
        if name in result:
            raise RecordError("duplicate_property", f"{field} holds the key {name!r} twice.", field)
        result[name] = to_json(item, field, drop_non_finite, depth + 1)
    return dict(sorted(result.items()))


def _too_deep(field: str) -> RecordError:
    return RecordError(
        "nested_too_deep",
        f"{field} nests deeper than Mixpanel's {MAX_DEPTH} levels (objects, and lists directly in "
        "lists). Flatten it.",
        field,
    )


def _key(key: Any, field: str) -> str:
    text = to_json(key, field, False)
    if isinstance(text, bool):
        return "true" if text else "false"
    if isinstance(text, str | int):
        return str(text)
    raise RecordError(
        "unsupported_type",
        f"{field} holds an object whose key is {kind_of(key)}; keys must be text.",
        field,
    )


def _scalar(value: Any, field: str, drop_non_finite: bool, depth: float) -> Any:
    if isinstance(value, enum.Enum):
        return to_json(value.value, field, drop_non_finite, depth)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool | int | float):
        plain: Any = int(value) if isinstance(value, int) else float(value)
        return to_json(plain, field, drop_non_finite, depth)
    if isinstance(value, datetime.datetime):
        if value != value:  # pandas.NaT
            return None
        return timestamp_text(value, field)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        nanoseconds = getattr(value, "value", None)  # pandas.Timedelta
        if nanoseconds is None:
            return seconds(value // _MICROSECOND, "us")
        return seconds(nanoseconds, "ns")
    if isinstance(value, decimal.Decimal):
        return _decimal(value, field, drop_non_finite)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, uuid.UUID | pathlib.PurePath | Rounded):  # Rounded: was here before
        return value if isinstance(value, Rounded) else str(value)
    if is_null(value):  # pandas.NA
        return None
    if hasattr(value, "to_utc_datetime"):  # Beam's Timestamp
        return timestamp_text(value.to_utc_datetime(has_tz=True), field)
    if hasattr(value, "as_py"):  # an Arrow scalar that Python has no type for
        return _arrow_scalar(value, field, drop_non_finite, depth)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # NumPy scalars and arrays
        if getattr(value.dtype, "kind", "") in ("m", "M"):
            return _numpy_times(value, field)
        return to_json(value.tolist(), field, drop_non_finite, depth)
    if (fields := fields_of(value)) is not None:
        return _object(fields.items(), field, drop_non_finite, depth)
    if isinstance(value, ColumnsOfOneName):
        raise RecordError(
            "duplicate_property",
            f"The table has two columns named {field!r}. Rename one of them at its source.",
            field,
        )
    raise RecordError(
        "unsupported_type",
        f"{field} is {kind_of(value)}, which JSON cannot represent. Convert or exclude it.",
        field,
    )


def is_null(value: Any) -> bool:
    """Whether it is None, or what pandas has for it: NaT or NA."""
    if value is None:
        return True
    if isinstance(value, datetime.datetime):
        return bool(value != value)
    kind = type(value)
    return kind.__name__ == "NAType" and kind.__module__.partition(".")[0] == "pandas"


def timestamp_text(value: datetime.datetime, field: str) -> str:
    """ISO 8601; aware ones in UTC with a Z.

    Raises:
        RecordError: if it lies beyond the years 1 to 9999 in UTC.
    """
    if value.utcoffset() is None:
        return value.replace(tzinfo=None).isoformat()
    try:
        return value.astimezone(_UTC).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError:
        raise _unreadable(field, "timestamp") from None


def _decimal(value: decimal.Decimal, field: str, drop_non_finite: bool) -> Any:
    if not value.is_finite():
        return to_json(float("nan"), field, drop_non_finite)
    if (whole := whole_number(value)) is not None:
        return to_json(whole, field, drop_non_finite)
    if math.isinf(float(value)):
        raise RecordError(
            "number_too_large",
            f"{field} holds a decimal beyond 64-bit floats. Send it as text.",
            field,
        )
    return nearest(value)


def _numpy_times(value: Any, field: str) -> Any:
    """datetime64 and timedelta64, which `tolist` would make integers in nanoseconds."""
    if value.ndim:
        return to_json([item for item in value], field, False)
    if str(value) == "NaT":
        return None
    if isinstance(exact := value.item(), datetime.date | datetime.timedelta):
        return to_json(exact, field, False)
    if value.dtype.kind == "m":
        plain = value.astype("timedelta64[ns]")
        if plain == value:
            return seconds(int(plain.astype("int64")), "ns")
        return to_json(float(value / type(value)(1, "s")), field, False)
    plain = value.astype("datetime64[us]")
    if plain != value:  # digits beyond microseconds
        plain = value.astype("datetime64[ns]")
        if plain != value:
            raise _unreadable(field, str(value.dtype))
        return _nanosecond_text(int(plain.astype("int64")))
    moment = plain.item()
    if not isinstance(moment, datetime.datetime):
        raise _unreadable(field, str(value.dtype))
    return moment.isoformat()


def _arrow_scalar(value: Any, field: str, drop_non_finite: bool, depth: float) -> Any:
    """What Python has no type for: nanoseconds, and what holds them; out of range; bad text."""
    import pyarrow as pa
    from pyarrow import types

    kind = value.type
    if not value.is_valid:
        return None
    if types.is_map(kind):
        pairs = [(pair["key"], pair["value"]) for pair in value.values]
        return _object(pairs, field, drop_non_finite, depth)
    if types.is_struct(kind):
        pairs = [(part.name, value[i]) for i, part in enumerate(kind)]
        return _object(pairs, field, drop_non_finite, depth)
    if types.is_nested(kind) and hasattr(value, "values"):
        return to_json(list(value.values), field, drop_non_finite, depth)
    if types.is_timestamp(kind):  # of any zone, known or not
        try:
            text = _nanosecond_text(value.value * (1_000_000_000 // PER_SECOND[kind.unit]))
        except OverflowError:
            raise _unreadable(field, str(kind)) from None
        return text + ("Z" if kind.tz else "")
    if types.is_time(kind):
        nanoseconds = value.value * (1_000_000_000 // PER_SECOND[kind.unit])
        if not 0 <= nanoseconds < 86_400_000_000_000:
            raise _unreadable(field, str(kind))
        return _nanosecond_text(nanoseconds).partition("T")[2]
    if types.is_duration(kind):
        return seconds(value.value, kind.unit)
    try:
        plain = value.as_py()
    except (ValueError, OverflowError, LookupError, pa.ArrowException):
        raise _unreadable(field, str(kind)) from None
    return to_json(plain, field, drop_non_finite, depth)


def _nanosecond_text(nanoseconds: int) -> str:
    whole, fraction = divmod(nanoseconds, 1_000_000_000)
    text = (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=whole)).isoformat()
    if not fraction:
        return text
    return f"{text}.{fraction // 1000:06d}" if fraction % 1000 == 0 else f"{text}.{fraction:09d}"


def _unreadable(field: str, kind: str) -> RecordError:
    return RecordError(
        "unreadable_value",
        f"{field} holds a {kind} that cannot be read (out of range, or text that is not UTF-8). "
        "Fix it at its source or exclude the column.",
        field,
    )


def id_text(value: Any, field: str) -> str:
    """A value of an id column as text: text as it is, integers of any size by their digits,
    everything else as its exact JSON."""
    plain = id_value(value, field)
    return plain if isinstance(plain, str) else json_bytes(plain, exact=True).decode()


def id_value(value: Any, field: str) -> Any:
    """A value of an id column as `json_bytes` takes it; integers of any size too.

    Raises:
        RecordError: as `to_json`.
    """
    number = whole_number(value)
    if number is None and isinstance(value, int) and not isinstance(value, bool):
        number = int(value)
    if number is None or MIN_INT <= number <= MAX_INT or number.bit_length() > MOST_ID_BITS:
        return to_json(value, field, False)
    return orjson.Fragment(str(number))
