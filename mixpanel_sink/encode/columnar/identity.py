"""The parts that the sink writes itself: the event's name, the user's ids, ip and `$insert_id`."""

from __future__ import annotations

import functools
from collections.abc import Sequence, Set
from typing import Any

import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.api.insert_ids import fitting_id
from mixpanel_sink.api.limits import INSERT_ID, MAX_ID_BYTES, RESERVED_DISTINCT_IDS
from mixpanel_sink.encode.columnar.arrow_types import Unsupported, is_text, yields_text
from mixpanel_sink.encode.columnar.columns import Part, Text
from mixpanel_sink.encode.columnar.expressions import (
    Piece,
    content_hash,
    json_of,
    line,
    quoted,
)
from mixpanel_sink.encode.columnar.inputs import Inputs
from mixpanel_sink.encode.columnar.numbers import check_decimal, exact_texts, fraction, plain_text
from mixpanel_sink.encode.columnar.values import convert
from mixpanel_sink.settings.columns import Column, ColumnsId, Constant
from mixpanel_sink.settings.mapping import EventMapping

_RESERVED_LENGTHS = sorted({len(word) for word in RESERVED_DISTINCT_IDS})


def identity_parts(mapping: EventMapping, inputs: Inputs) -> list[Part]:
    """All of them but the time.

    Raises:
        Unsupported: for types that only the record encoder does.
    """
    parts = [_event(mapping.event, inputs)]
    ids = {
        name: _user_part(name, column, inputs)
        for name, column in (("$device_id", mapping.device_id), ("$user_id", mapping.user_id))
        if isinstance(column, Column)
    }
    parts += [*ids.values(), _distinct_id(mapping, inputs, ids)]
    if mapping.ip is not None:
        parts.append(_ip(mapping.ip, inputs))
    if isinstance(mapping.insert_id, ColumnsId):
        parts.append(_insert_id(mapping.insert_id.columns, inputs))
    return parts


def _event(source: Any, inputs: Inputs) -> Part:
    expr = _text(source, inputs)
    size = expr.str.len_bytes()
    check = (size > 0) & (size <= MAX_ID_BYTES)
    return Part("i:event", expr, (check,), _origin(inputs, source))


def _user_part(name: str, column: Column, inputs: Inputs) -> Part:
    """`$device_id` or `$user_id`, which an event may lack."""
    expr, check = _user_text(column, inputs)
    good = check & (expr.is_null() | _good_id(expr))
    return Part(f"i:{name}", expr, (good,), _origin(inputs, column))


def _distinct_id(mapping: EventMapping, inputs: Inputs, ids: dict[str, Part]) -> Part:
    source = mapping.distinct_id
    if isinstance(source, Constant):
        expr = pl.lit(source.value)
        return Part("i:distinct_id", expr, (_good_id(expr),), _origin(inputs, source))
    if isinstance(source, Column):
        expr, check = _user_text(source, inputs)
        return Part("i:distinct_id", expr, (check, _good_id(expr)), _origin(inputs, source))
    expr = pl.lit(None, pl.String)
    if (device := ids.get("$device_id")) is not None:
        expr = pl.format("$device:{}", device.expr)
    if (user := ids.get("$user_id")) is not None:
        expr = pl.coalesce(user.expr, expr)
    origin = _origin(inputs, mapping.user_id, mapping.device_id)
    return Part("i:distinct_id", expr, (expr.is_not_null(), _good_id(expr)), origin)


def _ip(source: Any, inputs: Inputs) -> Part:
    expr = _text(source, inputs)
    if isinstance(source, Constant):
        return Part("i:ip", expr, text=_origin(inputs, source))
    expr = pl.when(expr == "").then(pl.lit("0")).otherwise(expr.fill_null("0"))
    return Part("i:ip", expr, text=_origin(inputs, source), cut=True)


