"""What the emulator keeps, in SQLite: events, profile updates, and a row a request.

Every figure that the emulator reports is summed from the request rows, so that it is the same
after a restart with ``--db`` and costs no scan of the events.
"""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from mixpanel_sink.emulator import clock

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    key INTEGER,
    event TEXT NOT NULL,
    distinct_id TEXT,
    insert_id TEXT,
    time INTEGER NOT NULL,
    json BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS updates (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    kind TEXT NOT NULL,
    json BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS requests (
    id INTEGER PRIMARY KEY,
    path TEXT NOT NULL,
    arrived REAL NOT NULL,
    finished REAL,
    status INTEGER,
    project INTEGER,
    quota TEXT,
    events INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    truncated_strings INTEGER NOT NULL,
    without_insert_id INTEGER NOT NULL,
    raw_bytes INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL,
    content_encoding TEXT,
    content_type TEXT,
    user_agent TEXT,
    remote TEXT,
    fault TEXT,
    error TEXT
);
CREATE INDEX IF NOT EXISTS requests_by_arrival ON requests (arrived);
"""
# Made when a query first asks for the column: at three million events each costs every insert
# a few microseconds, and most runs never filter.
_FILTERS = ("event", "distinct_id", "insert_id")


@dataclass(slots=True)
class Entry:
    """One request's row in the log. `status` None: the connection was cut without an answer.

    `arrived` and `finished` are epoch seconds; `finished` is when the answer was ready. `quota`
    is ``counted``, ``refused`` or None (the request does not concern the quota). `accepted` is
    what the answer says was taken, `stored` what was new. `raw_bytes` came over the wire,
    `body_bytes` is their decoded size. Holds no credentials.
    """

    path: str
    arrived: float
    finished: float | None = None
    status: int | None = None
    project: int | None = None
    quota: str | None = None
    events: int = 0
    accepted: int = 0
    failed: int = 0
    duplicates: int = 0
    stored: int = 0
    truncated_strings: int = 0
    without_insert_id: int = 0
    raw_bytes: int = 0
    body_bytes: int = 0
    content_encoding: str | None = None
    content_type: str | None = None
    user_agent: str | None = None
    remote: str | None = None
    fault: str | None = None
    error: str | None = None


class EventRow(NamedTuple):
    """One event to store; `time` in epoch milliseconds, `key` None: never a duplicate."""

    project: int
    key: int | None
    event: str
    distinct_id: str | None
    insert_id: str | None
    time: int
    json: bytes


class UpdateRow(NamedTuple):
    """One profile or group update to store."""

    project: int
    kind: str
    json: bytes


_COLUMNS = [f.name for f in fields(Entry)]
_INSERT_REQUEST = (
    f"INSERT INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
)
_INSERT_EVENT = (
    "INSERT INTO events (request, project, key, event, distinct_id, insert_id, time,"
    " json) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)


def dedupe_key(*parts: object) -> int:
    """A 64-bit key of an event's identity.

    64 bits keep the index small. Two of three million different identities share a key with a
    probability of 2.4e-7.
    """
    text = "\0".join(map(str, parts))
    digest = blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


class Store:
    """The database. Writing methods belong to one thread; reading ones may run in another.

    `path` None keeps it in a temporary file, which `close` removes.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._folder = tempfile.mkdtemp(prefix="mixpanel-emulator-") if path is None else None
        self._path = str(path) if path else os.path.join(str(self._folder), "emulator.db")
        try:
            self._writer = self._connect()
            self._writer.executescript(_SCHEMA)
            self._reader = self._connect()
        except sqlite3.Error:
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
            raise
        # The keys of events live in memory, each with the request that brought it last: random
        # places in an index on disk would be written again with every request.
        self._writer.execute("ATTACH ':memory:' AS known")
        self._writer.execute(
            "CREATE TABLE known.keys (key INTEGER PRIMARY KEY, request INTEGER NOT NULL)"
        )
        self._writer.execute(
            "INSERT OR REPLACE INTO known.keys"
            " SELECT key, request FROM events WHERE key IS NOT NULL ORDER BY seq"
        )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for pragma in (
            "journal_mode=WAL",
            # What a test's emulator stored need not survive the machine's power cut.
            "synchronous=OFF",
            "cache_size=-65536",
            "wal_autocheckpoint=8000",
            "busy_timeout=30000",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def close(self) -> None:
        """Close the database, and remove it if it was temporary."""
        self._reader.close()
        self._writer.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)

    # Writing

    def record(
        self,
        entry: Entry,
        events: Sequence[EventRow] = (),
        updates: Sequence[UpdateRow] = (),
        dedupe_window: float | None = None,
    ) -> int:
        """Store one request with what it brought, in one transaction; return its id.

        Fills in ``entry.stored`` and ``entry.duplicates``. With a `dedupe_window`, in seconds,
        an event is a duplicate only of those that arrived within it.
        """
        db = self._writer
        if entry.finished is None:
            entry.finished = clock.stamp()
        db.execute("BEGIN IMMEDIATE")
        try:
            (request,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM requests").fetchone()
            if events:
                expired = -1
                if dedupe_window is not None:
                    expired = self._last_request(entry.arrived - dedupe_window)
                new = self._new(events, request, expired)
                db.executemany(_INSERT_EVENT, ((request, *event) for event in new))
                entry.stored = len(new)
                entry.duplicates = len(events) - entry.stored
            if updates:
                db.executemany(
                    "INSERT INTO updates (request, project, kind, json) VALUES (?, ?, ?, ?)",
                    ((request, *update) for update in updates),
                )
                entry.stored = len(updates)
            values = [getattr(entry, name) for name in _COLUMNS]
            db.execute(_INSERT_REQUEST, values)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        return int(request)

    def amend(self, request: int, entry: Entry) -> None:
        """Write the entry's columns again: something became known after it was recorded."""
        pairs = ", ".join(f"{name} = ?" for name in _COLUMNS)
        values = [getattr(entry, name) for name in _COLUMNS]
        self._writer.execute(f"UPDATE requests SET {pairs} WHERE id = ?", (*values, request))

    def _new(self, events: Sequence[EventRow], request: int, expired: int) -> Sequence[EventRow]:
        """The events that are no duplicates; their keys are known from now on."""
        # In the order of the keys: neighbours in the tree are found in the cache.
        keys = sorted(event.key for event in events if event.key is not None)
        added = self._writer.executemany(
            "INSERT INTO known.keys VALUES (?, ?) ON CONFLICT (key)"
            " DO UPDATE SET request = excluded.request WHERE request <= ?",
            ((key, request, expired) for key in keys),
        ).rowcount
        if added == len(keys) or not keys:
            return events
        found = self._writer.execute(
            "SELECT key FROM known.keys WHERE request = ?"
            " AND key IN (SELECT value FROM json_each(?))",
            (request, str(keys)),
        )
        fresh = {key for (key,) in found}
        new = []
        for event in events:
            if event.key is None:
                new.append(event)
            elif event.key in fresh:
                fresh.remove(event.key)
                new.append(event)
        return new

    def _last_request(self, before: float) -> int:
        """The last request that arrived before this time, or 0."""
        row = self._writer.execute(
            "SELECT id FROM requests WHERE arrived < ? ORDER BY arrived DESC LIMIT 1", (before,)
        ).fetchone()
        return int(row[0]) if row else 0

    def clear(self) -> None:
        """Forget everything."""
        for table in ("events", "updates", "requests", "known.keys"):
            self._writer.execute(f"DELETE FROM {table}")

    # Reading

    def events(
        self, limit: int = 100, offset: int = 0, filters: Mapping[str, str] = MappingProxyType({})
    ) -> list[bytes]:
        """The JSON of stored events in the order of arrival; filters are exact matches."""
        where = self._where(filters)
        return [
            text
            for (text,) in self._reader.execute(
                f"SELECT json FROM events{where} ORDER BY seq LIMIT ? OFFSET ?",
                (*filters.values(), limit, offset),
            )
        ]

    def _where(self, filters: Mapping[str, str]) -> str:
        for name in filters:
            if name not in _FILTERS:
                raise ValueError(f"events cannot be filtered by {name!r}")
            self._reader.execute(f"CREATE INDEX IF NOT EXISTS by_{name} ON events ({name})")
        return " WHERE " + " AND ".join(f"{name} = ?" for name in filters) if filters else ""

    def updates(self, kind: str, limit: int = 100, offset: int = 0) -> list[bytes]:
        """The JSON of the stored updates of one kind (``engage``, ``groups``), in order."""
        return [
            text
            for (text,) in self._reader.execute(
                "SELECT json FROM updates WHERE kind = ? ORDER BY seq LIMIT ? OFFSET ?",
                (kind, limit, offset),
            )
        ]

    def requests(self, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """The request log's rows in the order in which they were recorded."""
        rows = self._reader.execute(
            f"SELECT id, {', '.join(_COLUMNS)} FROM requests ORDER BY id LIMIT ? OFFSET ?",
            (limit, offset),
        )
        return [dict(zip(("id", *_COLUMNS), row, strict=True)) for row in rows]

    def insert_ids(self, size: int = 10_000) -> Iterator[list[str]]:
        """The ``$insert_id`` of every stored event that has one, in order, in portions."""
        last = 0
        while True:
            rows = self._reader.execute(
                "SELECT seq, insert_id FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
                (last, size),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [insert_id for _, insert_id in rows if insert_id is not None]

    def totals(self) -> dict[str, int]:
        """Sums over all requests that bring events."""
        row = self._reader.execute(
            "SELECT coalesce(sum(stored), 0), coalesce(sum(events), 0),"
            " coalesce(sum(accepted), 0), coalesce(sum(failed), 0),"
            " coalesce(sum(duplicates), 0), coalesce(sum(truncated_strings), 0),"
            " coalesce(sum(without_insert_id), 0) FROM requests"
            " WHERE path IN ('/import', '/track')"
        ).fetchone()
        names = ("events_distinct", "events_received", "events_accepted", "events_failed")
        more = ("duplicates", "truncated_strings", "without_insert_id")
        totals = dict(zip((*names, *more), row, strict=True))
        bytes_ = self._reader.execute(
            "SELECT coalesce(sum(raw_bytes), 0), coalesce(sum(body_bytes), 0) FROM requests"
        ).fetchone()
        totals["raw_bytes"], totals["body_bytes"] = bytes_
        for path in ("/engage", "/groups"):
            (totals[f"{path[1:]}_updates"],) = self._reader.execute(
                "SELECT coalesce(sum(stored), 0) FROM requests WHERE path = ?", (path,)
            ).fetchone()
        return totals

    def statuses(self) -> dict[str, dict[str, int]]:
        """The number of requests by path and by status (``cut``: no answer was given)."""
        result: dict[str, dict[str, int]] = {}
        for path, status, count in self._reader.execute(
            "SELECT path, coalesce(status, 'cut'), count(*) FROM requests GROUP BY 1, 2"
            " ORDER BY 1, 2"
        ):
            result.setdefault(path, {})[str(status)] = count
        return result

    def stamps(self, project: int, *quota: str) -> Iterator[float]:
        """Arrivals at /import, ascending, of requests with one of these `quota` outcomes."""
        marks = ", ".join("?" * len(quota))
        for (arrived,) in self._reader.execute(
            f"SELECT arrived FROM requests WHERE project = ? AND quota IN ({marks})"
            " ORDER BY arrived",
            (project, *quota),
        ):
            yield arrived
