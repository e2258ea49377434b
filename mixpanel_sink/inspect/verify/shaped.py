"""What a mapping's `Shape` should make of records, from their exact values."""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pyarrow as pa
from blake3 import blake3

from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.errors import MappingError
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
    mapped: Mapping[str, str],
    table: pa.Table | None = None,
) -> list[Shaped]:
    """Records after all steps of a shape, in its documented order.

    Args:
        records: exact values.
        shape: the steps.
        mapped: columns that become more than a property: objects and mixed types are text there.
        table: the records as they came, for conditions on columns that no step changed.
    """
    made: list[Shaped] = [dict(record) for record in records]
    taken = {name for record in records for name in record}
    for steps, read in ((shape.json, _json_object), (shape.flatten, _object)):
        for name, prefix in dict(steps).items():  # type: ignore[arg-type]
            if name in taken:
                taken.discard(name)
                taken |= _unpack(made, name, prefix, read)
    made = [_converted(record, shape) for record in made]
    columns = {name for record in made if isinstance(record, dict) for name in record}
    for record in made:
        if isinstance(record, dict):
            for name in columns:
                record.setdefault(name, None)
            for name, value in shape.defaults.items():
                if record.get(name) is None:
                    record[name] = value
    if shape.where is not None:
        _filter(made, shape, table)
    if isinstance(shape.sample, Sample):
        made = [None if _left_out(record, shape.sample) else record for record in made]
    names = shape.renamed(sorted(columns | set(shape.defaults)))
    return [_renamed(record, names, mapped) for record in made]


def _unpack(
    records: list[Shaped],
    name: str,
    prefix: str,
    read: Callable[[Any, str], Record],
) -> set[str]:
    """Puts what a column holds in its place, and gives the names that this makes."""
    names: set[str] = set()
    for place, record in enumerate(records):
        if not isinstance(record, dict):
            continue
        try:
            for key, value in read(record.pop(name, None), name).items():
                names.add(prefix + key)
                if record.get(prefix + key) is None:
                    record[prefix + key] = value
                elif value is not None:
                    raise _misfit(name, f"holds {key!r}, and that column has a value already")
        except Refused as refused:
            records[place] = refused
    return names


def _converted(record: Shaped, shape: Shape) -> Shaped:
    if not isinstance(record, dict):
        return record
    try:
        for name, how in shape.split.items():
            if name in record:
                record.update(_split(record.pop(name), name, how))
        for name, join in shape.join.items():
            _join(record, name, join)
        for name, kind in shape.cast.items():
            if record.get(name) is not None:
                record[name] = _cast(record[name], name, kind)
    except Refused as refused:
        return refused
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
        return {str(key): part for key, part in value.items()}
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


def _split(value: Any, name: str, how: Split) -> Record:
    if not isinstance(value, str | None):
        raise _misfit(name, "is not text, which split needs")
    parts = None if value is None else value.split(how.by, len(how.into) - 1 if how.into else -1)
    if not how.into:
        return {name: parts}
    return dict(zip(how.into, [*(parts or []), *[None] * len(how.into)], strict=False))


def _join(record: Record, name: str, how: Join) -> None:
    parts = [_cast(record[n], n, "text") for n in how.columns if record.get(n) is not None]
    if parts or any(column in record for column in how.columns):
        record[name] = how.by.join(parts) if parts else None


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


_SMALL = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
_WIDE = pl.col(_SMALL).cast(pl.Int64)
"""Sums of small integers may be large."""


def _filter(records: list[Shaped], shape: Shape, table: pa.Table | None) -> None:
    """Leaves out what the condition does not match. Records of equal types are looked at together:
    where it makes no sense for a type that a value has, and the column has no type of its own, the
    record does not fit, nor where a value cannot be converted."""
    assert shape.where is not None
    expression = pl.sql_expr(shape.where)
    names = expression.meta.root_names()
    untouched = set(() if table is None else table.schema.names)
    untouched -= {*shape.json, *shape.flatten, *shape.split, *shape.join, *shape.cast}
    untouched -= {*shape.defaults}
    typed: dict[str, Any] = {
        name: _typed(table.column(name)) for name in names if table and name in untouched
    }
    origin = None if table is None else TableOrigin.of(table)
    declared = origin is None or origin.declared
    groups: dict[Any, list[int]] = {}
    rows: dict[int, list[Any]] = {}
    for place, record in enumerate(records):
        if isinstance(record, dict):
            rows[place] = [None if n in typed else _python(record.get(n)) for n in names]
            groups.setdefault(tuple(map(type, rows[place])), []).append(place)
    together = list(groups.values())
    for places in together:  # which grows
        columns = {
            name: typed[name][places] if name in typed else [rows[place][at] for place in places]
            for at, name in enumerate(names)
        }
        try:
            frame = pl.DataFrame({"": places, **columns}).with_columns(_WIDE)
            matches = _evaluated(frame, expression)
        except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
            of_values = "conversion from" in str(error) and " out of " in str(error)
            if of_values and len(places) > 1:
                half = len(places) // 2
                together += [places[:half], places[half:]]
                continue
            if not of_values and set(names) <= {*(typed if declared else ()), *shape.cast}:
                raise MappingError(f"where cannot be evaluated: {error}") from None
            for place in places:
                records[place] = Refused(SHAPE_FAILED, f"where cannot be evaluated: {error}", "")
            continue
        for place, keep in zip(places, matches.to_list(), strict=True):
            if not keep:
                records[place] = None


def _typed(column: pa.ChunkedArray) -> Any:
    """A column as Polars has it: of a dictionary the values, of long decimals those it holds."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_decimal256(kind):
        try:
            column = column.cast(pa.decimal128(38, kind.scale))
        except pa.ArrowInvalid:
            column = column.cast(pa.float64())
    return pl.from_arrow(column)


def _evaluated(frame: Any, expression: Any) -> Any:
    """The condition for each row; a column of nulls has whatever type suits it."""
    empty = [name for name, kind in frame.schema.items() if kind == pl.Null]
    failed: Exception | None = None
    for kind in (pl.Null, pl.String, pl.Int64, pl.Boolean):
        try:
            made = frame.with_columns(pl.col(empty).cast(kind)) if empty else frame
            return made.select(pl.col(""), expression.cast(pl.Boolean).alias("\0keep"))["\0keep"]
        except pl.exceptions.PolarsError as error:
            failed = failed or error
    assert failed is not None
    raise failed


def _python(value: Any) -> Any:
    if isinstance(value, Moment):
        wall = _EPOCH + datetime.timedelta(microseconds=value.nanoseconds // 1000)
        return wall.replace(tzinfo=datetime.timezone.utc) if value.zoned else wall
    return value


def _left_out(record: Shaped, sample: Sample) -> bool:
    if not isinstance(record, dict) or record.get(sample.column) is None:
        return False
    digest = blake3(str(record[sample.column]).encode()).hexdigest()[:8]
    return int(digest, 16) % 1_000_000 >= round(sample.percent * 10_000)


def _renamed(record: Shaped, names: Mapping[str, str], mapped: Mapping[str, str]) -> Shaped:
    if not isinstance(record, dict):
        return record
    found = {}
    for old, new in names.items():
        value = record.get(old)
        if new in mapped and isinstance(value, list | dict):
            try:
                value = text_of(value, new)
            except Refused as refused:
                return _misfit(new, refused.message)
        found[new] = value
    return found
