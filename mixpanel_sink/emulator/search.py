"""Finding events by anything in them, newest first, in portions of bounded time.

A search looks at every event: an index of everything would cost each insert more than storing
the event does. It reads the arrays and texts that `texts` describes, some thousand events at a
time, so that a million of them take a fraction of a second.
"""

import itertools
import sqlite3
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from mixpanel_sink.emulator.schema import snapshot
from mixpanel_sink.emulator.texts import SEPARATOR, Texts, joined
from mixpanel_sink.emulator.wanted import Wanted

_GROUP = 4000
"""About how many events are looked at together: their JSON fits into a processor's cache."""
_CASE = 0x20
"""The bit in which the two cases of an ASCII letter differ."""
_TOGETHER = 8_000_000
"""About how many bytes of JSON are looked at together, if the events are large."""
Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Portion:
    """What a portion of a search found.

    `numbers` are the newest matches, `counts` all matches by name and start of their period
    in epoch seconds. Events above `floor` have been searched; `newest` is the highest number
    there was, `floor` 0 means that all have been.
    """

    numbers: list[int]
    counts: dict[str, dict[int, int]]
    matched: int
    floor: int
    newest: int


@dataclass(frozen=True, slots=True)
class _Group:
    """Neighbouring events: their numbers, ascending, and what is in their blocks."""

    numbers: Numbers
    names: list[str]
    codes: Numbers
    times: Numbers
    users: bytes
    ids: bytes


class Search:
    """Searches the events. Belongs to the reading thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._texts = Texts(db)
        self._buffer = bytearray()

    def portion(
        self,
        wanted: Wanted,
        *,
        before: int | None = None,
        above: int = 0,
        limit: int = 100,
        unit: int = 3600,
        seconds: float = 0.4,
    ) -> Portion:
        """Search for about `seconds`, downwards from `before` (exclusive) to `above`."""
        with snapshot(self._db):
            return self._portion(wanted, before, above, limit, unit, seconds)

    def _portion(
        self,
        wanted: Wanted,
        before: int | None,
        above: int,
        limit: int,
        unit: int,
        seconds: float,
    ) -> Portion:
        (newest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        top = min(newest, before - 1) if before is not None else newest
        numbers: list[int] = []
        counts: dict[str, dict[int, int]] = {}
        matched, deadline = 0, time.monotonic() + seconds
        while top > above and time.monotonic() < deadline:
            group = self._group(above, top)
            if group is None:
                top = above
                break
            fits = self._fitting(group, wanted, above, top)
            found = group.numbers[fits]
            numbers += found[::-1][: limit - len(numbers)].tolist()
            matched += len(found)
            _count(counts, group, fits, unit)
            top = int(group.numbers[0]) - 1
        return Portion(numbers, counts, matched, max(top, above), newest)

    def all(self, wanted: Wanted) -> Iterator[list[bytes]]:
        """The JSON of every event that fits, oldest first, in portions."""
        (newest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        for floor in range(0, newest, _GROUP):
            top = min(newest, floor + _GROUP)
            with snapshot(self._db):
                group = self._group(floor, top, whole=True)
                if group is None:
                    continue
                fits = self._fitting(group, wanted, floor, top)
                texts = list(self._texts.of(group.numbers[fits].tolist()).values())
            yield texts

    def _group(self, above: int, top: int, *, whole: bool = False) -> _Group | None:
        """The events from `top` downwards to `above` (exclusive): some thousands, or all."""
        rows: list[tuple[Any, ...]] = []
        events = 0
        for row in self._db.execute(
            "SELECT first, count, names, codes, times, users, ids FROM blocks"
            " WHERE first <= ? ORDER BY first DESC",
            (top,),
        ):
            if row[0] + row[1] - 1 <= above:
                break
            rows.append(row)
            events += row[1]
            if events >= _GROUP and not whole:
                break
        return _together(rows[::-1]) if rows else None

    def _fitting(self, group: _Group, wanted: Wanted, above: int, top: int) -> Mask:
        """Which events of the group, with numbers above the one and up to the other, fit."""
        fits: Mask = (group.numbers > above) & (group.numbers <= top)
        if wanted.event is not None:
            codes = group.names.index(wanted.event) if wanted.event in group.names else -1
            fits &= group.codes == codes
        if wanted.since is not None:
            fits &= group.times >= wanted.since
        if wanted.until is not None:
            fits &= group.times < wanted.until
        for id, ids in ((wanted.distinct_id, group.users), (wanted.insert_id, group.ids)):
            if id is not None:
                fits &= _having_id(ids, id, len(fits))
        if wanted.text and fits.any():
            fits &= self._having_text(group, wanted.needles())
        if fits.any() and (exactly := wanted.exactly() or self._some_deleted()):
            fits &= np.isin(group.numbers, self._rows(group, exactly))
        return fits

    def _having_text(self, group: _Group, needles: list[bytes]) -> Mask:
        """Which events have one of the needles in their JSON, in any case of ASCII letters."""
        first, last = int(group.numbers[0]), int(group.numbers[-1])
        found: Mask = np.zeros(len(group.numbers), dtype=np.bool_)
        rows = self._db.execute(
            "SELECT sizes, json FROM texts WHERE first >= ? AND first <= ? ORDER BY first",
            (first, last),
        )
        start = 0
        for sizes, text in _put_together(rows):
            folded = self._folded(text)
            ends = np.cumsum(sizes, dtype=np.int64).tolist()
            part = found[start : start + len(sizes)]
            for needle in needles:
                part[list(_having(needle, text, folded, ends))] = True
            start += len(sizes)
        return found

    def _folded(self, text: bytes) -> bytearray:
        """The text in one case of letters, as long as the next one is not asked for."""
        if len(self._buffer) < len(text):
            self._buffer = bytearray(2 * len(text))
        out = np.frombuffer(self._buffer, dtype=np.uint8)
        np.bitwise_or(np.frombuffer(text, dtype=np.uint8), _CASE, out=out[: len(text)])
        return self._buffer

    def _some_deleted(self) -> bool:
        return self._db.execute("SELECT 1 FROM deletions LIMIT 1").fetchone() is not None

    def _rows(self, group: _Group, exactly: dict[str, Any] | bool) -> Numbers:
        """The numbers of the group's events that the table has with exactly these values."""
        values = exactly if isinstance(exactly, dict) else {}
        # The sign keeps SQLite from an index: the range of numbers is what is walked.
        where = "".join(f" AND +{name} = ?" for name in values)
        rows = self._db.execute(
            f"SELECT seq FROM events WHERE seq >= ? AND seq <= ?{where}",
            (int(group.numbers[0]), int(group.numbers[-1]), *values.values()),
        )
        return np.fromiter((number for (number,) in rows), dtype=np.int64)


