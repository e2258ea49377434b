"""Questions about profiles, groups and identities. Belongs to the reading thread."""

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

import orjson

from mixpanel_sink.emulator import profiles

DEVICE = "$device:"
"""What Mixpanel puts before a device's id."""


class PeopleQueries:
    """Profiles, the updates that made them, and which ids belong to one user."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def updates(self, kind: str, limit: int = 100, offset: int = 0) -> list[bytes]:
        """The JSON of the stored updates of one kind (``engage``, ``groups``), in order."""
        return [
            text
            for (text,) in self._db.execute(
                "SELECT json FROM updates WHERE kind = ? ORDER BY seq LIMIT ? OFFSET ?",
                (kind, limit, offset),
            )
        ]

    def profiles(
        self, kind: str, limit: int, offset: int, search: str = "", project: int | None = None
    ) -> list[dict[str, Any]]:
        """Profiles by their ids, those that contain `search`."""
        rows = self._db.execute(
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
        rows = self._db.execute(
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

    def users_of(self, project: int, ids: Collection[str]) -> dict[str, str]:
        """The canonical id of each of the ids that has another than itself."""
        if not ids or not self._db.execute("SELECT 1 FROM identities LIMIT 1").fetchone():
            return {}
        plain = {id: id.removeprefix(DEVICE) for id in ids}
        rows = self._db.execute(
            "SELECT id, canonical FROM identities WHERE project = ?"
            " AND id IN (SELECT value FROM json_each(?))",
            (project, orjson.dumps(list(set(plain.values()))).decode()),
        )
        canonical = dict(rows.fetchall())
        found = {id: canonical[name] for id, name in plain.items() if name in canonical}
        return {id: user for id, user in found.items() if id != user}

    def cluster(self, project: int, id: str) -> tuple[str, list[str]]:
        """The canonical id of the user that has this id, and all of the user's ids."""
        row = self._db.execute(
            "SELECT canonical FROM identities WHERE project = ? AND id = ?",
            (project, id.removeprefix(DEVICE)),
        ).fetchone()
        if row is None:
            return id, [id]
        members = self._db.execute(
            "SELECT id FROM identities WHERE project = ? AND canonical = ? ORDER BY id",
            (project, row[0]),
        )
        others = [member for (member,) in members if member != row[0]]
        return row[0], [row[0], *others]

    def links(self, limit: int, offset: int) -> list[dict[str, Any]]:
        """What the identity events did, newest first."""
        rows = self._db.execute(
            "SELECT seq, request, project, event, id, other, ignored FROM links"
            " ORDER BY seq DESC LIMIT ? OFFSET ?",
            (limit, offset),
        )
        names = ("seq", "request", "project", "event", "id", "other", "ignored")
        return [dict(zip(names, row, strict=True)) for row in rows]
