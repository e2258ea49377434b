"""What a mapping's `Shape` should make of records, from their exact values: of each by itself."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    types = _Types.of(table, shape)
    made: list[Shaped] = []
    for record in records:
        try:
            made.append(_converted(dict(record), shape, types))
        except Refused as refused:
            made.append(refused)
    if shape.where is not None:
        _filter(made, shape, types)
    if isinstance(shape.sample, Sample):
        made = [None if _left_out(record, shape.sample) else record for record in made]
    missing = dict.fromkeys(needed) if types.open else {}
    return [_renamed(record, shape, missing) for record in made]


@dataclasses.dataclass(frozen=True)
class _Types:
    """What a table declares of its records.

    Attributes:
        columns: those with a type of their own.
        open: whether the records' data tell which columns there are.
    """

    columns: Mapping[str, pa.ChunkedArray]
    open: bool

    @classmethod
    def of(cls, table: pa.Table | None, shape: Shape) -> _Types:
        origin = None if table is None else TableOrigin.of(table)
        if table is None or (origin is not None and not origin.declared):
            return cls({}, True)
        columns = dict(zip(table.schema.names, table.columns, strict=True))
        made = any(name in columns for name in shape.json)
        made |= any(
            name in columns and not pa.types.is_struct(columns[name].type) for name in shape.flatten
        )
        return cls(columns, made)

    def fields(self, name: str) -> list[str]:
        """The fields of a column of objects, which are there also where it is null."""
        column = self.columns.get(name)
        return (
            []
            if column is None or not pa.types.is_struct(column.type)
            else [field.name for field in column.type]
        )

    def has_fractions(self, name: str, shape: Shape) -> bool:
        """Whether a default that is a whole number becomes one of these."""
        if name in shape.cast:
            return shape.cast[name] == "number" and (self.open or name in self.columns)
        column = self.columns.get(name)
        return column is not None and pa.types.is_floating(column.type)


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


def _converted(record: Record, shape: Shape, types: _Types) -> Record:
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


_SMALL = (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)
_WIDE = pl.col(_SMALL).cast(pl.Int64)
"""Sums of small integers may be large."""


def _filter(records: list[Shaped], shape: Shape, types: _Types) -> None:
    """Leaves out what the condition does not match. Records of equal types are looked at together:
    where it makes no sense for a type that a value has, and the column has no type of its own, the
    record does not fit, nor where a value cannot be converted."""
    assert shape.where is not None
    expression = pl.sql_expr(shape.where)
    names = expression.meta.root_names()
    changed = {*shape.json, *shape.flatten, *shape.split, *shape.join, *shape.cast}
    changed |= {*shape.defaults}
    typed: dict[str, Any] = {
        name: _typed(types.columns[name])
        for name in names
        if name in types.columns and name not in changed and not types.open
    }
    groups: dict[Any, list[int]] = {}
    rows: dict[int, list[Any]] = {}
    for place, record in enumerate(records):
        if isinstance(record, dict):
            rows[place] = [None if n in typed else _python(record.get(n)) for n in names]
            groups.setdefault(tuple(map(_kind, rows[place])), []).append(place)
    together = list(groups.values())
    for places in together:  # which grows
        columns = {
            name: typed[name][places] if name in typed else _series(rows, places, at)
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
            if not of_values and set(names) <= {*typed, *shape.cast, *shape.join}:
                raise MappingError(f"where cannot be evaluated: {error}") from None
            for place in places:
                records[place] = Refused(SHAPE_FAILED, f"where cannot be evaluated: {error}", "")
            continue
        for place, keep in zip(places, matches.to_list(), strict=True):
            if not keep:
                records[place] = None


def _kind(value: Any) -> Any:
    """What decides about the type of a column that holds the value."""
    if type(value) is int:
        if 2**63 <= value < 2**64:
            return "unsigned"
        return next((bits for bits in (63, 127) if -(2**bits) <= value < 2**bits), "endless")
    if type(value) is decimal.Decimal:
        return max(0, -int(value.as_tuple().exponent))
    return repr(value) if isinstance(value, list | dict) else type(value)


def _series(rows: Mapping[int, list[Any]], places: Sequence[int], at: int) -> Any:
    values = [rows[place][at] for place in places]
    if type(values[0]) is decimal.Decimal:
        return pl.Series(values, dtype=pl.Decimal(38, _kind(values[0])))
    return values


_ANY: tuple[Any, ...] = (
    *(pl.Null, pl.String, pl.Int64, pl.Float64, pl.Boolean, pl.Datetime("us"), pl.Date),
    pl.List(pl.String),
)
"""Types that a column of nulls may have."""


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
    tried = [(kind,) * len(empty) for kind in _ANY]
    if len(empty) == 2:
        tried += itertools.product(_ANY, _ANY)
    failed: Exception | None = None
    for kinds in tried:
        try:
            made = frame.cast(dict(zip(empty, kinds, strict=True))) if empty else frame
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
