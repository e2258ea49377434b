"""INT96, the timestamps of Spark, Hive and Impala: nanoseconds of any year, read without a loss.

Arrow has no type for them: its nanoseconds end in the years 1677 and 2262, its microseconds lose
three digits. pyarrow reads a column as either, and where a year does not fit its nanoseconds wrap
around. So each is read as both: what differs beyond the microseconds are the lost digits, whatever
the year. A batch gets the type that holds all of its values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

_FIRST_US, _LAST_US = -(2**63) // 1000 + 1, (2**63 - 1) // 1000 - 1
"""Microseconds that nanoseconds of 64 bits hold, whatever the last three digits are."""


@dataclasses.dataclass(frozen=True)
class Inexact:
    """Stands for a row that neither type holds.

    Attributes:
        column: the first with such a value.
    """

    column: str


def int96_columns(coarse: pa.Schema, fine: pa.Schema) -> list[str]:
    """Columns that are or hold INT96: their types follow the unit that is asked for."""
    pairs = zip(coarse, fine, strict=True)
    return [one.name for one, other in pairs if one.type != other.type]


def with_nanoseconds(
    batches: Iterable[pa.RecordBatch], fine: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch | Inexact]:
    """Batches in which INT96 columns keep their digits.

    Args:
        batches: with INT96 as microseconds.
        fine: the same rows of the INT96 columns, as nanoseconds, in batches of the same lengths.
    """
    for coarse, digits in zip(batches, fine, strict=True):
        yield from _exactly(coarse, digits)


def _exactly(coarse: pa.RecordBatch, fine: pa.RecordBatch) -> Iterator[pa.RecordBatch | Inexact]:
    chosen = coarse
    for name in fine.schema.names:
        place = coarse.schema.get_field_index(name)
        if place < 0:  # two columns of one name, which fail later
            continue
        digits, fits = _needs(coarse.column(place), fine.column(name))
        if digits and fits:
            chosen = chosen.set_column(place, name, fine.column(name))
        elif digits and len(coarse) == 1:
            yield Inexact(name)
            return
        elif digits:
            half = len(coarse) // 2
            yield from _exactly(coarse.slice(0, half), fine.slice(0, half))
            yield from _exactly(coarse.slice(half), fine.slice(half))
            return
    yield chosen


def _needs(coarse: pa.Array, fine: pa.Array) -> tuple[bool, bool]:
    """Whether some value has digits beyond microseconds, and whether nanoseconds hold them all."""
    digits, fits = False, True
    for one, other in zip(_leaves(coarse), _leaves(fine), strict=True):
        us, ns = _numbers(one), _numbers(other)
        digits |= bool((us * 1000 != ns).any())  # NumPy's integers wrap around as pyarrow's do
        fits &= not len(us) or bool(us.min() >= _FIRST_US and us.max() <= _LAST_US)
    return digits, fits


def _numbers(timestamps: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    numbers: Any = timestamps.drop_null().cast(pa.int64()).to_numpy()
    return numbers


def _leaves(array: pa.Array) -> Iterator[pa.Array]:
    """The timestamps in an array, its own or those in what it holds."""
    kind = array.type
    if pa.types.is_timestamp(kind):
        yield array
    elif not pa.types.is_nested(kind):
        return
    elif pa.types.is_struct(kind):
        for place in range(kind.num_fields):
            yield from _leaves(array.field(place))
    elif pa.types.is_fixed_size_list(kind):
        size = kind.list_size
        yield from _leaves(array.values.slice(array.offset * size, len(array) * size))
    elif len(array):  # a list or a map
        start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        yield from _leaves(array.values.slice(start, end - start))
