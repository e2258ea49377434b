"""A mapping's filter as a function from a block to a block, after its shape."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.api.numbers import PER_SECOND
from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.encode.blocks import Block, TableBlock
from mixpanel_sink.encode.shaping import shaped
from mixpanel_sink.encode.times import to_ms
from mixpanel_sink.settings.columns import Column, TimeColumn
from mixpanel_sink.settings.filter import Filter
from mixpanel_sink.settings.shape import Shape

Mask = np.ndarray[Any, np.dtype[np.bool_]]
_UTC = datetime.timezone.utc
_MOST_SECONDS = 9_000_000_000
"""As nanoseconds, more do not fit into 64 bits."""


def filter_block(block: Block, mapping: Any) -> Block:
    """The records of a block that the mapping's filter keeps."""
    rows = _kept(block, mapping)
    return block if len(rows) == len(block) else block.take(rows)


def counted_rows(block: Block, mapping: Any) -> Sequence[int]:
    """The rows of a block that become events or failed records: all but those that the mapping's
    shape and filter leave out.

    Raises:
        MappingError: for a shape that cannot fit these columns.
    """
    shape = getattr(mapping, "shape", None)
    if not isinstance(shape, Shape):
        return _kept(block, mapping)
    made = shaped(block, mapping)
    kept = _kept(made.block(block.key, ()), mapping)
    return sorted({*made.rows[kept].tolist(), *made.failed})


def _kept(block: Block, mapping: Any) -> Sequence[int]:
    wanted = getattr(mapping, "filter", None)
    if not isinstance(wanted, Filter):
        return range(len(block))
    keep = np.ones(len(block), bool)
    if wanted.events and isinstance(mapping.event, Column):
        keep &= _by_name(_values(block, mapping.event.name), mapping.event, wanted)
    if wanted.span_ms != (None, None):
        keep &= _by_time(block, mapping.time, wanted)
    return [int(row) for row in np.flatnonzero(keep)]


def _by_name(values: Sequence[Any] | None, column: Column, wanted: Filter) -> Mask | bool:
    if values is None:
        return True
    names = {*wanted.events, None}
    given = (column.if_null if _is_null(value) else value for value in values)
    return np.array([not isinstance(name, str) or name in names for name in given], bool)


def _by_time(block: Block, column: TimeColumn, wanted: Filter) -> Mask | bool:
    if isinstance(block, TableBlock) and block.table.schema.names.count(column.name) == 1:
        held = block.table.column(column.name)
        start, end = (time_as(held.type, column, ms) for ms in wanted.span_ms)
        if (start is None) == (wanted.span_ms[0] is None) and (
            (end is None) == (wanted.span_ms[1] is None)
        ):
            keep = np.ones(len(held), bool)
            for limit, compare in ((start, pc.greater_equal), (end, pc.less)):
                if limit is not None:
                    keep &= np.asarray(pc.fill_null(compare(held, limit), True))
            return keep
    values = _values(block, column.name)
    return True if values is None else np.array([_fits(v, column, wanted) for v in values], bool)


def _fits(value: Any, column: TimeColumn, wanted: Filter) -> bool:
    try:
        return wanted.has_time(to_ms(value, column))
    except Exception:  # it is not a time: the record fails by itself, and says so
        return True


def time_as(kind: pa.DataType, column: TimeColumn, ms: int | None) -> pa.Scalar | None:
    """A time as a value of the column's own type, where comparing the values as they are is
    comparing the times; else None."""
    if ms is None:
        return None
    seconds = ms // 1000
    if abs(seconds) > _MOST_SECONDS:
        return None
    utc = column.timezone in ("UTC", "Etc/UTC")
    if pa.types.is_timestamp(kind) and (kind.tz or utc):
        return pa.scalar(seconds * PER_SECOND[kind.unit], pa.int64()).cast(kind)
    if pa.types.is_date32(kind) and utc:
        return pa.scalar(datetime.datetime.fromtimestamp(seconds, _UTC).date(), kind)
    if pa.types.is_int64(kind) and column.unit in PER_SECOND:
        return pa.scalar(seconds * PER_SECOND[column.unit], kind)
    return None


def _values(block: Block, name: str) -> Sequence[Any] | None:
    """A column's values; None if there is none, or two."""
    if isinstance(block, TableBlock):
        names = block.table.schema.names
        return values_of(block.table.column(name)) if names.count(name) == 1 else None
    return [_value(record, name) for record in block.records()]


def _value(record: Any, name: str) -> Any:
    try:
        return record.get(name, ...)  # which is neither a name nor null: the record fails by itself
    except Exception:  # of a user's class: the record fails by itself
        return None


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
