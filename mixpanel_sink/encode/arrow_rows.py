"""Rows of Arrow tables as dicts, with the same values."""

from __future__ import annotations

import datetime
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.api.values import ColumnsOfOneName
from mixpanel_sink.encode.json_columns import JsonType, SparseType, json_values


def rows_as_records(table: pa.Table, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Some rows as dicts. Timestamps with a zone are in UTC.

    A value that Python has no form for (digits beyond microseconds, bad UTF-8) stays an Arrow
    scalar, by itself: neither what is around it in a struct, list or map nor the rest of its
    column.
    """
    columns: dict[str, list[Any]] = {}
    for name, column in zip(table.schema.names, table.columns, strict=True):
        values = values_of(_take(column, rows))
        if name in columns:
            values = list(map(ColumnsOfOneName, columns[name], values))
        columns[name] = values
    # Copies of a dict have their full size from the start; filling each takes half the time of
    # making it.
    blank = dict.fromkeys(columns)
    records: list[dict[str, Any]] = [blank.copy() for _ in rows]
    for name, values in columns.items():
        for record, value in zip(records, values, strict=True):
            record[name] = value
    for name, kind in zip(table.schema.names, table.schema.types, strict=True):
        if isinstance(kind, SparseType):
            there = _take(table.column(name), rows).is_valid().to_pylist()
            for record, has in zip(records, there, strict=True):
                if not has:
                    del record[name]
    return records


def take_rows(table: pa.Table, rows: Sequence[int]) -> pa.Table:
    """Some rows as a table, whatever the types of its columns."""
    columns = [_take(column, rows) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _take(column: pa.ChunkedArray, rows: Sequence[int]) -> pa.ChunkedArray:
    if isinstance(rows, range) and rows.step == 1:
        return column.slice(rows.start, len(rows))
    try:
        return column.take(pa.array(rows, pa.int64()))
    except pa.ArrowNotImplementedError:  # views, among others
        parts = [column.slice(row, 1).chunks for row in rows]
        return pa.chunked_array([chunk for part in parts for chunk in part], column.type)


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """A column's values, in the forms that `rows_as_records` tells."""
    kind = column.type
    if isinstance(kind, JsonType):
        return json_values(column)
    if types.is_dictionary(kind):
        try:
            return values_of(column.cast(kind.value_type))
        except pa.ArrowException:  # an odd type, or text that is not UTF-8
            pass
    if types.is_timestamp(kind) and kind.tz is not None:
        column = column.cast(pa.timestamp(kind.unit, "UTC"))  # any zone, known or not
    if _is_nanoseconds(kind):
        return _nanoseconds(column)
    try:
        if types.is_timestamp(kind):
            return _moments(column)
        if types.is_date32(kind):
            return _dates(column)
    except (pa.ArrowInvalid, ArithmeticError, TypeError):
        pass  # years that Python does not have
    if _holds(_is_nanoseconds, kind):
        # What as_py makes of them depends on whether pandas is there, and may drop digits.
        return _parts(column)
    try:
        column.validate(full=True)  # among others, times of day that Python would wrap
        # Told what to do with maps, `to_pylist` takes ten times longer.
        return column.to_pylist(maps_as_pydicts="strict" if _holds(types.is_map, kind) else None)
    except (ValueError, OverflowError, LookupError, TypeError, pa.ArrowException):
        if types.is_nested(kind):
            return _parts(column)
        return [_value(column, i) for i in range(len(column))]


def _parts(column: pa.ChunkedArray) -> list[Any]:
    """Structs, lists and maps, put together of the values of their parts."""
    kind = column.type
    if types.is_struct(kind) and len(names := [part.name for part in kind]) == len(set(names)):
        parts = [values_of(part) for part in column.flatten()]
        rows = zip(*parts, strict=True) if parts else itertools.repeat((), len(column))
        valid = column.is_valid().to_pylist()
        return [
            dict(zip(names, row, strict=True)) if there else None
            for there, row in zip(valid, rows, strict=True)
        ]
    values = [value if value.is_valid else None for value in column]
    # One by one: Arrow's flattening of lists in lists may end the process.
    if types.is_map(kind):
        return [None if value is None else _map(value) for value in values]
    if types.is_nested(kind) and hasattr(kind, "value_field"):  # a list of any kind
        return [None if value is None else _items(value) for value in values]
    return values


def _items(scalar: Any) -> list[Any]:
    return values_of(pa.chunked_array([scalar.values]))


def _map(scalar: Any) -> Any:
    pairs = _parts(pa.chunked_array([scalar.values]))
    try:
        values = {pair["key"]: pair["value"] for pair in pairs}
    except TypeError:  # keys of a type that no dict takes
        return scalar
    return values if len(values) == len(pairs) else scalar


def _nanoseconds(column: pa.ChunkedArray) -> list[Any]:
    """Those of whole microseconds as Python has them, scalars for the rest."""
    kind = column.type
    whole = pa.time64("us") if types.is_time64(kind) else pa.duration("us")
    if types.is_timestamp(kind):
        whole = pa.timestamp("us", kind.tz)
    values = values_of(column.cast(whole, safe=False))
    counts = column.cast(pa.int64()).fill_null(0).to_numpy()
    for row in np.flatnonzero(counts % 1000).tolist():
        values[row] = column[row]
    return values


def _moments(column: pa.ChunkedArray) -> list[Any]:
    """Timestamps as datetimes, by way of NumPy: a fortieth of the time of `to_pylist`.

    Raises:
        OverflowError, TypeError: if one of them has no datetime.
    """
    kind = column.type
    since: list[Any] = column.to_numpy().view(f"m8[{kind.unit}]").tolist()
    epoch = datetime.datetime(1970, 1, 1, tzinfo=None if kind.tz is None else datetime.timezone.utc)
    if column.null_count:
        # NumPy takes the smallest timestamp for a null; a timedelta of none is false.
        valid = column.is_valid().to_pylist()
        return [epoch + delta if there else None for there, delta in zip(valid, since, strict=True)]
    return list(map(operator.add, itertools.repeat(epoch), since))


def _dates(column: pa.ChunkedArray) -> list[Any]:
    """Dates as Python has them; raises OverflowError for years that it does not have."""
    values: list[Any] = column.to_numpy().tolist()
    if int in map(type, values):
        raise OverflowError("NumPy gives an integer for years that Python does not have")
    return values


def _value(column: pa.ChunkedArray, row: int) -> Any:
    try:
        column.slice(row, 1).validate(full=True)
        return column[row].as_py(maps_as_pydicts="strict")
    except (ValueError, OverflowError, LookupError, pa.ArrowException):
        return column[row]


def _holds(what: Callable[[pa.DataType], bool], kind: pa.DataType) -> bool:
    """Whether the type is of that sort, or is made of one that is."""
    if types.is_dictionary(kind):
        return _holds(what, kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        return _holds(what, kind.storage_type)
    parts = (kind.field(i).type for i in range(kind.num_fields))
    return what(kind) or any(_holds(what, part) for part in parts)


def _is_nanoseconds(kind: pa.DataType) -> bool:
    timed = types.is_timestamp(kind) or types.is_time64(kind) or types.is_duration(kind)
    return timed and kind.unit == "ns"