def _insert_id(columns: Sequence[str], inputs: Inputs) -> Part:
    checks: list[pl.Expr] = []
    values: dict[str, pl.Expr] = {}
    for name in columns:
        kind = inputs.type_of(name)
        if types.is_decimal(kind):
            values[name] = _decimal_text(inputs[name], kind)
            continue
        values[name] = value = convert(inputs[name], kind)
        if types.is_floating(kind):
            checks.append(value.is_finite() | value.is_null())
    if len(columns) > 1:
        checks.append(pl.any_horizontal([value.is_not_null() for value in values.values()]))
        numbers = {name for name in columns if types.is_decimal(inputs.type_of(name))}
        return Part("i:insert_id", content_hash(_object(values, numbers)), tuple(checks))
    ((name, value),) = values.items()
    kind = inputs.type_of(name)
    checks.append(value.is_not_null())
    if types.is_integer(kind):
        expr = value.cast(pl.String)
        for number in (0, -1):  # reserved, as text is below
            expr = pl.when(value == number).then(pl.lit(fitting_id(str(number)))).otherwise(expr)
        return Part("i:insert_id", expr, tuple(checks))
    if not (yields_text(kind) or types.is_decimal(kind)):
        raise Unsupported(f"{name} is {kind}")
    checks.append(value.str.len_bytes() > 0)
    fitting = value.str.contains(f"^(?:{INSERT_ID.pattern})$") & ~value.str.contains(r"\n\z")
    fitting &= ~value.map_batches(_reserved, pl.Boolean)
    expr = pl.when(fitting).then(value).otherwise(content_hash(value))
    return Part("i:insert_id", expr, tuple(checks))


def _object(values: dict[str, pl.Expr], numbers: Set[str]) -> pl.Expr:
    """The JSON of an object with these members, some of which are texts of numbers."""
    if not numbers:
        members = [value.alias(name) for name, value in values.items()]
        return pl.struct(members).struct.json_encode()
    pieces: list[Piece] = []
    for name, value in values.items():
        json = value.fill_null("null") if name in numbers else json_of(value)
        pieces += ["," if pieces else "{", f"{quoted(name)}:", json]
    return line([*pieces, "}"])


def _decimal_text(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    check_decimal(kind)
    return expr.map_batches(functools.partial(exact_texts, kind=kind), pl.String)


def _origin(inputs: Inputs, *sources: Any) -> Text:
    """The texts that these parts take from columns or constants."""
    columns, escapes = set(), False
    for source in sources:
        if isinstance(source, Column) and is_text(inputs.type_of(source.name)):
            columns.add(source.name)
        fixed = getattr(source, "value", None) or getattr(source, "if_null", None)
        escapes |= fixed is not None and quoted(fixed) != f'"{fixed}"'
    return Text(frozenset(columns), escapes)


def _text(source: Any, inputs: Inputs) -> pl.Expr:
    """A constant, or a column that must be text."""
    if isinstance(source, Constant):
        return pl.lit(source.value)
    kind = inputs.type_of(source.name)
    if not is_text(kind):
        raise Unsupported(f"{source.name} is {kind}")
    expr = convert(inputs[source.name], kind)
    return expr if source.if_null is None else expr.fill_null(source.if_null)


def _user_text(column: Column, inputs: Inputs) -> tuple[pl.Expr, pl.Expr]:
    """A column of text or integers as text, and whether each value is one or null."""
    kind, values = inputs.type_of(column.name), inputs[column.name]
    check = pl.lit(True)
    if types.is_decimal(kind):
        check_decimal(kind)
        expr, check = plain_text(values, kind), (fraction(values, kind) == 0).fill_null(True)
    elif types.is_integer(kind):
        expr = values.cast(pl.String)
    elif is_text(kind):
        expr = convert(values, kind)
    else:
        raise Unsupported(f"{column.name} is {kind}")
    return (expr if column.if_null is None else expr.fill_null(column.if_null)), check


def _good_id(expr: pl.Expr) -> pl.Expr:
    reserved = expr.map_batches(_reserved, pl.Boolean)
    return ~reserved & (expr.str.len_bytes() <= MAX_ID_BYTES)


def _reserved(ids: pl.Series) -> pl.Series:
    """Which ids are words that Mixpanel refuses. Lower case is made only of those that are as
    long as such a word, since it is most of the work. (No letter becomes two of ASCII.)
    """
    suspects = ids.str.len_chars().is_in(_RESERVED_LENGTHS).arg_true()
    reserved = pl.repeat(False, len(ids), eager=True)
    if not len(suspects):
        return reserved
    words = ids.gather(suspects).str.to_lowercase().is_in(sorted(RESERVED_DISTINCT_IDS))
    return reserved.scatter(suspects.filter(words.fill_null(False)), True)
