"""The users that a `Shape` keeps: the same ones in every run and file."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.encode.hashing import blake3_hex
from mixpanel_sink.settings.shape import Sample

_SHARES = 1_000_000
"""A sample is exact to so many parts of all users."""
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def sampled(column: Any, sample: Sample, count: int) -> Mask:
    """The rows whose users are in the sample, and those without a user, left to later steps."""
    if column is None:
        return np.ones(count, bool)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = pc.cast(column, pa.string())
    else:
        texts = pa.array([_shown(value) for value in values_of(column)], pa.string())
    frame: Any = pl.from_arrow(pa.table({"v": texts}))
    hashed = frame.select(blake3_hex(pl.col("v"), 8))["v"]
    share = hashed.str.to_integer(base=16, strict=False) % _SHARES
    mask = (share < round(sample.percent / 100 * _SHARES)).fill_null(True)
    return mask.to_numpy()


def _shown(value: Any) -> str | None:
    try:
        return None if value is None else str(value)
    except (ArithmeticError, ValueError):  # a year that Python does not have
        return None
