"""Finding events by anything in them, newest first, in portions of bounded time.

A search looks at every event: an index of everything would cost each insert more than storing
the event does. It reads the arrays and texts that `texts` describes, some thousand events at a
time, so that a million of them take a fraction of a second.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from mixpanel_sink.emulator import blocks
from mixpanel_sink.emulator.blocks import Group, Mask, Numbers
from mixpanel_sink.emulator.schema import snapshot
from mixpanel_sink.emulator.texts import SEPARATOR, Texts, joined
from mixpanel_sink.emulator.wanted import Wanted

_GROUP = 8000
"""About how many events are looked at together: their JSON fits into a processor's cache."""
_CASE = 0x20
"""The bit in which the two cases of an ASCII letter differ."""
_TOGETHER = 8_000_000
"""About how many bytes of JSON are looked at together, if the events are large."""
_NOTHING: Numbers = np.zeros(1, dtype=np.int64)
_Kept = tuple[int, np.ndarray[tuple[int], np.dtype[np.uint32]], bytes]
"""A piece: the place of its first event, where the JSON of each of its events ends, all of it."""


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
        newest = self._texts.last()
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
        newest = self._texts.last()
        for floor in range(0, newest, _GROUP):
            top = min(newest, floor + _GROUP)
            with snapshot(self._db):
                group = blocks.read(self._db, floor, top, newest)
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
        if (wanted.distinct_id, wanted.insert_id) != (None, None) and fits.any():
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
        asked = (wanted.distinct_id, wanted.insert_id)
        for id, ids in zip(asked, joined_ids, strict=True):
            if id is not None:
                found &= _having_id(ids, id, len(found))
        if found.any():
            found &= self._having_exactly(group, asked)
        return found

    def _having_exactly(self, group: Group, asked: tuple[str | None, str | None]) -> Mask:
        """Which events have these ids, of those that do by their joined ids."""
        unusual = any(SEPARATOR in id for id in asked if id is not None)
        found: Mask = np.full(len(group.numbers), not unusual)
        rows = self._db.execute(
            "SELECT first, exact FROM ids WHERE first >= ? AND first <= ? AND exact IS NOT NULL",
            (int(group.numbers[0]), int(group.numbers[-1])),
        )
        for first, exact in rows:
            at = first - int(group.numbers[0])
            for index, ids in enumerate(zip(*orjson.loads(exact), strict=True), start=at):
                pairs = zip(asked, ids, strict=True)
                found[index] = all(id is None or id == own for id, own in pairs)
        return found

    def _having_text(self, group: Group, needles: list[bytes]) -> Mask:
        """Which events have one of the needles in their JSON, in any case of ASCII letters."""
        first, last = int(group.numbers[0]), int(group.numbers[-1])
        found: Mask = np.zeros(len(group.numbers), dtype=np.bool_)
        rows = self._db.execute(
            "SELECT ends, json FROM texts WHERE first >= ? AND first <= ? ORDER BY first",
            (first, last),
        )
        start, doubtful = 0, {byte for needle in needles for byte in _doubtful(needle)}
        for folded, kept in self._folded(rows, doubtful):
            part = found[start : start + len(folded)]
            for needle in needles:
                part |= _having(needle, folded, kept)
            start += len(folded)
        return found

    def _folded(
        self, rows: Iterable[tuple[bytes, bytes]], doubtful: set[int]
    ) -> Iterator[tuple[pl.Series, list[_Kept]]]:
        """The texts in one case of letters, as long as the next ones are not asked for.

        Beside them pieces, as they are, that have one of the doubtful bytes.
        """
        places, at = [_NOTHING], 0
        kept: list[_Kept] = []
        for raw, text in rows:
            if at and at + len(text) > _TOGETHER:
                yield self._series(places), kept
                places, kept, at = [_NOTHING], [], 0
            ends = np.frombuffer(raw, dtype=np.uint32)
            if any(byte in text for byte in doubtful):
                kept.append((sum(map(len, places)) - 1, ends, text))
            if len(self._buffer) < at + len(text):
                self._buffer = bytearray(max(_TOGETHER, len(text)))
            out = np.frombuffer(self._buffer, dtype=np.uint8)[at : at + len(text)]
            np.bitwise_or(np.frombuffer(text, dtype=np.uint8), _CASE, out=out)
            places.append(ends.astype(np.int64) + at)
            at += len(text)
        if at:
            yield self._series(places), kept

    def _series(self, places: list[Numbers]) -> pl.Series:
        """What the buffer holds between these places."""
        together = np.concatenate(places)
        buffers = [None, pa.py_buffer(together), pa.py_buffer(self._buffer)]
        texts = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(together) - 1, buffers)
        return pl.Series(pl.from_arrow(texts))


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


def _doubtful(needle: bytes) -> set[int]:
    """Bytes that are among the needle's where the bit of the case is left out.

    Letters are equal exactly if they are equal without it; and no JSON has most of the control
    characters, which digits and most signs could be taken for.
    """
    return {
        byte ^ _CASE
        for byte in needle
        if not (byte < 0x80 and chr(byte).isalpha()) and (not 0x20 <= byte < 0x40 or byte in b")*-")
    }


def _having(needle: bytes, folded: pl.Series, kept: list[_Kept]) -> Mask:
    """Which of the events have the needle in their JSON, in any case of ASCII letters."""
    found: Mask = folded.bin.contains(bytes(byte | _CASE for byte in needle)).to_numpy()
    if not kept or not _doubtful(needle):
        return found
    exact, lower = found.copy(), needle.lower()
    for first, ends, text in kept:
        starts = np.append(0, ends).tolist()
        for index in np.flatnonzero(found[first : first + len(ends)]).tolist():
            exact[first + index] = lower in text[starts[index] : starts[index + 1]].lower()
    return exact
