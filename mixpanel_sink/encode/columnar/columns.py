"""A part of the events, as a value: how it is computed, checked and written."""

from __future__ import annotations

import dataclasses
import functools

import polars as pl
from pyarrow import types

from mixpanel_sink.encode.columnar.arrow_types import is_binary, is_text
from mixpanel_sink.encode.columnar.inputs import Inputs
from mixpanel_sink.encode.columnar.numbers import BOTH, check_decimal, sendable, texts
from mixpanel_sink.encode.columnar.values import convert, map_texts, timestamp_texts
from mixpanel_sink.encode.json_columns import JsonType, SparseType


@dataclasses.dataclass(frozen=True)
class Text:
    """Where the text of a part comes from, which decides whether it may need escapes in JSON.

    Attributes:
        sources: the table's columns whose text it holds.
        escapes: whether it may need escapes whatever they hold.
    """

    sources: frozenset[str] = frozenset()
    escapes: bool = False


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the events: a property, an id, ...; a column of the frame that is written.

    Attributes:
        name: p:NAME for a property, i:NAME for what the sink writes itself.
        expr: the values, from the columns of `Inputs`.
        checks: whether each row's value can surely be sent; null stands for no.
        text: for parts that are text.
        is_json: whether the values are JSON already.
        cut: whether Mixpanel cuts the values that are long, so that those are counted.
        rounds: whether the values are what `numbers.texts` gives.
        nested: whether the values may be lists or objects, whose size Mixpanel limits.
        sparse: whether null stands for a property that the record lacks; JSON has the nulls then.
    """

    name: str
    expr: pl.Expr
    checks: tuple[pl.Expr, ...] = ()
    text: Text = Text()
    is_json: bool = False
    cut: bool = False
    rounds: bool = False
    nested: bool = False
    sparse: bool = False


def property_part(name: str, column: str, inputs: Inputs, drop_non_finite: bool) -> Part:
    """The part for a property.

    Args:
        name: of the property.
        column: that it comes from.
        inputs: the table's columns.
        drop_non_finite: NaN and infinity become null instead of failing.

    Raises:
        Unsupported: for types that only the record encoder does.
    """
    kind, values, part = inputs.type_of(column), inputs[column], f"p:{name}"
    if types.is_timestamp(kind):
        text = functools.partial(timestamp_texts, kind=kind)
        return Part(part, values.map_batches(text, pl.String))
    if isinstance(kind, JsonType):
        fit = (~values.str.starts_with(JsonType.UNFIT)).fill_null(True)
        sparse = isinstance(kind, SparseType)
        return Part(part, values, (fit,), is_json=True, nested=True, sparse=sparse)
    if types.is_map(kind):
        expr, once = map_texts(values, kind)
        return Part(part, expr, (once,), is_json=True, nested=True)
    if types.is_decimal(kind):
        check_decimal(kind)
        fit = sendable(values, kind)
        text = functools.partial(texts, kind=kind)
        return Part(part, values.map_batches(text, BOTH), (fit,), is_json=True, rounds=True)
    expr = convert(values, kind)
    if types.is_floating(kind):
        if drop_non_finite:
            return Part(part, pl.when(expr.is_finite()).then(expr))
        return Part(part, expr, (expr.is_finite() | expr.is_null(),))
    source = frozenset([column] if is_text(kind) else [])
    cut = is_text(kind) or is_binary(kind)
    return Part(part, expr, text=Text(source), cut=cut, nested=types.is_nested(kind))
