"""Deleting events: Mixpanel's Data Deletion, and the deletion of users by its API.

Deleted events are gone from all queries and exports at once. What is known of them stays: for
seven days a Data Deletion can be undone, and for thirty an event of the same identity (name, time,
user and ``$insert_id``) is accepted and dropped, as Mixpanel warns of re-imports with the same ids.
"""

import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import orjson

from mixpanel_sink.emulator import clock
from mixpanel_sink.emulator.keys import Keys
from mixpanel_sink.emulator.rows import EventRow
from mixpanel_sink.emulator.schema import transaction
from mixpanel_sink.emulator.texts import Texts

DAY = 86_400
OLDEST_DAYS = 180
"""How old the events of a Data Deletion may be, by their own time."""
UNDO_DAYS = 7
DROPPED_DAYS = 30
PER_MONTH = 10
_EVENT = "request, project, event, distinct_id, insert_id, time"
_DUPLICATE = "request, project, event, distinct_id, insert_id, time, json"
_PORTION = 5000
"""How many events' JSON is looked at together."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """What is to be deleted: one event's name and its time in milliseconds, from `since` to
    before `until`, with these values of properties; or all of these users."""

    project: int
    event: str | None = None
    since: int = 0
    until: int = 2**62
    where: tuple[tuple[str, Any], ...] = ()
    users: tuple[str, ...] = ()

    def fits(self, text: bytes) -> bool:
        """Whether an event's properties are those that are meant."""
        if not self.where:
            return True
        properties = orjson.loads(text)["properties"]
        return all(properties.get(name) == value for name, value in self.where)

    def about(self) -> dict[str, Any]:
        """For people."""
        if self.users:
            return {"distinct_ids": list(self.users)}
        return {
            "event": self.event,
            "since": self.since,
            "until": self.until,
            "where": dict(self.where),
        }


