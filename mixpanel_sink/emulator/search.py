"""Finding events by anything in them, newest first, in portions of bounded time.

A search looks at every event: an index of everything would cost each insert more than storing
the event does. It reads the arrays and texts that `texts` describes, some thousand events at a
time, so that a million of them take a fraction of a second.
"""

import itertools
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mixpanel_sink.emulator import blocks
from mixpanel_sink.emulator.blocks import Group, Mask, Numbers
from mixpanel_sink.emulator.schema import snapshot
from mixpanel_sink.emulator.texts import SEPARATOR, Texts, joined
from mixpanel_sink.emulator.wanted import Wanted

_GROUP = 4000
"""About how many events are looked at together: their JSON fits into a processor's cache."""
_CASE = 0x20
"""The bit in which the two cases of an ASCII letter differ."""
_TOGETHER = 8_000_000
"""About how many bytes of JSON are looked at together, if the events are large."""


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
            group = blocks.read(self._db, above, top, _GROUP, newest_first=True)
            if group is None:
                top = above
                break
            fits = self._fitting(group, wanted, above, top)
            found = group.numbers[fits]
            numbers += found[::-1][: limit - len(numbers)].tolist()
            matched += len(found)
            for _, name, start, count in group.count(fits, unit):
                of_name = counts.setdefault(name, {})
                of_name[start] = of_name.get(start, 0) + count
            top = int(group.numbers[0]) - 1
        return Portion(numbers, counts, matched, max(top, above), newest)

    def all(self, wanted: Wanted) -> Iterator[list[bytes]]:
        """The JSON of every event that fits, oldest first, in portions."""
        (newest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        for floor in range(0, newest, _GROUP):
            top = min(newest, floor + _GROUP)
            with snapshot(self._db):
                group = blocks.read(self._db, floor, top, top - floor + _GROUP)
                if group is None:
                    continue
                fits = self._fitting(group, wanted, floor, top)
                texts = list(self._texts.of(group.numbers[fits].tolist()).values())
            yield texts

    def _fitting(self, group: Group, wanted: Wanted, above: int, top: int) -> Mask:
        """Which events of the group, with numbers above the one and up to the other, fit."""
        fits: Mask = group.alive & (group.numbers > above) & (group.numbers <= top)
        if wanted.event is not None:
            codes = group.names.index(wanted.event) if wanted.event in group.names else -1
            fits &= group.codes == codes
        if wanted.project is not None:
            fits &= group.projects == wanted.project
        if wanted.request is not None:
            fits &= group.requests == wanted.request
        if wanted.since is not None:
            fits &= group.times >= wanted.since
        if wanted.until is not None:
            fits &= group.times < wanted.until
        if wanted.exactly() and fits.any():
            fits &= self._having_ids(group, wanted)
        if wanted.text and fits.any():
            fits &= self._having_text(group, wanted.needles())
        return fits

    def _having_ids(self, group: Group, wanted: Wanted) -> Mask:
        rows = self._db.execute(
            "SELECT users, ids FROM ids WHERE first >= ? AND first <= ? ORDER BY first",
            (int(group.numbers[0]), int(group.numbers[-1])),
        )
        joined_ids = [b"".join(texts) for texts in zip(*rows, strict=True)]
        found: Mask = np.ones(len(group.numbers), dtype=np.bool_)
        for id, ids in zip((wanted.distinct_id, wanted.insert_id), joined_ids, strict=True):
            if id is not None:
                found &= _having_id(ids, id, len(found))
        if found.any():
            found &= np.isin(group.numbers, self._rows(group, wanted.exactly()))
        return found

    def _having_text(self, group: Group, needles: list[bytes]) -> Mask:
        """Which events have one of the needles in their JSON, in any case of ASCII letters."""
        first, last = int(group.numbers[0]), int(group.numbers[-1])
        found: Mask = np.zeros(len(group.numbers), dtype=np.bool_)
        rows = self._db.execute(
            "SELECT sizes, json FROM texts WHERE first >= ? AND first <= ? ORDER BY first",
            (first, last),
        )
        start = 0
        for sizes, text in _put_together(rows):
            ends = np.cumsum(sizes, dtype=np.int64)
            folded = self._folded(text, ends)
            part = found[start : start + len(sizes)]
            for needle in needles:
                part |= _having(needle, text, folded, ends)
            start += len(sizes)
        return found

    def _folded(self, text: bytes, ends: Numbers) -> pl.Series:
        """The texts in one case of letters, as long as the next ones are not asked for."""
        if len(self._buffer) < len(text):
            self._buffer = bytearray(2 * len(text))
        out = np.frombuffer(self._buffer, dtype=np.uint8)
        np.bitwise_or(np.frombuffer(text, dtype=np.uint8), _CASE, out=out[: len(text)])
        offsets = pa.py_buffer(np.append(np.int64(0), ends))
        buffers = [None, offsets, pa.py_buffer(self._buffer)]
        texts = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), buffers)
        return pl.Series(pl.from_arrow(texts))

    def _rows(self, group: Group, exactly: dict[str, Any]) -> Numbers:
        """The numbers of the group's events that the table has with exactly these values."""
        # The sign keeps SQLite from an index: the range of numbers is what is walked.
        where = "".join(f" AND +{name} = ?" for name in exactly)
        rows = self._db.execute(
            f"SELECT seq FROM events WHERE seq >= ? AND seq <= ?{where}",
            (int(group.numbers[0]), int(group.numbers[-1]), *exactly.values()),
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


def _having(needle: bytes, text: bytes, folded: pl.Series, ends: Numbers) -> Mask:
    """Which of the events, whose JSON ends at `ends`, have the needle, in any case of letters."""
    found: Mask = folded.bin.contains(bytes(byte | _CASE for byte in needle)).to_numpy()
    # Letters are equal exactly if they are equal without the bit; other bytes if the text does not
    # have what they are with it. No JSON has most of the control characters.
    sure = all(
        (byte < 0x80 and chr(byte).isalpha())
        or (0x20 <= byte < 0x40 and byte not in b")*-")
        or byte ^ _CASE not in text
        for byte in set(needle)
    )
    if sure:
        return found
    lower, starts = needle.lower(), np.append(np.int64(0), ends)
    exact = np.zeros(len(found), dtype=np.bool_)
    for index in np.flatnonzero(found).tolist():
        exact[index] = lower in text[starts[index] : starts[index + 1]].lower()
    return exact
