"""What the emulator keeps, in SQLite: events, profiles, identities, and a row a request.

Every figure that the emulator reports is summed from the request rows, so that it is the same
after a restart with ``--db`` and costs no scan of the events.
"""

import os
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from mixpanel_sink.emulator import clock, profiles

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
CREATE TABLE IF NOT EXISTS duplicates (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
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
    profile TEXT NOT NULL,
    seen INTEGER,
    geo TEXT,
    json BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS updates_by_profile ON updates (profile, kind, project);
CREATE TABLE IF NOT EXISTS profiles (
    kind TEXT NOT NULL,
    project INTEGER NOT NULL,
    profile TEXT NOT NULL,
    updates INTEGER NOT NULL,
    last_seen INTEGER,
    geo TEXT,
    properties BLOB NOT NULL,
    PRIMARY KEY (kind, project, profile)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identities (
    project INTEGER NOT NULL,
    id TEXT NOT NULL,
    canonical TEXT NOT NULL,
    PRIMARY KEY (project, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS identities_by_canonical ON identities (project, canonical);
CREATE TABLE IF NOT EXISTS links (
    seq INTEGER PRIMARY KEY,
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    event TEXT NOT NULL,
    id TEXT NOT NULL,
    other TEXT NOT NULL,
    ignored TEXT
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
    geo TEXT,
    fault TEXT,
    error TEXT
);
CREATE INDEX IF NOT EXISTS requests_by_arrival ON requests (arrived);
CREATE TABLE IF NOT EXISTS shares (
    request INTEGER NOT NULL,
    project INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    stored INTEGER NOT NULL
);
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
    `body_bytes` is their decoded size. `project` is None for a request to several projects:
    ``shares`` tells how much was whose. `geo` is the address that geolocation takes where a
    record names none; None: it is skipped. Holds no credentials.
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
    geo: str | None = None
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
    """One valid profile or group update to store and apply.

    `profile` is the profile's key, `seen` its new last-seen time in epoch milliseconds, `geo`
    the address for its geolocation; both None: unchanged.
    """

    project: int
    kind: str
    profile: str
    seen: int | None
    geo: str | None
    update: Mapping[str, Any]
    json: bytes


class LinkRow(NamedTuple):
    """What an identity event did: the two ids, and why it had no effect (None: it had)."""

    project: int
    event: str
    id: str
    other: str
    ignored: str | None


class Canonical(NamedTuple):
    """The canonical id of an id's cluster."""

    project: int
    id: str
    canonical: str


class ExportRow(NamedTuple):
    """One event for the raw export, beside what is known of its request."""

    seq: int
    time: int
    distinct_id: str | None
    json: bytes
    arrived: float
    path: str
    geo: str | None


def geolocation(properties: Mapping[str, Any], geo: str | None) -> dict[str, str | None]:
    """Where an event is placed: the address, and where it came from (None: it is skipped)."""
    if "ip" not in properties:
        return {"address": geo, "from": "request" if geo else None}
    ip = properties["ip"]
    if ip in (0, "0", "", None, False):
        return {"address": None, "from": None}
    return {"address": str(ip), "from": "ip"}


_HIGHEST = 2**62
_SEARCHED = 20
"""How many names with the searched beginning are looked up."""
_DEVICE = "$device:"

_COLUMNS = [f.name for f in fields(Entry)]
_INSERT_REQUEST = (
    f"INSERT INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
)
_INSERT_EVENT = (
    "INSERT INTO events (request, project, key, event, distinct_id, insert_id, time,"
    " json) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_DUPLICATE = (
    "INSERT INTO duplicates (request, project, event, distinct_id, insert_id, time, json)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_TABLES = (
    *("events", "duplicates", "updates", "profiles", "identities", "links", "shares"),
    *("requests", "known.keys"),
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
            # A query may have to make an index of millions of events first.
            "busy_timeout=120000",
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
        *,
        keep_duplicates: bool = False,
        links: Sequence[LinkRow] = (),
        canonical: Sequence[Canonical] = (),
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
                new, known = self._sort_out(events, request, expired)
                db.executemany(_INSERT_EVENT, ((request, *event) for event in new))
                entry.stored = len(new)
                entry.duplicates = len(known)
                if known and keep_duplicates:
                    db.executemany(_INSERT_DUPLICATE, ((request, e.project, *e[2:]) for e in known))
                if entry.project is None:
                    self._share_out(request, new, known)
            if updates:
                db.executemany(
                    "INSERT INTO updates (request, project, kind, profile, seen, geo, json)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    ((request, *update[:5], update.json) for update in updates),
                )
                self._apply(updates)
                entry.stored = len(updates)
                if entry.project is None:
                    self._share_out(request, updates, ())
            if links:
                db.executemany(
                    "INSERT INTO links (request, project, event, id, other, ignored)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    ((request, *link) for link in links),
                )
                db.executemany("INSERT OR REPLACE INTO identities VALUES (?, ?, ?)", canonical)
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

    def _sort_out(
        self, events: Sequence[EventRow], request: int, expired: int
    ) -> tuple[Sequence[EventRow], Sequence[EventRow]]:
        """The new events, whose keys are known from now on, and the duplicates."""
        # In the order of the keys: neighbours in the tree are found in the cache.
        keys = sorted(event.key for event in events if event.key is not None)
        added = self._writer.executemany(
            "INSERT INTO known.keys VALUES (?, ?) ON CONFLICT (key)"
            " DO UPDATE SET request = excluded.request WHERE request <= ?",
            ((key, request, expired) for key in keys),
        ).rowcount
        if added == len(keys) or not keys:
            return events, ()
        found = self._writer.execute(
            "SELECT key FROM known.keys WHERE request = ?"
            " AND key IN (SELECT value FROM json_each(?))",
            (request, str(keys)),
        )
        fresh = {key for (key,) in found}
        new, known = [], []
        for event in events:
            if event.key is None:
                new.append(event)
            elif event.key in fresh:
                fresh.remove(event.key)
                new.append(event)
            else:
                known.append(event)
        return new, known

    def _share_out(
        self, request: int, new: Sequence[EventRow | UpdateRow], known: Sequence[EventRow]
    ) -> None:
        stored = Counter(row.project for row in new)
        duplicates = Counter(row.project for row in known)
        self._writer.executemany(
            "INSERT INTO shares VALUES (?, ?, ?, ?, ?)",
            (
                (
                    request,
                    project,
                    stored[project] + duplicates[project],
                    duplicates[project],
                    stored[project],
                )
                for project in stored | duplicates
            ),
        )

    def _apply(self, updates: Sequence[UpdateRow]) -> None:
        """Bring the profiles that the updates concern up to date, in the updates' order."""
        by_place: dict[tuple[str, int], dict[str, list[UpdateRow]]] = {}
        for update in updates:
            place = by_place.setdefault((update.kind, update.project), {})
            place.setdefault(update.profile, []).append(update)
        for (kind, project), by_profile in by_place.items():
            present = {
                name: row
                for name, *row in self._writer.execute(
                    "SELECT profile, properties, updates, last_seen, geo FROM profiles"
                    " WHERE kind = ? AND project = ?"
                    " AND profile IN (SELECT value FROM json_each(?))",
                    (kind, project, orjson.dumps(list(by_profile)).decode()),
                )
            }
            rows, gone = [], []
            for name, changes in by_profile.items():
                text, count, seen, geo = present.get(name, (None, 0, None, None))
                properties = orjson.loads(text) if text else None
                for change in changes:
                    properties = profiles.apply(properties, change.update)
                    if properties is None:
                        count, seen, geo = 0, None, None
                    else:
                        count, seen, geo = count + 1, change.seen or seen, change.geo or geo
                if properties is None:
                    gone.append((kind, project, name))
                else:
                    text = orjson.dumps(properties)
                    rows.append((kind, project, name, count, seen, geo, text))
            self._writer.executemany(
                "INSERT OR REPLACE INTO profiles VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )
            self._writer.executemany(
                "DELETE FROM profiles WHERE kind = ? AND project = ? AND profile = ?", gone
            )

    def _last_request(self, before: float) -> int:
        """The last request that arrived before this time, or 0."""
        row = self._writer.execute(
            "SELECT id FROM requests WHERE arrived < ? ORDER BY arrived DESC LIMIT 1", (before,)
        ).fetchone()
        return int(row[0]) if row else 0

    def clear(self) -> None:
        """Forget everything."""
        for table in _TABLES:
            self._writer.execute(f"DELETE FROM {table}")

    def canonical_ids(self) -> list[Canonical]:
        """Every id that belongs to a cluster; for the writing thread, at the start."""
        rows = self._writer.execute("SELECT project, id, canonical FROM identities")
        return [Canonical(*row) for row in rows]

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
            self._index(name)
        return " WHERE " + " AND ".join(f"{name} = ?" for name in filters) if filters else ""

    def _index(self, name: str) -> None:
        self._reader.execute(f"CREATE INDEX IF NOT EXISTS by_{name} ON events ({name})")

    def find(self, given: Mapping[str, str], limit: int, before: int | None) -> list[int]:
        """The numbers of events, newest first, smaller than `before`.

        `given` are exact matches, beside ``project`` and ``search``: the beginning of an event's
        name, a user's id or an insert id. Each of a few names with that beginning is looked up
        in an index, so that it is quick however many events there are.
        """
        conditions = ["seq < ?"]
        values: list[Any] = [before if before is not None else _HIGHEST]
        for name in _FILTERS:
            if name in given:
                self._index(name)
                conditions.append(f"{name} = ?")
                values.append(given[name])
        if "project" in given:
            # The sign keeps SQLite from looking for an index of the project.
            conditions.append("+project = ?")
            values.append(int(given["project"]))
        found: list[int] = []
        search = given.get("search")
        if not search:
            return self._newest(conditions, values, limit)
        for name in _FILTERS:
            for value in self.beginning(name, search, _SEARCHED):
                matching = self._newest([*conditions, f"{name} = ?"], [*values, value], limit)
                found.extend(matching)
        return sorted(set(found), reverse=True)[:limit]

    def _newest(self, conditions: list[str], values: list[Any], limit: int) -> list[int]:
        where = " AND ".join(conditions)
        rows = self._reader.execute(
            f"SELECT seq FROM events WHERE {where} ORDER BY seq DESC LIMIT ?", (*values, limit)
        )
        return [seq for (seq,) in rows]

    def beginning(self, name: str, start: str, limit: int, after: str = "") -> list[str]:
        """Different values of a column that begin with `start` and follow `after`, in order."""
        if name not in _FILTERS:
            raise ValueError(f"events have no {name!r} to search")
        self._index(name)
        found: list[str] = []
        value, comparison = max(start, after), ">=" if start > after else ">"
        while len(found) < limit:
            row = self._reader.execute(
                f"SELECT {name} FROM events WHERE {name} {comparison} ? ORDER BY {name} LIMIT 1",
                (value,),
            ).fetchone()
            if row is None or not row[0].startswith(start):
                break
            found.append(row[0])
            value, comparison = row[0], ">"
        return found

    def details(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Events by their numbers, in that order, each with what is known beside it."""
        rows = self._reader.execute(
            "SELECT e.seq, e.request, e.project, r.arrived, r.path, r.geo, e.distinct_id, e.json"
            " FROM events e JOIN requests r ON r.id = e.request"
            " WHERE e.seq IN (SELECT value FROM json_each(?))",
            (str(list(numbers)),),
        ).fetchall()
        users: dict[int, dict[str, str]] = {}
        for project in {row[2] for row in rows}:
            ids = {row[6] for row in rows if row[2] == project and row[6] is not None}
            users[project] = self.users_of(project, ids)
        found = {}
        for seq, request, project, arrived, path, geo, distinct_id, text in rows:
            event = orjson.loads(text)
            found[seq] = {
                "seq": seq,
                "request": request,
                "project": project,
                "endpoint": path,
                "arrived": arrived,
                "user": users[project].get(distinct_id, distinct_id),
                "geolocation": geolocation(event["properties"], geo),
                "event": event,
            }
        return [found[seq] for seq in numbers if seq in found]

    def updates(self, kind: str, limit: int = 100, offset: int = 0) -> list[bytes]:
        """The JSON of the stored updates of one kind (``engage``, ``groups``), in order."""
        return [
            text
            for (text,) in self._reader.execute(
                "SELECT json FROM updates WHERE kind = ? ORDER BY seq LIMIT ? OFFSET ?",
                (kind, limit, offset),
            )
        ]

    def profiles(
        self, kind: str, limit: int, offset: int, search: str = "", project: int | None = None
    ) -> list[dict[str, Any]]:
        """Profiles by their ids, those that contain `search`."""
        rows = self._reader.execute(
            "SELECT project, profile, updates, last_seen, geo, properties FROM profiles"
            " WHERE kind = ? AND (? IS NULL OR project = ?)"
            " AND (? = '' OR instr(profile, ?) OR instr(CAST(properties AS TEXT), ?))"
            " ORDER BY project, profile LIMIT ? OFFSET ?",
            (kind, project, project, search, search, search, limit, offset),
        )
        return [
            {
                "project": project,
                **profiles.names(kind, name),
                "properties": orjson.loads(properties),
                "updates": updates,
                "last_seen": last_seen,
                "geolocation": geo,
            }
            for project, name, updates, last_seen, geo, properties in rows
        ]

    def operations(self, kind: str, project: int, names: Sequence[str]) -> list[dict[str, Any]]:
        """The updates of these profiles in the order in which they were applied."""
        rows = self._reader.execute(
            "SELECT u.seq, u.request, r.arrived, u.geo, u.json FROM updates u"
            " JOIN requests r ON r.id = u.request"
            " WHERE u.profile IN (SELECT value FROM json_each(?)) AND u.kind = ?"
            " AND u.project = ? ORDER BY u.seq",
            (orjson.dumps(list(names)).decode(), kind, project),
        )
        names_ = ("seq", "request", "arrived", "geolocation")
        return [
            {**dict(zip(names_, row, strict=True)), "update": orjson.loads(text)}
            for *row, text in rows
        ]

    # Identities

    def users_of(self, project: int, ids: Collection[str]) -> dict[str, str]:
        """The canonical id of each of the ids that has another than itself."""
        if not ids or not self._reader.execute("SELECT 1 FROM identities LIMIT 1").fetchone():
            return {}
        plain = {id: id.removeprefix(_DEVICE) for id in ids}
        rows = self._reader.execute(
            "SELECT id, canonical FROM identities WHERE project = ?"
            " AND id IN (SELECT value FROM json_each(?))",
            (project, orjson.dumps(list(set(plain.values()))).decode()),
        )
        canonical = dict(rows.fetchall())
        found = {id: canonical[name] for id, name in plain.items() if name in canonical}
        return {id: user for id, user in found.items() if id != user}

    def cluster(self, project: int, id: str) -> tuple[str, list[str]]:
        """The canonical id of the user that has this id, and all of the user's ids."""
        row = self._reader.execute(
            "SELECT canonical FROM identities WHERE project = ? AND id = ?",
            (project, id.removeprefix(_DEVICE)),
        ).fetchone()
        if row is None:
            return id, [id]
        members = self._reader.execute(
            "SELECT id FROM identities WHERE project = ? AND canonical = ? ORDER BY id",
            (project, row[0]),
        )
        others = [member for (member,) in members if member != row[0]]
        return row[0], [row[0], *others]

    def links(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """What the identity events did, newest first."""
        rows = self._reader.execute(
            "SELECT seq, request, project, event, id, other, ignored FROM links"
            " ORDER BY seq DESC LIMIT ? OFFSET ?",
            (limit, offset),
        )
        names = ("seq", "request", "project", "event", "id", "other", "ignored")
        return [dict(zip(names, row, strict=True)) for row in rows]

    def user_events(
        self, project: int, ids: Sequence[str], limit: int, offset: int
    ) -> tuple[int, list[int]]:
        """How many events these ids have, and the numbers of some, newest first."""
        self._index("distinct_id")
        names = orjson.dumps([name for id in ids for name in {id, _DEVICE + id}]).decode()
        where = "distinct_id IN (SELECT value FROM json_each(?)) AND +project = ?"
        (count,) = self._reader.execute(
            f"SELECT count(*) FROM events WHERE {where}", (names, project)
        ).fetchone()
        rows = self._reader.execute(
            f"SELECT seq FROM events WHERE {where} ORDER BY seq DESC LIMIT ? OFFSET ?",
            (names, project, limit, offset),
        )
        return count, [seq for (seq,) in rows]

    # The raw export

    def export(
        self, project: int, since: int, until: int, names: Sequence[str] | None, size: int
    ) -> Iterator[list["ExportRow"]]:
        """Events and duplicates with a time from `since` to before `until`, in portions.

        Nothing is held between two portions, so that a slow reader does not keep the database's
        log from being folded in.
        """
        chosen = "" if names is None else " AND e.event IN (SELECT value FROM json_each(?))"
        extra = () if names is None else (orjson.dumps(list(names)).decode(),)
        for table in ("events", "duplicates"):
            self._reader.execute(
                f"CREATE INDEX IF NOT EXISTS {table}_by_time ON {table} (project, time)"
            )
            time, seq = since, -1
            while True:
                rows = self._reader.execute(
                    "SELECT e.seq, e.time, e.distinct_id, e.json, r.arrived, r.path, r.geo"
                    f" FROM {table} e CROSS JOIN requests r ON r.id = e.request"
                    f" WHERE e.project = ? AND (e.time, e.seq) > (?, ?) AND e.time < ?{chosen}"
                    " ORDER BY e.time, e.seq LIMIT ?",
                    (project, time, seq, until, *extra, size),
                ).fetchall()
                if not rows:
                    break
                seq, time = rows[-1][:2]
                yield [ExportRow(*row) for row in rows]

    # The request log and sums

    def requests(
        self,
        limit: int = 100,
        offset: int = 0,
        *,
        newest: bool = False,
        filters: Mapping[str, str] = MappingProxyType({}),
    ) -> list[dict[str, Any]]:
        """The request log's rows in the order in which they were recorded, or newest first."""
        conditions, values = ["1"], []
        for name, value in filters.items():
            if name not in ("path", "status", "project", "fault"):
                raise ValueError(f"requests cannot be filtered by {name!r}")
            # A text equals a number here: the column's type decides.
            conditions.append("status IS NULL" if value == "cut" else f"{name} = ?")
            values += [] if value == "cut" else [value]
        rows = self._reader.execute(
            f"SELECT id, {', '.join(_COLUMNS)} FROM requests WHERE {' AND '.join(conditions)}"
            f" ORDER BY id {'DESC' if newest else 'ASC'} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [dict(zip(("id", *_COLUMNS), row, strict=True)) for row in rows]

    def counted(self, after: int, size: int) -> list[tuple[int, int, str, int]]:
        """Number, project, name and time of the events after a number, for counting."""
        return self._reader.execute(
            "SELECT seq, project, event, time FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, size),
        ).fetchall()

    def arrivals(
        self, since: float, seconds: float, project: int | None
    ) -> list[tuple[float, int, int, int]]:
        """Start, requests, events stored and refusals of each period since a time."""
        return self._reader.execute(
            "SELECT CAST(arrived / ? AS INTEGER) * ?, count(*), sum(stored), sum(status = 429)"
            " FROM requests WHERE arrived >= ? AND (? IS NULL OR project = ?)"
            " GROUP BY 1 ORDER BY 1",
            (seconds, seconds, since, project, project),
        ).fetchall()

    def by_project(self) -> dict[int, dict[str, int]]:
        """Sums of every project that requests came for."""
        names = ("events_distinct", "events_accepted", "duplicates", "updates", "requests")
        found: dict[int, dict[str, int]] = {}
        for query in (
            "SELECT project, sum(CASE WHEN {events} THEN stored END),"
            " sum(CASE WHEN {events} THEN accepted END), sum(duplicates),"
            " sum(CASE WHEN {updates} THEN stored END), count(*) FROM requests"
            " WHERE project IS NOT NULL GROUP BY project",
            "SELECT s.project, sum(CASE WHEN {events} THEN s.stored END),"
            " sum(CASE WHEN {events} THEN s.accepted END), sum(s.duplicates),"
            " sum(CASE WHEN {updates} THEN s.stored END), count(*) FROM shares s"
            " JOIN requests r ON r.id = s.request GROUP BY s.project",
        ):
            paths = {"events": "path IN ('/import', '/track')"}
            paths["updates"] = "path IN ('/engage', '/groups')"
            for project, *sums in self._reader.execute(query.format(**paths)):
                known = found.setdefault(project, dict.fromkeys(names, 0))
                for name, value in zip(names, sums, strict=True):
                    known[name] += value or 0
        return found

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
