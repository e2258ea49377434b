"""What a mapping's filter and condition mean for a file's statistics.

Only what is certain counts: a part is skipped if its smallest and largest values say that no row of
it can be wanted. A row whose value is null always may be.
"""

from __future__ import annotations

import datetime
import functools
import io
import json
import operator
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.settings.columns import Column
from mixpanel_sink.settings.filter import Filter
from mixpanel_sink.settings.shape import Shape

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "Lt": operator.lt, "LtEq": operator.le, "Gt": operator.gt, "GtEq": operator.ge,
    "Eq": operator.eq,
}  # fmt: skip
_MOST = {pa.float32(): 2**24, pa.float16(): 0, pa.uint64(): 0}
"""Literals are compared below these: Polars rounds them to a float's type, and statistics beyond 63
bits compare with no signed number."""
_MIRRORED = {"Lt": "Gt", "LtEq": "GtEq", "Gt": "Lt", "GtEq": "LtEq", "Eq": "Eq"}


def wanted_rows(mapping: Any, schema: pa.Schema) -> Any:
    """An expression of Arrow's that holds for every row that may be wanted; None if nothing can be
    told.

    Args:
        mapping: of any kind.
        schema: of the file.
    """
    shape = getattr(mapping, "shape", None)
    conditions = []
    for name, condition in [*_of_filter(mapping, schema), *_of_where(shape, schema)]:
        if not isinstance(shape, Shape) or shape.untouched(name):
            conditions.append(condition | pc.field(name).is_null())
    return functools.reduce(operator.and_, conditions) if conditions else None


def wants_partition(mapping: Any, keys: Mapping[str, str | None]) -> bool:
    """Whether a file of a partition may hold wanted rows, by the partition's keys alone.

    Args:
        mapping: of any kind.
        keys: of Hive's partitions in the file's path, which are columns of text.
    """
    from mixpanel_sink.batch.runs import Run
    from mixpanel_sink.encode.blocks import TableBlock
    from mixpanel_sink.encode.filtering import filter_block

    shape = getattr(mapping, "shape", None)
    own = tuple(
        (name, value)
        for name, value in keys.items()
        if value is not None and (not isinstance(shape, Shape) or shape.untouched(name))
    )
    wanted = getattr(mapping, "filter", None)
    if own and isinstance(wanted, Filter):
        row = pa.table({name: [value] for name, value in own})
        if not len(filter_block(TableBlock.of(row, Run(1, 0, ())), mapping)):
            return False
    return not own or not isinstance(shape, Shape) or not shape.where or _may(shape.where, own)


@functools.lru_cache(10_000)
def _may(where: str, keys: tuple[tuple[str, str], ...]) -> bool:
    """Whether all conditions about these keys alone are true."""
    import polars as pl

    row = pl.DataFrame({name: [value] for name, value in keys})
    for part in _parts(json.loads(_serialized(where))):
        try:
            condition = pl.Expr.deserialize(io.StringIO(json.dumps(part)), format="json")
            names = set(condition.meta.root_names())
            if names and names <= set(row.columns) and not row.filter(condition).height:
                return False
        except Exception:  # it compares text with a number, say: reading tells
            continue
    return True


def _parts(tree: Any) -> Iterator[Any]:
    """The expressions that must all hold."""
    part = tree.get("BinaryExpr") if isinstance(tree, dict) else None
    if isinstance(part, dict) and part.get("op") == "And":
        yield from _parts(part.get("left"))
        yield from _parts(part.get("right"))
    else:
        yield tree


def _serialized(where: str) -> str:
    import polars as pl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the form may change; what is not known is not used
        return str(pl.sql_expr(where).meta.serialize(format="json"))


def _of_filter(mapping: Any, schema: pa.Schema) -> Iterator[tuple[str, Any]]:
    wanted = getattr(mapping, "filter", None)
    if not isinstance(wanted, Filter):
        return
    if wanted.events and isinstance(mapping.event, Column):
        kind = _type_of(mapping.event.name, schema)
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            yield mapping.event.name, pc.field(mapping.event.name).isin(list(wanted.events))
    from mixpanel_sink.encode.filtering import time_as  # which imports Polars

    time = mapping.time
    for ms, compare in zip(wanted.span_ms, (operator.ge, operator.lt), strict=True):
        limit = time_as(_type_of(time.name, schema), time, ms)
        if limit is not None:
            yield time.name, compare(pc.field(time.name), limit)


def _of_where(shape: Any, schema: pa.Schema) -> Iterator[tuple[str, Any]]:
    if not isinstance(shape, Shape) or shape.where is None:
        return
    for tree in _parts(json.loads(_serialized(shape.where))):
        part = tree.get("BinaryExpr") if isinstance(tree, dict) else None
        if not isinstance(part, dict):
            continue
        left, right, name = part.get("left"), part.get("right"), part.get("op")
        if isinstance(left, dict) and "Literal" in left:
            left, right, name = right, left, _MIRRORED.get(str(name))
        if not isinstance(left, dict) or not isinstance(right, dict) or name not in _COMPARE:
            continue
        column, literal = left.get("Column"), right.get("Literal")
        if isinstance(column, str) and isinstance(literal, dict):
            value = _comparable(_type_of(column, schema), literal, name)
            if value is not None:
                yield column, _COMPARE[name](pc.field(column), value)


def _comparable(kind: pa.DataType, literal: dict[str, Any], compare: str) -> pa.Scalar | None:
    """A literal as a value of the column's type, where both compare as Polars does it."""
    scalar, number = literal.get("Scalar"), literal.get("Dyn")
    scalar = scalar if isinstance(scalar, dict) else {}
    if isinstance(number, dict):
        given = number.get("Int")
        if type(given) is not int or abs(given) >= _MOST.get(kind, 2**53):
            return None
        if pa.types.is_integer(kind):
            return pa.scalar(given, pa.int64())
        # Statistics leave NaN out, which Polars takes for the largest number.
        if pa.types.is_floating(kind) and compare in ("Lt", "LtEq", "Eq"):
            return pa.scalar(float(given))
        return None
    text, day = scalar.get("String"), scalar.get("Date")
    if isinstance(text, str) and (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return pa.scalar(text, kind)
    if type(day) is int and pa.types.is_date32(kind):
        return pa.scalar(datetime.date(1970, 1, 1) + datetime.timedelta(day), kind)
    return None


def _type_of(name: str, schema: pa.Schema) -> pa.DataType:
    at = schema.get_all_field_indices(name)
    return schema.field(at[0]).type if len(at) == 1 else pa.null()
