"""Counts and finds a few bytes in many: faster than `bytes.count` if there are many matches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_PIECE = 1 << 17
"""Bytes that are searched at once, so that the arrays in between stay in the processor's cache."""


def count_of(data: Bytes, mark: bytes) -> int:
    """How often a mark begins; one that may begin within itself counts each time."""
    return sum(int(np.count_nonzero(begins)) for _, begins in _begins(data, mark))


def places_of(data: Bytes, mark: bytes) -> Any:
    """Where a mark begins."""
    return np.concatenate([np.flatnonzero(begins) + at for at, begins in _begins(data, mark)])


def _begins(data: Bytes, mark: bytes) -> Iterator[tuple[int, Any]]:
    for start in range(0, len(data), _PIECE):
        piece = data[start : start + _PIECE + len(mark) - 1]
        begins = piece[len(mark) - 1 :] == mark[-1]
        for at, letter in enumerate(mark[:-1]):
            begins &= piece[at : at + len(begins)] == letter
        yield start, begins


def data_of(array: Any) -> Iterator[Bytes]:
    """The bytes of the texts of an array, or of a column."""
    for chunk in array.chunks if isinstance(array, pa.ChunkedArray) else [array]:
        _, offsets, data = chunk.buffers()
        if data is not None and len(chunk):
            ends = memoryview(offsets).cast("q")
            first, last = ends[chunk.offset], ends[chunk.offset + len(chunk)]
            yield np.frombuffer(data, np.uint8)[first:last]
