"""What a mapping's `Shape` should make of records, from their exact values: of each by itself."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
from blake3 import blake3

from mixpanel_sink.inspect.verify.conditions import Types, leave_out
from mixpanel_sink.inspect.verify.exact import Moment, exact
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.inspect.verify.ids import text_of
from mixpanel_sink.inspect.verify.times import instant
from mixpanel_sink.results import SHAPE_FAILED
from mixpanel_sink.settings.shape import Join, Sample, Shape, Split

Record = dict[str, Any]
Shaped = Record | Refused | None
"""A record, why it cannot be one, or None if the shape leaves it out."""

_EPOCH = datetime.datetime(1970, 1, 1)


def shaped(
    records: Sequence[Record],
    shape: Shape,
    needed: Iterable[str],
    table: pa.Table | None = None,
) -> list[Shaped]:
    """Records after all steps of a shape, in its documented order, each by itself.

    Args:
        records: exact values.
        shape: the steps.
        needed: columns that the mapping needs, which are null where the data do not make them.
        table: the records as they came, for the types that it declares.
    """
    types = Types.of(table, shape)
    made: list[Shaped] = []
    for record in records:
        try:
            made.append(_converted(dict(record), shape, types))
        except Refused as refused:
            made.append(refused)
    if shape.where is not None:
        leave_out(made, shape, types)
    if isinstance(shape.sample, Sample):
        made = [None if _left_out(record, shape.sample) else record for record in made]
    missing = dict.fromkeys(needed) if types.open else {}
    return [_renamed(record, shape, missing) for record in made]


def _unpack(
    record: Record, name: str, prefix: str, read: Callable[[Any, str], Record], fields: list[str]
) -> None:
    """Puts what a column holds in its place."""
    if name not in record:
        return
    found = {**dict.fromkeys(fields), **read(record.pop(name), name)}
    for key, value in found.items():
        if record.get(prefix + key) is None:
            record[prefix + key] = value
        elif value is not None:
            raise _misfit(name, f"holds {key!r}, and that column has a value already")


def _converted(record: Record, shape: Shape, types: Types) -> Record:
    for name, prefix in dict(shape.json).items():  # type: ignore[arg-type]
        _unpack(record, name, prefix, _json_object, [])
    for name, prefix in dict(shape.flatten).items():  # type: ignore[arg-type]
        _unpack(record, name, prefix, _object, types.fields(name))
    for name, how in shape.split.items():
        if name in record:
            _split(record, name, how)
    for name, join in shape.join.items():
        _join(record, name, join)
    for name, kind in shape.cast.items():
        if record.get(name) is not None:
            record[name] = _cast(record[name], name, kind)
    for name, value in shape.defaults.items():
        if record.get(name) is None:
            whole = isinstance(value, int) and not isinstance(value, bool)
            record[name] = float(value) if whole and types.has_fractions(name, shape) else value
    return record


def _misfit(name: str, why: str) -> Refused:
    return Refused(SHAPE_FAILED, f"{name} {why}.", name)


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(text)
    return number


def _json_object(value: Any, name: str) -> Record:
    if value is None:
        return {}
    try:
        found = json.loads(value, parse_constant=_no_constant, parse_float=_finite)
        json.dumps(found, ensure_ascii=False).encode()  # halves of surrogate pairs are not text
    except (ValueError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise _misfit(name, "is not a JSON object")
    return {key: exact(part) for key, part in found.items()}


def _object(value: Any, name: str) -> Record:
    """An object, or a list of {key, value} as GA4 and others have it."""
    if value is None:
        return {}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise _misfit(name, "has a key that is not text")
        return value
    found: Record = {}
    for pair in value if isinstance(value, list) else [value]:
        if not isinstance(pair, dict) or not {"key", "value"} <= pair.keys():
            raise _misfit(name, "is not an object, a map or a list of {key, value}")
        key, part = pair["key"], pair["value"]
        if key is None:
            continue
        if not isinstance(key, str) or key in found:
            raise _misfit(name, f"has the key {key!r} twice, or it is not text")
        if isinstance(part, dict):
            typed = [one for field, one in part.items() if str(field).endswith("_value")]
            part = next((one for one in typed if one is not None), None) if typed else part
        found[key] = part
    return found


def _split(record: Record, name: str, how: Split) -> None:
    value = record.pop(name)
    if not isinstance(value, str | None):
        raise _misfit(name, "is not text, which split needs")
    if not how.into:
        record[name] = None if value is None else value.split(how.by)
    elif value is None:
        for new in how.into:
            record.setdefault(new, None)
    else:
        parts = value.split(how.by, len(how.into) - 1)
        record.update(zip(how.into, [*parts, *[None] * len(how.into)], strict=False))


def _join(record: Record, name: str, how: Join) -> None:
    parts = [_cast(record[n], n, "text") for n in how.columns if record.get(n) is not None]
    if parts:
        record[name] = how.by.join(parts)
    elif any(column in record for column in how.columns):
        record.setdefault(name, None)


def _cast(value: Any, name: str, kind: str) -> Any:
    try:
        return _CASTS[kind](value)
    except (ValueError, TypeError, ArithmeticError, AttributeError, Refused):
        raise _misfit(name, f"holds a value that cannot become {kind}") from None


def _integer(value: Any) -> int:
    if isinstance(value, int):
        whole = int(value)
    elif isinstance(value, str):
        digits = value.strip()
        if not digits.isascii() or not digits.lstrip("+-").isdecimal() or len(digits) > 1000:
            raise ValueError
        whole = int(digits)
    elif isinstance(value, float | decimal.Decimal) and -(2**63) <= value < 2**64 and not value % 1:
        whole = int(value)
    else:
        raise ValueError
    if whole not in range(-(2**63), 2**64):
        raise ValueError
    return whole


def _number(value: Any) -> float:
    if isinstance(value, float):
        return value
    if isinstance(value, str):
        value = value.strip()
        if not set(value) <= set("0123456789+-.eE") or len(value) > 1000:
            raise ValueError
    elif not isinstance(value, int | decimal.Decimal):
        raise TypeError
    given = decimal.Decimal(value)
    number = float(given)
    if math.isinf(number) or (given % 1 == 0 and decimal.Decimal(number) != given):
        raise ValueError
    return number


def _boolean(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in ("true", "t", "yes", "y", "1"):
        return True
    if text in ("false", "f", "no", "n", "0"):
        return False
    raise ValueError


def _moment(value: Any) -> Moment:
    if isinstance(value, Moment):
        return Moment(value.nanoseconds, True)
    if isinstance(value, datetime.date):
        return Moment((value.toordinal() - _EPOCH.toordinal()) * 86_400 * 10**9, True)
    return Moment(instant(value), True)


_CASTS: dict[str, Callable[[Any], Any]] = {
    "text": lambda value: text_of(value, ""),
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "time": _moment,
}


def _left_out(record: Shaped, sample: Sample) -> bool:
    if not isinstance(record, dict) or record.get(sample.column) is None:
        return False
    digest = blake3(str(record[sample.column]).encode()).hexdigest()[:8]
    return int(digest, 16) % 1_000_000 >= round(sample.percent * 10_000)


def _renamed(record: Shaped, shape: Shape, missing: Record) -> Shaped:
    if not isinstance(record, dict):
        return record
    found: Record = {}
    for old, value in record.items():
        new = shape.new_name(old)
        if new is None:
            continue
        if found.get(new) is None:
            found[new] = value
        elif value is not None:
            return _misfit(new, "would be two columns")
    return {**missing, **found}
