"""Hashes of canonical forms: what counts as the same has the same hash, a column at a time.

The hash of an event is the sum, modulo 2**64, of one hash for each of its properties, so that
neither the order of properties nor a null matters. Numbers are hashed by value, exactly, whatever
their type; text as Mixpanel cuts it; lists and objects by their JSON. Equal hashes under one
`$insert_id` mean equal events (the odds that they do not are 1 to 2**64 for each event). Different
ones say nothing: then `events.differences` looks at the values.
"""

from __future__ import annotations

import decimal
import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from blake3 import blake3

from mixpanel_sink.api.limits import LONG_STRING_BYTES
from mixpanel_sink.inspect.verify.events import cut

Hashes = npt.NDArray[np.uint64]
_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)
_KINDS = {
    type(None): "",
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "float",
    decimal.Decimal: "float",
}
_BEYOND = float(2**63)


def hashes_of(name: str, values: pl.Series, shortened: bool = False) -> Hashes:
    """The hash of each value of a property; 0 for nulls.

    Args:
        name: of the property.
        values: text, booleans, integers or floats (no NaN).
        shortened: whether text is hashed as Mixpanel cuts it.
    """
    if values.dtype == pl.String:
        return _seeded(name, "text", _shortened(values) if shortened else values)
    if values.dtype == pl.Boolean:
        return _seeded(name, "boolean", values)
    if values.dtype in _INTEGERS:
        return _seeded(name, "integer", values.cast(pl.Int64))
    if values.dtype == pl.UInt64:
        fitting = values.cast(pl.Int64, strict=False)
        beyond = values.set(fitting.is_not_null(), None)
        return _seeded(name, "integer", fitting) + _seeded(name, "unsigned", beyond)
    if values.dtype in (pl.Float32, pl.Float64):
        return _of_floats(name, values.cast(pl.Float64))
    assert values.dtype == pl.Null, values.dtype
    return np.zeros(len(values), np.uint64)


def hashes_of_cells(name: str, values: Sequence[Any], shortened: bool = False) -> Hashes:
    """As `hashes_of`, for values of any JSON types, and decimals."""
    kinds = set(map(type, values))
    kinds.discard(type(None))
    if len(kinds) == 1:
        return _of_kind(name, values, kinds.pop(), shortened)
    total = np.zeros(len(values), np.uint64)
    for kind in kinds:
        alone = [value if type(value) is kind else None for value in values]
        total += _of_kind(name, alone, kind, shortened)
    return total


def hash_of_ids(ids: Sequence[str] | pl.Series) -> Hashes:
    """The hashes by which events of both sides meet; different ids may share one."""
    return pl.Series("", ids, pl.String).hash(_seed("", "id")).to_numpy()


def _of_kind(name: str, values: Sequence[Any], kind: type, shortened: bool) -> Hashes:
    if kind is str:
        return hashes_of(name, pl.Series(values, dtype=pl.String), shortened)
    if kind is bool:
        return hashes_of(name, pl.Series(values, dtype=pl.Boolean))
    if kind is int:
        try:
            return hashes_of(name, pl.Series(values, dtype=pl.Int64))
        except (OverflowError, TypeError):
            return _of_large(name, values)
    if kind is float:
        return hashes_of(name, pl.Series(values, dtype=pl.Float64))
    if kind is decimal.Decimal:
        return hashes_of(name, pl.Series([v and float(v) for v in values], dtype=pl.Float64))
    texts = [None if value is None else _json(value, shortened) for value in values]
    return _seeded(name, "json", pl.Series(texts, dtype=pl.String))


def _of_large(name: str, values: Sequence[int | None]) -> Hashes:
    """Hashes of integers of which some need 64 bits without a sign."""
    fit = [None if v is None or v >= 2**63 else v for v in values]
    beyond = [None if v is None or v < 2**63 else v for v in values]
    return hashes_of(name, pl.Series(fit, dtype=pl.Int64)) + hashes_of(
        name, pl.Series(beyond, dtype=pl.UInt64)
    )


def _of_floats(name: str, values: pl.Series) -> Hashes:
    """Whole numbers have the hash of the integer that they equal."""
    whole = (values == values.floor()) & (values >= -_BEYOND) & (values < _BEYOND)
    if not whole.any():
        return _seeded(name, "float", values)
    integers = values.set(~whole, None).cast(pl.Int64)
    return _seeded(name, "integer", integers) + _seeded(name, "float", values.set(whole, None))


def _seeded(name: str, kind: str, values: pl.Series) -> Hashes:
    hashed = values.hash(_seed(name, kind))
    if values.null_count():
        hashed = hashed.set(values.is_null(), 0)
    return hashed.to_numpy()


@functools.lru_cache(10_000)
def _seed(name: str, kind: str) -> int:
    return int.from_bytes(blake3(f"{kind}\0{name}".encode()).digest(8), "big")


def _shortened(values: pl.Series) -> pl.Series:
    long = values.str.len_bytes() > LONG_STRING_BYTES
    if not long.any():
        return values
    places = long.arg_true()
    return values.clone().scatter(places, [cut(text) for text in values.gather(places)])


def _json(value: Any, shortened: bool) -> str:
    return orjson.dumps(_canonical(value, shortened), option=orjson.OPT_SORT_KEYS).decode()


def _canonical(value: Any, shortened: bool) -> Any:
    if isinstance(value, str):
        return cut(value) if shortened and len(value) * 4 > LONG_STRING_BYTES else value
    if isinstance(value, float | decimal.Decimal):
        number = float(value)
        fits = math.isfinite(number) and -_BEYOND <= number < _BEYOND
        return int(number) if fits and number.is_integer() else number
    if isinstance(value, list):
        return [_canonical(item, shortened) for item in value]
    if isinstance(value, dict):
        items = value.items()
        return {key: _canonical(item, shortened) for key, item in items if item is not None}
    return value


def kind_of(values: pl.Series | Sequence[Any]) -> set[str]:
    """The kinds of values: text, boolean, integer, unsigned, float, and others."""
    if not isinstance(values, pl.Series):
        return {_KINDS.get(kind, "more") for kind in set(map(type, values))} - {""}
    if values.dtype == pl.String:
        return {"text"}
    if values.dtype in (pl.Boolean, pl.Null):
        return {"boolean"} if values.dtype == pl.Boolean else set()
    if values.dtype.is_float():
        return {"float"}
    return {"unsigned" if values.dtype == pl.UInt64 else "integer"}
