"""Writing to the store: one transaction for each request. Belongs to the writing thread."""

import sqlite3
from collections import Counter
from collections.abc import Sequence

import orjson

from mixpanel_sink.emulator import clock, profiles
from mixpanel_sink.emulator.deletions import Deletions
from mixpanel_sink.emulator.keys import Keys
from mixpanel_sink.emulator.rows import (
    COLUMNS,
    Canonical,
    Detail,
    Entry,
    EventRow,
    Events,
    LinkRow,
    UpdateRow,
)
from mixpanel_sink.emulator.schema import TABLES, transaction
from mixpanel_sink.emulator.texts import Texts

_INSERT_REQUEST = (
    f"INSERT INTO requests ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
)
_INSERT_DUPLICATE = (
    "INSERT INTO duplicates (request, project, event, distinct_id, insert_id, time, json)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_UPDATE = (
    "INSERT INTO updates (request, project, kind, profile, seen, geo, json)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_LINK = (
    "INSERT INTO links (request, project, event, id, other, ignored) VALUES (?, ?, ?, ?, ?, ?)"
)
_NONE = Events.of(())
KEPT_BODIES = 1000
"""How many requests' bodies are kept, the newest."""


class Writer:
    """Writes requests and what they brought."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._texts = Texts(db)
        self._keys = Keys(db)
        self.deletions = Deletions(db, self._keys)

    def record(
        self,
        entry: Entry,
        events: Sequence[EventRow] | Events = (),
        updates: Sequence[UpdateRow] = (),
        dedupe_window: float | None = None,
        *,
        keep_duplicates: bool = False,
        links: Sequence[LinkRow] = (),
        canonical: Sequence[Canonical] = (),
        detail: Detail | None = None,
    ) -> int:
        """Store one request with what it brought, in one transaction; return its id.

        Fills in ``entry.stored`` and ``entry.duplicates``. With a `dedupe_window`, in seconds,
        an event is a duplicate only of those that arrived within it.
        """
        db = self._db
        if entry.finished is None:
            entry.finished = clock.stamp()
        with transaction(db):
            new = _NONE
            (request,) = db.execute("SELECT coalesce(max(id), 0) + 1 FROM requests").fetchone()
            if events:
                given = Events.of(events)
                new = self._add_events(request, entry, given, dedupe_window, keep_duplicates)
            if updates:
                self._add_updates(request, entry, updates)
            if links:
                db.executemany(_INSERT_LINK, ((request, *link) for link in links))
                db.executemany("INSERT OR REPLACE INTO identities VALUES (?, ?, ?)", canonical)
            if detail is not None:
                self._add_detail(request, detail)
            db.execute(_INSERT_REQUEST, [getattr(entry, name) for name in COLUMNS])
        self._keys.add([key for key in new.keys if key is not None], request)
        return int(request)

    def amend(self, request: int, entry: Entry, answer: bytes | None = None) -> None:
        """Write the entry's columns again, and what was really answered."""
        pairs = ", ".join(f"{name} = ?" for name in COLUMNS)
        values = [getattr(entry, name) for name in COLUMNS]
        self._db.execute(f"UPDATE requests SET {pairs} WHERE id = ?", (*values, request))
        if answer is not None:
            self._db.execute("UPDATE details SET answer = ? WHERE request = ?", (answer, request))

    def create_lookup_table(self, project: int, id: str, name: str) -> None:
        """Add an empty lookup table; one of this id is emptied."""
        self._db.execute(
            "INSERT OR REPLACE INTO lookup_tables VALUES (?, ?, ?, NULL, 0, '[]', x'')",
            (project, id, name),
        )

    def replace_lookup_table(
        self, project: int, id: str, columns: Sequence[str], rows: int, csv: bytes
    ) -> bool:
        """Replace a lookup table's content; return whether there is such a table."""
        changed = self._db.execute(
            "UPDATE lookup_tables SET replaced = ?, columns = ?, rows = ?, csv = ?"
            " WHERE project = ? AND id = ?",
            (clock.stamp(), orjson.dumps(list(columns)).decode(), rows, csv, project, id),
        )
        return changed.rowcount == 1

    def _add_detail(self, request: int, detail: Detail) -> None:
        self._db.execute(
            "INSERT INTO details VALUES (?, ?, ?, ?)",
            (request, detail.body, detail.answer, detail.failed),
        )
        self._db.execute(
            "UPDATE details SET body = NULL WHERE request = ?", (request - KEPT_BODIES,)
        )

    def _add_events(
        self,
        request: int,
        entry: Entry,
        events: Events,
        window: float | None,
        keep_duplicates: bool,
    ) -> Events:
        """Store the events that are new, and return them."""
        if gone := self.deletions.dropped(key for key in events.keys if key is not None):
            kept = [key not in gone for key in events.keys]
            entry.dropped += kept.count(False)
            events = events.chosen(kept)
        expired = -1 if window is None else self._last_request(entry.arrived - window)
        new, known = self._sort_out(events, expired)
        if new:
            self._texts.add(request, new)
        entry.stored = len(new)
        entry.duplicates = len(known)
        if known and keep_duplicates:
            rows = ((request, event.project, *event[2:]) for event in known.rows())
            self._db.executemany(_INSERT_DUPLICATE, rows)
        if entry.project is None:
            self._share_out(request, new.projects, known.projects)
        return new

    def _add_updates(self, request: int, entry: Entry, updates: Sequence[UpdateRow]) -> None:
        rows = ((request, *update[:5], update.json) for update in updates)
        self._db.executemany(_INSERT_UPDATE, rows)
        self._apply(updates)
        entry.stored = len(updates)
        if entry.project is None:
            self._share_out(request, [update.project for update in updates], ())

    def _sort_out(self, events: Events, expired: int) -> tuple[Events, Events]:
        """The new events and the duplicates; what requests up to `expired` brought is new again."""
        keys = [key for key in events.keys if key is not None]
        different = set(keys)
        last = self._keys.last(different) if keys else {}
        fresh = (
            {key for key in different if last.get(key, expired) <= expired} if last else different
        )
        if len(fresh) == len(keys):
            return events, _NONE
        new = []
        for key in events.keys:
            new.append(key is None or key in fresh)
            fresh.discard(key)
        return events.chosen(new), events.chosen([not is_new for is_new in new])

    def _share_out(self, request: int, new: Sequence[int], known: Sequence[int]) -> None:
        stored, duplicates = Counter(new), Counter(known)
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
        with transaction(self._db):
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table}")
        self.deletions.clear()
        self._keys.forget()

    def canonical_ids(self) -> list[Canonical]:
        """Every id that belongs to a cluster; for the writing thread, at the start."""
        rows = self._db.execute("SELECT project, id, canonical FROM identities")
        return [Canonical(*row) for row in rows]
