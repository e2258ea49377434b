"""What is known of events beside their JSON, as arrays: for searching and counting millions.

`texts` writes a block for each request.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mixpanel_sink.emulator.schema import snapshot

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]
_COUNTED = 50_000
"""How many events are counted together."""
_COLUMNS = "first, count, request, projects, owners, names, codes, times"


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring events: their numbers, ascending, and what their blocks tell of each.

    `codes` are places in `names`, `alive` those that are not deleted.
    """

    numbers: Numbers
    alive: Mask
    requests: Numbers
    projects: Numbers
    names: list[str]
    codes: Numbers
    times: Numbers

    def count(self, chosen: Mask, seconds: int) -> Iterator[tuple[int, str, int, int]]:
        """The chosen events by project, name and start of the period of so many seconds.

        Each with its count; the start in epoch seconds.
        """
        for project in np.unique(self.projects[chosen]).tolist():
            own = chosen & (self.projects == project)
            periods = self.times[own] // (seconds * 1000)
            low = int(periods.min())
            width = int(periods.max()) - low + 1
            places = self.codes[own] * width + (periods - low)
            for place, count in zip(*_counted(places, len(self.names) * width), strict=True):
                start = (place % width + low) * seconds
                yield project, self.names[place // width], start, count


def _counted(places: Numbers, size: int) -> tuple[list[int], list[int]]:
    """The different places, each with how often it is there."""
    if size > 4 * len(places):
        found, counts = np.unique(places, return_counts=True)
    else:
        every = np.bincount(places, minlength=size)
        found = np.flatnonzero(every)
        counts = every[found]
    return found.tolist(), counts.tolist()


def counted(
    db: sqlite3.Connection, after: int, seconds: int
) -> Iterator[tuple[int, list[tuple[int, str, int, int]]]]:
    """Count the events with numbers above `after`, some thousand at a time.

    Each time the last number that has been counted, and what `Group.count` gives.
    """
    row = db.execute("SELECT first + count - 1 FROM blocks ORDER BY first DESC LIMIT 1").fetchone()
    newest = row[0] if row else 0
    while after < newest:
        with snapshot(db):
            group = read(db, after, newest, _COUNTED)
        if group is None:
            return
        chosen = group.alive & (group.numbers > after)
        after = int(group.numbers[-1])
        yield after, list(group.count(chosen, seconds))


def read(
    db: sqlite3.Connection, above: int, top: int, events: int, *, newest_first: bool = False
) -> Group | None:
    """About so many of the events with numbers above the one and up to the other.

    Whole blocks, which may have events outside of these bounds; None: there are none.
    """
    rows = db.execute(
        f"SELECT {_COLUMNS} FROM blocks WHERE first <= ? AND first >= coalesce("
        "(SELECT max(first) FROM blocks WHERE first <= ?), 0)"
        f" ORDER BY first {'DESC' if newest_first else 'ASC'}",
        (top, above + 1),
    )
    found = _some(rows, events)
    return _together(db, found[::-1] if newest_first else found) if found else None


def _some(rows: sqlite3.Cursor, events: int) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for row in rows:
        found.append(row)
        events -= row[1]
        if events <= 0:
            break
    return found


def _together(db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> Group:
    known: dict[str, int] = {}
    numbers, codes, projects = [], [], []
    for first, count, _, owners, own, names, raw, _ in rows:
        places = np.array([known.setdefault(name, len(known)) for name in orjson.loads(names)])
        codes.append(_chosen(places, raw, count))
        projects.append(_chosen(np.array(orjson.loads(owners)), own, count))
        numbers.append(np.arange(first, first + count))
    every = np.concatenate(numbers)
    gone = db.execute("SELECT seq FROM gone WHERE seq >= ? AND seq <= ?", _ends(every)).fetchall()
    return Group(
        numbers=every,
        alive=np.isin(every, [seq for (seq,) in gone], invert=True)
        if gone
        else np.ones(len(every), dtype=np.bool_),
        requests=np.repeat([row[2] for row in rows], [row[1] for row in rows]),
        projects=np.concatenate(projects),
        names=list(known),
        codes=np.concatenate(codes),
        times=np.frombuffer(b"".join(row[7] for row in rows), dtype=np.int64),
    )


def _chosen(values: Numbers, codes: bytes | None, count: int) -> Numbers:
    """The values of a block's events; without codes they have the same one."""
    if codes is None:
        return np.repeat(values, count)
    chosen: Numbers = values[np.frombuffer(codes, dtype=np.uint32)]
    return chosen


def _ends(numbers: Numbers) -> tuple[int, int]:
    return int(numbers[0]), int(numbers[-1])
