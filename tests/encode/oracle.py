"""What values of each Arrow type must arrive as: arithmetic with integers and fractions, which
shares no code with the encoders."""

import base64
import datetime
import math
import struct
from fractions import Fraction
from typing import Any

import pyarrow as pa
from pyarrow import types

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = datetime.datetime(1970, 1, 1)


class Refused(Exception):
    """No event can hold the value."""


def expected(raw: Any, kind: pa.DataType, exact: bool = False, depth: int = 1) -> Any:
    """The JSON value for what `generator.raw_value` made.

    Args:
        raw: integers for all that is counted in units (dates, times, decimals without their
            point), pairs for maps, else what Python has.
        kind: its type.
        exact: numbers with a fraction as fractions, for ids.
        depth: levels of objects, and of lists directly in lists, that end at the value.

    Raises:
        Refused: if the record must fail.
    """
    if raw is None:
        return None
    if types.is_dictionary(kind):
        return expected(raw, kind.value_type, exact, depth)
    if types.is_struct(kind):
        pairs = [(part.name, raw[part.name], part.type) for part in kind]
        return _object(pairs, exact, depth)
    if types.is_map(kind):
        pairs = [(_key(key, kind.key_type), item, kind.item_type) for key, item in raw]
        return _object(pairs, exact, depth)
    if is_list(kind):
        if len(raw) > 254 or depth > 3:
            raise Refused
        deeper = depth + is_list(kind.value_type)
        return [expected(item, kind.value_type, exact, deeper) for item in raw]
    if types.is_decimal(kind) or types.is_duration(kind):
        return _number(raw, kind, exact)
    if types.is_floating(kind):
        return _float(raw, kind, exact)
    if types.is_date(kind):
        return str(_moment(raw, 1 if types.is_date32(kind) else 86_400_000, 86_400).date())
    if types.is_timestamp(kind):
        per_second = PER_SECOND[kind.unit]
        return f"{_moment(raw, per_second):%Y-%m-%dT%H:%M:%S}".zfill(19) + _rest(raw, kind)
    if types.is_time(kind):
        if not 0 <= raw < 86_400 * PER_SECOND[kind.unit]:
            raise Refused
        return f"{_moment(raw, PER_SECOND[kind.unit]):%H:%M:%S}" + _rest(raw, kind)
    return base64.b64encode(raw).decode() if isinstance(raw, bytes) else raw


def is_list(kind: pa.DataType) -> bool:
    """Whether its values are lists."""
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _object(pairs: list[tuple[str, Any, pa.DataType]], exact: bool, depth: int) -> dict[str, Any]:
    if depth >= 3 or len(pairs) > 254 or len({name for name, _, _ in pairs}) < len(pairs):
        raise Refused
    return {name: expected(value, kind, exact, depth + 1) for name, value, kind in pairs}


def _key(raw: Any, kind: pa.DataType) -> str:
    return str(expected(raw, kind))


def _number(raw: int, kind: pa.DataType, exact: bool) -> Any:
    if types.is_duration(kind):
        value = Fraction(raw, PER_SECOND[kind.unit])
        return value if exact else raw / PER_SECOND[kind.unit]
    value = Fraction(raw) / Fraction(10) ** kind.scale
    if value.denominator == 1:
        if not -(2**63) <= value < 2**64:
            raise Refused
        return int(value)
    return value if exact else value.numerator / value.denominator


def _float(raw: float, kind: pa.DataType, exact: bool) -> Any:
    if not math.isfinite(raw):
        raise Refused
    if not types.is_float64(kind):
        form = "<e" if types.is_float16(kind) else "<f"
        raw = struct.unpack(form, struct.pack(form, raw))[0]
    return repr(raw) if exact else raw


def _moment(ticks: int, per_unit: int, seconds: int = 1) -> datetime.datetime:
    try:
        return _EPOCH + datetime.timedelta(seconds=ticks // per_unit * seconds)
    except OverflowError:
        raise Refused from None


def _rest(ticks: int, kind: pa.DataType) -> str:
    """The fraction of a second: no digits, six or nine; and the zone."""
    nanoseconds = ticks % PER_SECOND[kind.unit] * (10**9 // PER_SECOND[kind.unit])
    zone = "Z" if types.is_timestamp(kind) and kind.tz else ""
    if not nanoseconds:
        return zone
    digits = f"{nanoseconds:09d}"
    return "." + (digits[:6] if digits.endswith("000") else digits) + zone
