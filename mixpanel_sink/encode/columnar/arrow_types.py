"""Which Arrow types and arrays can be encoded by columns."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from mixpanel_sink.api.limits import MAX_DEPTH, MAX_LIST_ITEMS, MAX_NESTED_KEYS
from mixpanel_sink.api.numbers import PER_SECOND
from mixpanel_sink.api.values import MAX_INT, MIN_INT
from mixpanel_sink.encode.json_columns import JsonType

_MIN_DAY, _MAX_DAY = -719_162, 2_932_896
"""Days since 1970 of the years 1 and 9999, which is what Python's dates hold."""


class Unsupported(Exception):
    """The columnar encoder does not do this; the record encoder does."""


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type, of those that Polars reads well, for the same values."""
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, JsonType):
        return pa.string()
    if types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_map(kind):  # entries, which Polars can compute with
        entry = [("key", plain_type(kind.key_type)), ("value", plain_type(kind.item_type))]
        return pa.list_(pa.struct(entry))
    if types.is_float16(kind):
        return pa.float32()
    if types.is_null(kind):  # a cast to null breaks structs in lists; any type holds nulls
        return pa.bool_()
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if is_list(kind):
        make = pa.large_list if types.is_large_list(kind) else pa.list_
        return make(plain_type(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    return kind


def is_native(kind: pa.DataType) -> bool:
    """Whether Polars writes its values as they must be, without any conversion."""
    if is_list(kind):
        return is_native(kind.value_type)
    if types.is_struct(kind):
        names = [field.name for field in kind]
        return names == sorted(names) and all(is_native(field.type) for field in kind)
    return (
        types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_float64(kind)
        or is_utf8(kind)
    )


def check_nesting(kind: pa.DataType, depth: float = 1) -> None:
    """Raises Unsupported for a type that no event can hold, or that Polars cannot write.

    Args:
        kind: the type.
        depth: of its values, as `api.values.to_json` counts it.
    """
    if is_list(kind):
        if math.ceil(depth) > MAX_DEPTH:
            raise Unsupported("nested too deep")
        check_nesting(kind.value_type, math.ceil(depth) + 0.5)
    elif types.is_struct(kind):
        names = [field.name for field in kind]
        if len(names) > MAX_NESTED_KEYS or not names:
            raise Unsupported("too wide, or without fields")
        if len(set(names)) < len(names) or any("\0" in name for name in names):
            raise Unsupported("a struct with two fields of one name, or with a NUL in one")
        _check_members([field.type for field in kind], depth)
    elif types.is_map(kind):
        _check_members([kind.item_type], depth)


def _check_members(kinds: list[pa.DataType], depth: float) -> None:
    if math.floor(depth) >= MAX_DEPTH:
        raise Unsupported("nested too deep")
    for kind in kinds:
        check_nesting(kind, math.floor(depth) + 1)


def is_pattern(name: str) -> bool:
    """Whether Polars takes the name for a pattern of names."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def is_utf8(kind: pa.DataType) -> bool:
    """Whether a type holds text."""
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_text(kind: pa.DataType) -> bool:
    """Whether its values are text, perhaps in a dictionary."""
    return is_utf8(decoded(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Whether a type holds bytes."""
    return (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def is_list(kind: pa.DataType) -> bool:
    """Whether its values are lists (and not views of lists, which Polars does not have)."""
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def decoded(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values; the type itself for others."""
    return kind.value_type if types.is_dictionary(kind) else kind


def plain_text(column: Any) -> Any:
    """A column of text in whatever layout as plain text; others as they are."""
    kind = decoded(column.type)
    if types.is_string_view(kind) or types.is_null(kind):
        return column.cast(pa.string())
    return column.cast(kind) if is_utf8(kind) else column


def yields_text(kind: pa.DataType) -> bool:
    """Whether its values are written as text in JSON."""
    return (
        is_text(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
        or types.is_time(kind)
        or is_binary(kind)
    )


def fits(column: pa.ChunkedArray) -> bool:
    """Whether these values can be encoded by columns, with the right result."""
    try:
        column.validate(full=True)  # among others: that text is UTF-8
    except pa.ArrowInvalid:
        return False
    return all(_array_fits(chunk, top=True) for chunk in column.chunks)


def _array_fits(array: pa.Array, top: bool = False) -> bool:
    kind = array.type
    if types.is_date(kind) or types.is_timestamp(kind):
        per_day = 1 if types.is_date32(kind) else 86_400 * PER_SECOND[getattr(kind, "unit", "ms")]
        width = pa.int32() if types.is_date32(kind) else pa.int64()
        return _within(array.view(width), _MIN_DAY * per_day, (_MAX_DAY + 1) * per_day - 1)
    if types.is_duration(kind):
        most = 10**15 // (1000 if kind.unit == "s" else 1)  # a float keeps so many digits
        return _within(array.view(pa.int64()), 1 - most, most - 1)
    if not top and types.is_decimal(kind):
        return _within(array, MIN_INT, MAX_INT)
    if not top and types.is_floating(kind):
        return bool(pc.all(pc.is_finite(array), skip_nulls=True).as_py() in (True, None))
    if types.is_dictionary(kind):
        return _array_fits(array.dictionary, top)
    if types.is_map(kind):
        entries = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return _array_fits(array.cast(pa.list_(entries)))
    if is_list(kind):
        longest = pc.max(pc.list_value_length(array)).as_py()
        return (longest or 0) <= MAX_LIST_ITEMS and _array_fits(array.flatten())
    if types.is_struct(kind):
        return all(_array_fits(child) for child in array.flatten())
    return True


def _within(array: pa.Array, low: int, high: int) -> bool:
    bounds = pc.min_max(array)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    return least is None or (low <= least and most <= high)