class Deletions:
    """Deletes, remembers and undoes. Belongs to the writing thread."""

    def __init__(self, db: sqlite3.Connection, keys: Keys) -> None:
        self._db = db
        self._keys = keys
        self._texts = Texts(db)
        self._any = db.execute("SELECT 1 FROM deletions LIMIT 1").fetchone() is not None

    def clear(self) -> None:
        """Nothing has been deleted any more."""
        self._any = False

    def delete(self, deletion: Deletion, submitted: float) -> tuple[int, int]:
        """Deletes; gives the deletion's number and how many events it concerned.

        Raises:
            ValueError: if the project has had its deletions of this month.
        """
        if not deletion.users:
            self._charge(deletion.project, submitted)
        return self._whole(lambda: self._delete(deletion, submitted))

    def undo(self, number: int, project: int) -> int:
        """Brings the events of a Data Deletion back, and gives their number.

        Raises:
            ValueError: if there is none, or it is too late.
        """
        row = self._db.execute(
            "SELECT submitted, users FROM deletions WHERE id = ? AND project = ?"
            " AND undone IS NULL",
            (number, project),
        ).fetchone()
        if row is None:
            raise ValueError(f"there is no deletion {number} here that could be undone")
        if row[1] or clock.stamp() - row[0] > UNDO_DAYS * DAY:
            raise ValueError(f"deletion {number} is permanent: it can be undone for 7 days only")
        return self._whole(lambda: self._undo(number))

    def dropped(self, keys: Iterable[int]) -> set[int]:
        """Which of these events' keys were deleted within the last thirty days."""
        if not self._any:
            return set()
        rows = self._db.execute(
            "SELECT key FROM deleted d JOIN deletions x ON x.id = d.deletion"
            " WHERE x.undone IS NULL AND x.submitted > ?"
            " AND key IN (SELECT value FROM json_each(?))",
            (clock.stamp() - DROPPED_DAYS * DAY, str(list(keys))),
        )
        return {key for (key,) in rows}

    def all(self, project: int) -> list[dict[str, Any]]:
        """Every deletion of a project, oldest first."""
        rows = self._db.execute(
            "SELECT id, submitted, about, events, undone FROM deletions WHERE project = ?"
            " ORDER BY id",
            (project,),
        )
        return [
            {
                "id": id,
                "submitted": at,
                "events": events,
                "undone": undone is not None,
                **orjson.loads(about),
            }
            for id, at, about, events, undone in rows
        ]

    def _charge(self, project: int, submitted: float) -> None:
        (count,) = self._db.execute(
            "SELECT count(*) FROM deletions WHERE project = ? AND NOT users AND submitted > ?",
            (project, submitted - 30 * DAY),
        ).fetchone()
        if count >= PER_MONTH:
            raise ValueError(f"a project may have {PER_MONTH} data deletions a month")

    def _delete(self, deletion: Deletion, submitted: float) -> tuple[int, int]:
        about = orjson.dumps(deletion.about()).decode()
        number = self._db.execute(
            "INSERT INTO deletions (project, submitted, about, users, events) VALUES (?,?,?,?,0)",
            (deletion.project, submitted, about, bool(deletion.users)),
        ).lastrowid
        assert number is not None
        count = self._move_events(deletion, number)
        self._move_duplicates(deletion, number)
        self._db.execute("UPDATE deletions SET events = ? WHERE id = ?", (count, number))
        self._db.execute(
            "DELETE FROM profiles WHERE kind = 'engage' AND project = ?"
            " AND profile IN (SELECT value FROM json_each(?))",
            (deletion.project, orjson.dumps(deletion.users).decode()),
        )
        self._any = True
        return number, count

    def _fitting(self, deletion: Deletion, table: str) -> tuple[str, list[Any]]:
        """What is asked of a table, besides the values of properties."""
        if deletion.users:
            condition = "distinct_id IN (SELECT value FROM json_each(?))"
            values: list[Any] = [orjson.dumps(deletion.users).decode()]
        else:
            condition, values = "event = ?", [deletion.event]
        return (
            f" FROM {table} WHERE project = ? AND time >= ? AND time < ? AND {condition}",
            [deletion.project, deletion.since, deletion.until, *values],
        )

    def _move_events(self, deletion: Deletion, number: int) -> int:
        """Move the events that fit to the deleted ones, with their JSON; return their count."""
        self._texts.fill_table()
        where, values = self._fitting(deletion, "events")
        numbers = [seq for (seq,) in self._db.execute(f"SELECT seq{where}", values)]
        count = 0
        for start in range(0, len(numbers), _PORTION):
            portion = numbers[start : start + _PORTION]
            texts = self._texts.of(portion)
            fitting = [seq for seq, text in texts.items() if deletion.fits(text)]
            keys = self._texts.keys(fitting)
            self._db.executemany(
                f"INSERT INTO deleted (deletion, origin, seq, {_EVENT}, key, json)"
                f" SELECT {number}, 'events', seq, {_EVENT}, ?, ? FROM events WHERE seq = ?",
                ((keys[seq], texts[seq], seq) for seq in fitting),
            )
            self._db.executemany("DELETE FROM events WHERE seq = ?", ((seq,) for seq in fitting))
            self._db.executemany("INSERT INTO gone VALUES (?)", ((seq,) for seq in fitting))
            count += len(fitting)
        return count

    def _move_duplicates(self, deletion: Deletion, number: int) -> None:
        """Move the duplicates that fit to the deleted ones."""
        where, values = self._fitting(deletion, "duplicates")
        found = self._db.execute(f"SELECT seq, json{where}", values)
        numbers = str([seq for seq, text in found if deletion.fits(text)])
        self._db.execute(
            f"INSERT INTO deleted (deletion, origin, seq, {_DUPLICATE})"
            f" SELECT ?, 'duplicates', seq, {_DUPLICATE} FROM duplicates"
            " WHERE seq IN (SELECT value FROM json_each(?))",
            (number, numbers),
        )
        self._db.execute(
            "DELETE FROM duplicates WHERE seq IN (SELECT value FROM json_each(?))", (numbers,)
        )

    def _undo(self, number: int) -> int:
        events = self._db.execute(
            "SELECT request, project, key, event, distinct_id, insert_id, time, json FROM deleted"
            " WHERE deletion = ? AND origin = 'events' ORDER BY seq",
            (number,),
        )
        while rows := events.fetchmany(_PORTION):
            for request, own in groupby(rows, key=itemgetter(0)):
                self._texts.add(request, [EventRow(*row[1:]) for row in own])
        self._db.execute(
            f"INSERT INTO duplicates ({_DUPLICATE}) SELECT {_DUPLICATE} FROM deleted"
            " WHERE deletion = ? AND origin = 'duplicates' ORDER BY seq",
            (number,),
        )
        count = self._db.execute(
            "DELETE FROM deleted WHERE deletion = ? AND origin = 'events'", (number,)
        ).rowcount
        self._db.execute("DELETE FROM deleted WHERE deletion = ?", (number,))
        self._db.execute("UPDATE deletions SET undone = ? WHERE id = ?", (clock.stamp(), number))
        return count

    def _whole(self, change: Callable[[], Any]) -> Any:
        """All of the change, or nothing of it."""
        with transaction(self._db):
            made = change()
        self._keys.forget()
        return made
