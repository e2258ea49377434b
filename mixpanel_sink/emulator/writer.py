"""Writing to the store: one transaction for each request. Belongs to the writing thread."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

import orjson

from mixpanel_sink.emulator import clock, profiles
from mixpanel_sink.emulator.rows import (
    COLUMNS,
    Canonical,
    Entry,
    EventRow,
    LinkRow,
    UpdateRow,
)
from mixpanel_sink.emulator.schema import TABLES

_INSERT_REQUEST = (
    f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
)
_INSERT_EVENT = (
    "INSERT INTO events (request, project, key, event, distinct_id, insert_id, time,"
    " json) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_DUPLICATE = (
    "INSERT INTO duplicates (request, project, event, distinct_id, insert_id, time, json)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)


class Writer:
    """Writes requests and what they brought."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

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
        db = self._db
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
            values = [getattr(entry, name) for name in COLUMNS]
            db.execute(_INSERT_REQUEST, values)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        return int(request)

    def amend(self, request: int, entry: Entry) -> None:
        """Write the entry's columns again: something became known after it was recorded."""
        pairs = ", ".join(f"{name} = ?" for name in COLUMNS)
        values = [getattr(entry, name) for name in COLUMNS]
        self._db.execute(f"UPDATE requests SET {pairs} WHERE id = ?", (*values, request))

    def _sort_out(
        self, events: Sequence[EventRow], request: int, expired: int
    ) -> tuple[Sequence[EventRow], Sequence[EventRow]]:
        """The new events, whose keys are known from now on, and the duplicates."""
        # In the order of the keys: neighbours in the tree are found in the cache.
        keys = sorted(event.key for event in events if event.key is not None)
        added = self._db.executemany(
            "INSERT INTO known.keys VALUES (?, ?) ON CONFLICT (key)"
            " DO UPDATE SET request = excluded.request WHERE request <= ?",
            ((key, request, expired) for key in keys),
        ).rowcount
        if added == len(keys) or not keys:
            return events, ()
        found = self._db.execute(
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
        self._db.executemany(
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
                for name, *row in self._db.execute(
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
            self._db.executemany(
                "INSERT OR REPLACE INTO profiles VALUES (?, ?, ?, ?, ?, ?, ?)", rows
            )
            self._db.executemany(
                "DELETE FROM profiles WHERE kind = ? AND project = ? AND profile = ?", gone
            )

    def _last_request(self, before: float) -> int:
        """The last request that arrived before this time, or 0."""
        row = self._db.execute(
            "SELECT id FROM requests WHERE arrived < ? ORDER BY arrived DESC LIMIT 1", (before,)
        ).fetchone()
        return int(row[0]) if row else 0

    def clear(self) -> None:
        """Forget everything."""
        for table in TABLES:
            self._db.execute(f"DELETE FROM {table}")

    def canonical_ids(self) -> list[Canonical]:
        """Every id that belongs to a cluster; for the writing thread, at the start."""
        rows = self._db.execute("SELECT project, id, canonical FROM identities")
        return [Canonical(*row) for row in rows]
