"""The exact values of an input: what is in an Arrow table's column, or in a record.

Written for the proof alone, from what the formats say, so that it does not repeat a mistake of
the encoders. Values are None, bool, int, float, str, bytes, Decimal, date, list, dict, `Moment`,
`Clock`, and `Unfit` for what cannot be sent.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
from pyarrow import types

_TICKS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Nanoseconds of a unit."""
_EPOCH = datetime.datetime(1970, 1, 1)
_UTC = datetime.timezone.utc
_DAY = 86_400 * 10**9


@dataclasses.dataclass(frozen=True)
class Moment:
    """A timestamp: nanoseconds since 1970; of a clock on the wall if it is not `zoned`."""

    nanoseconds: int
    zoned: bool


@dataclasses.dataclass(frozen=True)
class Clock:
    """A time of day in nanoseconds."""

    nanoseconds: int


@dataclasses.dataclass(frozen=True)
class Unfit:
    """A value that no event can have.

    Attributes:
        reason: as failed records have it.
        message: for people.
    """

    reason: str
    message: str


def exact_column(column: pa.ChunkedArray) -> list[Any]:
    """The exact values of a table's column."""
    kind = column.type
    if types.is_dictionary(kind):
        try:
            return exact_column(column.cast(kind.value_type))
        except pa.ArrowException:
            return [exact_scalar(scalar) for scalar in column]
    try:
        if types.is_timestamp(kind):
            ticks, zoned = _TICKS[kind.unit], kind.tz is not None
            numbers = column.cast(pa.timestamp(kind.unit)).cast(pa.int64()).to_pylist()
            return [None if n is None else Moment(n * ticks, zoned) for n in numbers]
        if types.is_time(kind):
            whole = pa.int32() if types.is_time32(kind) else pa.int64()
            numbers = column.cast(whole).to_pylist()
            return [None if n is None else _clock(n * _TICKS[kind.unit]) for n in numbers]
        if types.is_duration(kind):
            numbers = column.cast(pa.int64()).to_pylist()
            return [None if n is None else _seconds(n * _TICKS[kind.unit]) for n in numbers]
        if _is_pythonic(kind):
            return list(column.to_pylist())
    except (pa.ArrowException, UnicodeDecodeError, ValueError, OverflowError):
        pass
    return [exact_scalar(scalar) for scalar in column]


def _is_pythonic(kind: pa.DataType) -> bool:
    """Whether Python has exactly these values."""
    if types.is_list(kind) or types.is_large_list(kind):
        return _is_pythonic(kind.value_type)
    if types.is_struct(kind):
        names = [field.name for field in kind]
        return len(set(names)) == len(names) and all(_is_pythonic(field.type) for field in kind)
    return any(is_of(kind) for is_of in _PYTHONIC)


_PYTHONIC = (
    types.is_string,
    types.is_large_string,
    types.is_string_view,
    types.is_boolean,
    types.is_integer,
    types.is_null,
    types.is_float32,
    types.is_float64,
    types.is_decimal,
    types.is_binary,
    types.is_large_binary,
)


def exact_scalar(scalar: Any) -> Any:
    """The exact value of an Arrow scalar."""
    if not scalar.is_valid:
        return None
    kind = scalar.type
    try:
        for is_of, value_of in _SCALARS:
            if is_of(kind):
                return value_of(scalar)
        if isinstance(kind, pa.BaseExtensionType):
            return exact(scalar.as_py())
        return scalar.as_py()
    except (pa.ArrowException, UnicodeDecodeError, ValueError, OverflowError) as error:
        return Unfit("unreadable_value", f"a {kind} that cannot be read ({error})")


def _struct(scalar: Any) -> Any:
    pairs = [(field.name, exact_scalar(scalar[place])) for place, field in enumerate(scalar.type)]
    return _object(pairs)


def _map(scalar: Any) -> Any:
    return _object([(exact_scalar(p["key"]), exact_scalar(p["value"])) for p in scalar.values])


def _object(pairs: list[tuple[Any, Any]]) -> Any:
    """A dict; keys keep their types, so that equal texts of two keys show."""
    found: dict[Any, Any] = {}
    for key, value in pairs:
        if not isinstance(key, str | bool | int | bytes | datetime.date | Moment | Clock):
            return Unfit("unsupported_type", f"an object whose key is a {type(key).__name__}")
        place = (type(key), key)
        if place in found:
            return Unfit("duplicate_property", f"an object with the key {key!r} twice")
        found[place] = value
    return {key: value for (_, key), value in found.items()}


def _clock(nanoseconds: int) -> Clock | Unfit:
    if 0 <= nanoseconds < _DAY:
        return Clock(nanoseconds)
    return Unfit("unreadable_value", "a time of day beyond 24 hours")


def _seconds(nanoseconds: int) -> decimal.Decimal | float:
    # A duration is a float also where it is whole; a Decimal keeps what a float cannot.
    exact = decimal.Decimal(nanoseconds).scaleb(-9, decimal.Context(prec=40))
    number = float(exact)
    return number if decimal.Decimal(repr(number)) == exact else exact


_SCALARS: list[tuple[Callable[[Any], bool], Callable[[Any], Any]]] = [
    (types.is_dictionary, lambda s: exact_scalar(s.value)),
    (types.is_map, _map),
    (types.is_struct, _struct),
    (types.is_fixed_size_list, lambda s: [exact_scalar(item) for item in s.values]),
    (types.is_list, lambda s: [exact_scalar(item) for item in s.values]),
    (types.is_large_list, lambda s: [exact_scalar(item) for item in s.values]),
    (types.is_list_view, lambda s: [exact_scalar(item) for item in s.values]),
    (types.is_large_list_view, lambda s: [exact_scalar(item) for item in s.values]),
    (
        types.is_timestamp,
        lambda s: Moment(s.value * _TICKS[s.type.unit], s.type.tz is not None),
    ),
    (types.is_time, lambda s: _clock(s.value * _TICKS[s.type.unit])),
    (types.is_duration, lambda s: _seconds(s.value * _TICKS[s.type.unit])),
    (types.is_float16, lambda s: float(s.as_py())),
    (types.is_run_end_encoded, lambda s: exact(s.as_py())),
]


def exact(value: Any) -> Any:
    """The exact value of what a reader of records gives: JSON's values, and those of Avro."""
    kind = type(value)
    if value is None or kind in (str, bool, int, float, decimal.Decimal, bytes):
        return value
    if isinstance(value, Mapping):
        return _object([(exact(key), exact(item)) for key, item in value.items()])
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    if isinstance(value, datetime.datetime):
        zoned = value.utcoffset() is not None
        wall = value.astimezone(_UTC).replace(tzinfo=None) if zoned else value
        return Moment((wall - _EPOCH) // datetime.timedelta(microseconds=1) * 1000, zoned)
    if isinstance(value, datetime.date):
        return value
    if isinstance(value, datetime.time):
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return Clock((seconds * 1_000_000 + value.microsecond) * 1000)
    if isinstance(value, datetime.timedelta):
        return _seconds(value // datetime.timedelta(microseconds=1) * 1000)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if hasattr(value, "as_py") and hasattr(value, "is_valid"):
        return exact_scalar(value)
    return Unfit("unsupported_type", f"a {kind.__name__}, which JSON cannot express")
