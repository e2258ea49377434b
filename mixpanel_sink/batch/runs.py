"""Where the events of a chunk, or the records of a block, come from: runs of neighbours.

The origin of the n-th is worked out here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

IN_GLOBAL = ("",)
"""The windows of an element that is in the global one."""


class Run(NamedTuple):
    """Neighbouring events of a chunk that share their origin.

    Attributes:
        count: of events.
        timestamp: Beam's timestamp in microseconds.
        windows: encoded windows of the input element (see `windowing.py`).
        file: the input file, "" if unknown.
        row: the first event's row in the file; the others follow without a gap.
            -1 if unknown.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count
    timestamp: int
    windows: tuple[str, ...]
    file: str = ""
    row: int = -1

    @property
    def place(self) -> tuple[str | None, int | None]:
        """The file and the first row, as results show them: None where unknown."""
        return self.file or None, self.row if self.row >= 0 else None

    def slice(self, start: int, count: int) -> Run:
        """The part that begins at its event `start`."""
        return self._replace(count=count, row=self.row + start if self.row >= 0 else -1)


def join_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The same runs; those that continue each other are joined."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.timestamp == run.timestamp
            and last.windows == run.windows
            and last.file == run.file
            and (last.row < 0) == (run.row < 0)
            and (run.row < 0 or last.row + last.count == run.row)
        ):
            joined[-1] = last._replace(count=last.count + run.count)
        else:
            joined.append(run)
    return tuple(joined)


def cut_runs(runs: Iterable[Run], start: int, stop: int) -> Iterator[Run]:
    """The runs of the events from `start` up to `stop`."""
    at = 0
    for run in runs:
        first, last = max(start, at), min(stop, at + run.count)
        if first < last:
            yield run.slice(first - at, last - first)
        at += run.count


def singles(runs: Iterable[Run]) -> Iterator[Run]:
    """The origin of each event, as a run of one."""
    for run in runs:
        for i in range(run.count):
            yield run.slice(i, 1)


def take_runs(runs: Sequence[Run], numbers: Sequence[int] | np.ndarray[Any, Any]) -> list[Run]:
    """The runs of some events, by their numbers; neighbours that follow each other stay together.

    Raises:
        IndexError: for a number that is out of range.
    """
    wanted = np.asarray(numbers, dtype=np.int64)
    if not len(wanted):
        return []
    starts = np.cumsum([0, *(run.count for run in runs)])
    first, last = int(wanted[0]), int(wanted[-1])
    neighbours = last - first == len(wanted) - 1 and bool((np.diff(wanted) == 1).all())
    if neighbours and first >= 0 and last < starts[-1]:
        return list(cut_runs(runs, first, last + 1))
    if wanted.min() < 0 or wanted.max() >= starts[-1]:
        raise IndexError(f"there are {starts[-1]} events")
    of = np.searchsorted(starts, wanted, "right") - 1
    breaks = np.flatnonzero((np.diff(wanted) != 1) | (np.diff(of) != 0)) + 1
    firsts = np.concatenate([[0], breaks])
    counts = np.diff(np.append(firsts, len(wanted)))
    return [
        runs[run].slice(first, count)
        for run, first, count in zip(
            of[firsts].tolist(),
            (wanted[firsts] - starts[of[firsts]]).tolist(),
            counts.tolist(),
            strict=True,
        )
    ]


def rows_of(runs: Iterable[Run]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Each event's row in its file; all rows must be known."""
    return np.concatenate([np.arange(run.row, run.row + run.count) for run in runs])
