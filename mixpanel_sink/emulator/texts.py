"""The events' JSON, and what a search looks at, in pieces that are quick to write and to scan.

Events are numbered in the order of their arrival. The JSON of a request's events lies in one piece,
of which a search reads all and a look at one event only its own bytes. Beside it, a block holds
their names, times and keys as plain arrays, and the ids of users and events.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, count, repeat
from typing import Any

import orjson

from mixpanel_sink.emulator.rows import EventRow, Events

SEPARATOR = "\0"
_ROW = "(?, ?, ?, ?, ?, ?, ?)"
_AT_ONCE = 50
"""Rows in a statement: many take little more than half of the time."""
_INSERT = "INSERT INTO events VALUES "


class Texts:
    """Reads and writes the JSON of events. Belongs to one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, request: int, new: Sequence[EventRow] | Events) -> None:
        """Store a request's new events under numbers that no event has had before."""
        events = Events.of(new)
        first = self._next()
        names, users, ids = events.names, events.distinct_ids, events.insert_ids
        rows = zip(
            *(count(first), repeat(request), events.projects, names, users, ids, events.times),
            strict=False,
        )
        self._add_rows(list(rows))
        ends = array("I", accumulate(map(len, events.texts))).tobytes()
        self._db.execute(
            "INSERT INTO texts VALUES (?, ?, ?)", (first, ends, b"".join(events.texts))
        )
        self._db.execute(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(first, len(events), request, *_coded(events.projects), *_coded(names)),
                array("q", events.times).tobytes(),
                array("q", [key or 0 for key in events.keys]).tobytes(),
            ),
        )
        self._db.execute("INSERT INTO ids VALUES (?, ?, ?)", (first, joined(users), joined(ids)))

    def _add_rows(self, rows: list[tuple[Any, ...]]) -> None:
        whole = len(rows) - len(rows) % _AT_ONCE
        many = (rows[at : at + _AT_ONCE] for at in range(0, whole, _AT_ONCE))
        self._db.executemany(
            _INSERT + ", ".join([_ROW] * _AT_ONCE), map(list, map(chain.from_iterable, many))
        )
        self._db.executemany(_INSERT + _ROW, rows[whole:])

    def _next(self) -> int:
        row = self._db.execute(
            "SELECT first + count FROM blocks ORDER BY first DESC LIMIT 1"
        ).fetchone()
        return row[0] if row else 1

    def of(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """The JSON of events by their numbers."""
        found: dict[int, bytes] = {}
        wanted = sorted(numbers, reverse=True)
        while wanted:
            first, raw = self._db.execute(
                "SELECT first, ends FROM texts WHERE first <= ? ORDER BY first DESC LIMIT 1",
                (wanted[-1],),
            ).fetchone()
            ends = array("I", [0]) + array("I", raw)
            with self._db.blobopen("texts", "json", first, readonly=True) as text:
                while wanted and wanted[-1] < first + len(ends) - 1:
                    start, end = ends[wanted[-1] - first : wanted[-1] - first + 2]
                    text.seek(start)
                    found[wanted.pop()] = text.read(end - start)
        return found

    def keys(self, numbers: Iterable[int]) -> dict[int, int | None]:
        """The keys of events by their numbers; None: the event has none."""
        found: dict[int, int | None] = {}
        first, keys = 0, array("q")
        for number in sorted(numbers):
            if not first <= number < first + len(keys):
                first, raw = self._db.execute(
                    "SELECT first, keys FROM blocks WHERE first <= ? ORDER BY first DESC LIMIT 1",
                    (number,),
                ).fetchone()
                keys = array("q", raw)
            found[number] = keys[number - first] or None
        return found


def _coded(values: Sequence[int] | Sequence[str]) -> tuple[str, bytes | None]:
    """The different values as JSON, and the place of each among them; None: there is only one."""
    known = {value: code for code, value in enumerate(dict.fromkeys(values))}
    codes = array("I", map(known.__getitem__, values)).tobytes() if len(known) > 1 else None
    return orjson.dumps(list(known)).decode(), codes


def joined(ids: Sequence[str | None]) -> bytes:
    """The ids in one text, each with a separator behind it; one in an id is a space."""
    texts = [*[id or "" for id in ids], ""]
    text = SEPARATOR.join(texts)
    if text.count(SEPARATOR) != len(ids):
        text = SEPARATOR.join(id.replace(SEPARATOR, " ") for id in texts)
    return text.encode()
