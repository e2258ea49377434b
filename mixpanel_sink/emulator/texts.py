"""The events' JSON, and what a search looks at, in pieces that are quick to write and to scan.

Events are numbered in the order of their arrival. The JSON of a request's events lies in one piece,
of which a search reads all and a look at one event only its own bytes. Beside it, a block holds
their names, times and keys as plain arrays, and the ids of users and events.

A row for each event costs as much to store as all of this, and most runs never ask for what only
rows can tell: the table of events is filled from the blocks by the first query that needs it.
"""

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, count, repeat
from typing import Any, cast

import orjson

from mixpanel_sink.emulator.rows import EventRow, Events, Place
from mixpanel_sink.emulator.schema import transaction

SEPARATOR = "\0"
_ROW = "(?, ?, ?, ?, ?, ?, ?)"
_BLOCKS = 50
"""How many blocks' rows are written in one transaction: requests wait for it."""
_AT_ONCE = 50
"""Rows in a statement: many take little more than half of the time."""
_INSERT = "INSERT INTO events VALUES "
_GONE = "SELECT seq FROM gone WHERE seq IN (SELECT value FROM json_each(?))"


class Texts:
    """Reads and writes the JSON of events. Belongs to one connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def add(self, request: int, new: Sequence[EventRow] | Events) -> None:
        """Store a request's new events under numbers that no event has had before."""
        events = Events.of(new)
        first = self.last() + 1
        ends = array("I", accumulate(map(len, events.texts))).tobytes()
        self._db.execute(
            "INSERT INTO texts VALUES (?, ?, ?)", (first, ends, b"".join(events.texts))
        )
        self._db.execute(
            "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(first, len(events), request, *_coded(events.projects), *_coded(events.names)),
                array("q", events.times).tobytes(),
                array("q", [key or 0 for key in events.keys]).tobytes(),
            ),
        )
        users, ids = events.distinct_ids, events.insert_ids
        exact = None if _plain(users) and _plain(ids) else orjson.dumps((users, ids))
        row = (first, joined(users), joined(ids), exact)
        self._db.execute("INSERT INTO ids VALUES (?, ?, ?, ?)", row)

    def fill_table(self) -> None:
        """Bring the table of events up to date."""
        while self._listed() < self.last():
            with transaction(self._db):
                # Another connection may have done it meanwhile.
                blocks = self._db.execute(
                    "SELECT first, count, request, projects, owners, names, codes, times,"
                    " users, ids, exact FROM blocks JOIN ids USING (first)"
                    " WHERE first > ? ORDER BY first LIMIT ?",
                    (self._listed(), _BLOCKS),
                )
                self._add_rows(list(chain.from_iterable(map(_rows_of, blocks))))

    def _listed(self) -> int:
        """The last event that is, or was, in the table: none is deleted that is not."""
        (last,) = self._db.execute(
            "SELECT max(coalesce((SELECT max(seq) FROM events), 0),"
            " coalesce((SELECT max(seq) FROM gone), 0))"
        ).fetchone()
        return int(last)

    def _add_rows(self, rows: list[tuple[Any, ...]]) -> None:
        whole = len(rows) - len(rows) % _AT_ONCE
        many = (rows[at : at + _AT_ONCE] for at in range(0, whole, _AT_ONCE))
        self._db.executemany(
            _INSERT + ", ".join([_ROW] * _AT_ONCE), map(list, map(chain.from_iterable, many))
        )
        self._db.executemany(_INSERT + _ROW, rows[whole:])

    def last(self) -> int:
        """The highest number that an event has, or had; 0: there is none."""
        row = self._db.execute(
            "SELECT first + count - 1 FROM blocks ORDER BY first DESC LIMIT 1"
        ).fetchone()
        return row[0] if row else 0

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

    def places(self, numbers: Iterable[int]) -> dict[int, Place]:
        """Where events came from, by their numbers; only of those that there are."""
        found: dict[int, Place] = {}
        block, first, size = [], 0, 0
        for number in sorted(numbers):
            if not first <= number < first + size:
                row = self._db.execute(
                    "SELECT first, count, request, projects, owners, users, ids, exact"
                    " FROM blocks JOIN ids USING (first) WHERE first <= ?"
                    " ORDER BY first DESC LIMIT 1",
                    (number,),
                ).fetchone()
                if row is None or number >= row[0] + row[1]:
                    continue
                first, size, request, projects, owners, *ids = row
                of, (users, _) = _decoded(projects, owners, size), ids_of(*ids)
                block = list(map(Place, repeat(request), of, users))
            found[number] = block[number - first]
        for (seq,) in self._db.execute(_GONE, (str(list(found)),)):
            del found[seq]
        return found

    def newest(self, before: int, project: int | None = None) -> Iterator[int]:
        """The numbers of events smaller than `before`, of the project, newest first."""
        blocks = self._db.execute(
            "SELECT first, count, projects, owners FROM blocks WHERE first < ? ORDER BY first DESC",
            (before,),
        )
        for first, size, projects, owners in blocks:
            gone = self._db.execute(
                "SELECT seq FROM gone WHERE seq >= ? AND seq < ?", (first, first + size)
            )
            left = set(range(first, min(first + size, before))) - {seq for (seq,) in gone}
            of = _decoded(projects, owners, size) if project is not None else None
            for number in sorted(left, reverse=True):
                if of is None or of[number - first] == project:
                    yield number

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


def _decoded(values: str, codes: bytes | None, size: int) -> list[Any]:
    """The values of so many events, from what `_coded` gave."""
    known = orjson.loads(values)
    return [known[code] for code in array("I", codes)] if codes else known * size


def _rows_of(block: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """A block's rows of the table."""
    first, size, request, projects, owners, names, codes, times, users, ids, exact = block
    return zip(
        *(count(first), repeat(request)),
        *(_decoded(projects, owners, size), _decoded(names, codes, size)),
        *ids_of(users, ids, exact),
        array("q", times),
        strict=False,
    )


def ids_of(users: bytes, ids: bytes, exact: bytes | None) -> tuple[list[str | None], ...]:
    """The ids of a block's users and of its events."""
    if exact is not None:
        return tuple(orjson.loads(exact))
    return tuple([*joined.decode().split(SEPARATOR)[:-1]] for joined in (users, ids))


def _plain(ids: Sequence[str | None]) -> bool:
    """Whether the ids can be told from what `joined` makes of them."""
    return None not in ids and SEPARATOR not in "".join(cast(Sequence[str], ids))


def joined(ids: Sequence[str | None]) -> bytes:
    """The ids in one text, each with a separator behind it; one in an id is a space."""
    texts = [*[id or "" for id in ids], ""]
    text = SEPARATOR.join(texts)
    if text.count(SEPARATOR) != len(ids):
        text = SEPARATOR.join(id.replace(SEPARATOR, " ") for id in texts)
    return text.encode()
