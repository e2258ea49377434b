"""The events' JSON, and what a search looks at, in pieces that are quick to write and to scan.

Events are numbered in the order of their arrival. Their JSON lies in pieces of 64 events: large
enough to read all of them at the speed of the disk's cache, small enough to read one event alone.
Beside them, a block for each request holds names, times and ids as plain arrays.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from itertools import count

import orjson

from mixpanel_sink.emulator.rows import EventRow

PIECE = 64
SEPARATOR = "\0"


class Texts:
    """Reads and writes the JSON of events. Belongs to one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, requests: Iterable[int], events: Sequence[EventRow]) -> None:
        """Store new events, each with its request, under numbers that no event has had before."""
        first = self._next()
        *columns, texts = zip(*events, strict=True)
        _, _, names, users, ids, times = columns
        rows = zip(count(first), requests, *columns, strict=False)
        self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        pieces = (
            (first + start, *_piece(texts[start : start + PIECE]))
            for start in range(0, len(texts), PIECE)
        )
        self._db.executemany("INSERT INTO texts VALUES (?, ?, ?)", pieces)
        known = {name: code for code, name in enumerate(dict.fromkeys(names))}
        codes = array("I", map(known.__getitem__, names)).tobytes() if len(known) > 1 else None
        self._db.execute(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                *(first, len(events), orjson.dumps(list(known)).decode(), codes),
                *(array("q", times).tobytes(), joined(users), joined(ids)),
            ),
        )

    def _next(self) -> int:
        row = self._db.execute(
            "SELECT first + count FROM blocks ORDER BY first DESC LIMIT 1"
        ).fetchone()
        return row[0] if row else 1

    def of(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """The JSON of events by their numbers."""
        found: dict[int, bytes] = {}
        first, sizes, text = 0, array("I"), b""
        for number in sorted(numbers):
            if not first <= number < first + len(sizes):
                first, raw, text = self._db.execute(
                    "SELECT first, sizes, json FROM texts WHERE first <= ?"
                    " ORDER BY first DESC LIMIT 1",
                    (number,),
                ).fetchone()
                sizes = array("I", raw)
            start = sum(sizes[: number - first])
            found[number] = text[start : start + sizes[number - first]]
        return found


def joined(ids: Sequence[str | None]) -> bytes:
    """The ids in one text, each with a separator behind it; one in an id is a space."""
    texts = [*[id or "" for id in ids], ""]
    text = SEPARATOR.join(texts)
    if text.count(SEPARATOR) != len(ids):
        text = SEPARATOR.join(id.replace(SEPARATOR, " ") for id in texts)
    return text.encode()


def _piece(texts: Sequence[bytes]) -> tuple[bytes, bytes]:
    return array("I", map(len, texts)).tobytes(), b"".join(texts)
