"""The JSON texts of events where Polars has written them: not copied, and in few pieces."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import polars as pl

LEAD = "\n,"
"""Stands before every event; see chunk.py."""
_INLINE = 12
"""Arrow keeps texts of up to so many bytes elsewhere."""
_MOST_PIECES = 1000
"""More pieces of a table are put together first."""
Offsets = np.ndarray[Any, np.dtype[np.int64]]


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts of events, each led by "\\n,".

    Attributes:
        offsets: where each begins if all stand one behind the other and, at last, where all end.
        pieces: the memory that holds them, in their order; no text is in two pieces.
    """

    offsets: Offsets
    pieces: tuple[memoryview, ...] = ()

    @classmethod
    def of(cls, texts: pl.Series) -> Texts:
        """From a column without nulls.

        Polars writes texts one behind the other into a few buffers, and keeps for each its size,
        its buffer and its place there. Other forms of Arrow would need a copy of all texts.
        """
        array: Any = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
        if not len(array):
            return cls(np.zeros(1, np.int64))
        _, packed, *buffers = array.buffers()
        views = np.frombuffer(packed, np.int32).reshape(-1, 4)
        views = views[array.offset : array.offset + len(array)]
        sizes, buffer, at = views[:, 0].astype(np.int64), views[:, 2], views[:, 3]
        follows = (buffer[1:] == buffer[:-1]) & (at[1:] == at[:-1] + sizes[:-1])
        breaks = np.flatnonzero(~follows) + 1
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        if sizes.min() <= _INLINE or len(breaks) > _MOST_PIECES:
            return cls._copied(texts, offsets)
        firsts = np.concatenate([[0], breaks])
        ends = np.append(offsets[breaks], offsets[-1]).tolist()
        memory = [memoryview(each).cast("B") for each in buffers]
        pieces = [
            memory[number][place : place + end - start]
            for number, place, start, end in zip(
                buffer[firsts].tolist(),
                at[firsts].tolist(),
                offsets[firsts].tolist(),
                ends,
                strict=True,
            )
        ]
        return cls(offsets, tuple(pieces))

    @classmethod
    def _copied(cls, texts: pl.Series, offsets: Offsets) -> Texts:
        return cls(offsets, (memoryview("".join(texts.to_list()).encode()),))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lines(self, start: int, stop: int) -> list[memoryview]:
        """The texts from one up to another, in pieces."""
        first, last, at = int(self.offsets[start]), int(self.offsets[stop]), 0
        found = []
        for piece in self.pieces:
            if at < last and at + len(piece) > first:
                found.append(piece[max(0, first - at) : last - at])
            at += len(piece)
        return found

    def events(self, start: int = 0, stop: int | None = None) -> list[bytes]:
        """The JSON of the events from one up to another, without what leads them."""
        stop = len(self) if stop is None else stop
        whole = b"".join(self.lines(start, stop))
        ends = (self.offsets[start : stop + 1] - self.offsets[start]).tolist()
        return [whole[a + len(LEAD) : b] for a, b in itertools.pairwise(ends)]