def _put_together(rows: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[Numbers, bytes]]:
    """Neighbouring pieces of JSON as few, each with the sizes of its events."""
    pieces: list[tuple[bytes, bytes]] = []
    size = 0
    for row in itertools.chain(rows, [None]):
        if pieces and (row is None or size + len(row[1]) > _TOGETHER):
            sizes = np.frombuffer(b"".join(each for each, _ in pieces), dtype=np.uint32)
            yield sizes.astype(np.int64), b"".join(json for _, json in pieces)
            pieces, size = [], 0
        if row is not None:
            pieces.append(row)
            size += len(row[1])


def _together(rows: Sequence[tuple[Any, ...]]) -> _Group:
    """One group of neighbouring blocks."""
    known: dict[str, int] = {}
    codes: list[Numbers] = []
    numbers: list[Numbers] = []
    for first, count, names, raw, *_ in rows:
        own = np.array([known.setdefault(name, len(known)) for name in orjson.loads(names)])
        chosen = np.zeros(count, dtype=np.uint32) if raw is None else np.frombuffer(raw, np.uint32)
        codes.append(own[chosen])
        numbers.append(np.arange(first, first + count))
    return _Group(
        numbers=np.concatenate(numbers),
        names=list(known),
        codes=np.concatenate(codes),
        times=np.frombuffer(b"".join(row[4] for row in rows), dtype=np.int64),
        users=b"".join(row[5] for row in rows),
        ids=b"".join(row[6] for row in rows),
    )


def _having_id(ids: bytes, id: str, size: int) -> Mask:
    """Which of the joined ids are this one."""
    fits: Mask = np.zeros(size, dtype=np.bool_)
    separator = SEPARATOR.encode()
    ids, needle = separator + ids, separator + joined([id])
    at, index, counted = ids.find(needle), 0, 0
    while at >= 0:
        index += ids.count(separator, counted, at)
        fits[index] = True
        counted, at = at, ids.find(needle, at + 1)
    return fits


def _having(needle: bytes, text: bytes, folded: bytearray, ends: list[int]) -> Iterator[int]:
    """Which of the events, whose JSON ends at `ends`, have the needle, in any case of letters."""
    lower, size = needle.lower(), len(needle)
    wanted = bytes(byte | _CASE for byte in needle)
    # Letters, digits and most signs are equal exactly if they are equal without the bit; a tab and
    # the ends of lines, which JSON may have between its parts, are ")", "*" and "-" with it.
    sure = all(
        (byte < 0x40 and byte not in b")*-") or (chr(byte).isalpha() and byte < 0x80)
        for byte in needle
    )
    at = folded.find(wanted, 0, ends[-1])
    while at >= 0:
        index = bisect_right(ends, at)
        end = ends[index]
        if at + size <= end and (sure or text[at : at + size].lower() == lower):
            yield index
            at = folded.find(wanted, end, ends[-1])
        else:
            at = folded.find(wanted, at + 1, ends[-1])


def _count(counts: dict[str, dict[int, int]], group: _Group, chosen: Mask, unit: int) -> None:
    """Add the chosen events by their names and periods of so many seconds."""
    periods = group.times[chosen] // (unit * 1000)
    if not len(periods):
        return
    low = periods.min()
    width = int(periods.max() - low) + 1
    both, sums = np.unique(group.codes[chosen] * width + (periods - low), return_counts=True)
    for pair, sum in zip(both.tolist(), sums.tolist(), strict=True):
        of_name = counts.setdefault(group.names[pair // width], {})
        start = (pair % width + int(low)) * unit
        of_name[start] = of_name.get(start, 0) + sum
