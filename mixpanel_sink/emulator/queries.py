"""Questions about stored events. Belongs to the reading thread."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any

import orjson

from mixpanel_sink.emulator.people import DEVICE, PeopleQueries
from mixpanel_sink.emulator.rows import ExportRow, geolocation
from mixpanel_sink.emulator.schema import snapshot
from mixpanel_sink.emulator.texts import Texts

# Indexes of these are made when a query first asks for the column: at three million events each
# costs every insert a few microseconds, and most runs never filter.
_FILTERS = ("event", "distinct_id", "insert_id")
_HIGHEST = 2**62
HOT = 200_000
"""Events of one user and day. Mixpanel renames those beyond to ``$hotshard_events``."""
_SEARCHED = 20
"""How many names with the searched beginning are looked up."""
_OF_USER = "distinct_id IN (SELECT value FROM json_each(?)) AND +project = ?"


def _names(ids: Sequence[str]) -> str:
    """What events call a user by these ids, as JSON."""
    return orjson.dumps([name for id in ids for name in {id, DEVICE + id}]).decode()


class EventQueries:
    """Events as they were stored, by filter, by time and page by page."""

    def __init__(self, db: sqlite3.Connection, people: PeopleQueries) -> None:
        self._db = db
        self._people = people
        self._texts = Texts(db)

    def stored(
        self, limit: int = 100, offset: int = 0, filters: Mapping[str, str] = MappingProxyType({})
    ) -> list[bytes]:
        """The JSON of stored events in the order of arrival; filters are exact matches."""
        self._texts.fill_table()
        where = self._where(filters)
        with snapshot(self._db):
            rows = self._db.execute(
                f"SELECT seq FROM events{where} ORDER BY seq LIMIT ? OFFSET ?",
                (*filters.values(), limit, offset),
            )
            return list(self._texts.of(seq for (seq,) in rows).values())

    def _where(self, filters: Mapping[str, str]) -> str:
        for name in filters:
            if name not in _FILTERS:
                raise ValueError(f"events cannot be filtered by {name!r}")
            self._index(name)
        return " WHERE " + " AND ".join(f"{name} = ?" for name in filters) if filters else ""

    def _index(self, name: str) -> None:
        self._texts.fill_table()
        self._db.execute(f"CREATE INDEX IF NOT EXISTS by_{name} ON events ({name})")

    def find(self, given: Mapping[str, str], limit: int, before: int | None) -> list[int]:
        """The numbers of events, newest first, smaller than `before`.

        `given` are exact matches, beside ``project`` and ``search``: the beginning of an event's
        name, a user's id or an insert id. Each of a few names with that beginning is looked up
        in an index, so that it is quick however many events there are.
        """
        highest = before if before is not None else _HIGHEST
        if given.keys() <= {"project"}:
            with snapshot(self._db):
                project = int(given["project"]) if given else None
                return list(islice(self._texts.newest(highest, project), limit))
        conditions = ["seq < ?"]
        values: list[Any] = [highest]
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
        rows = self._db.execute(
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
            row = self._db.execute(
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
        with snapshot(self._db):
            return self._details(numbers)

    def _details(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        places = self._texts.places(numbers)
        requests = self._requests({place.request for place in places.values()})
        users: dict[int, dict[str, str]] = {}
        for project in {place.project for place in places.values()}:
            own = (place.distinct_id for place in places.values() if place.project == project)
            users[project] = self._people.users_of(project, {id for id in own if id is not None})
        texts = self._texts.of(places)
        found = {}
        for seq, (request, project, distinct_id) in places.items():
            (arrived, path, geo), of_project = requests[request], users[project]
            event = orjson.loads(texts[seq])
            found[seq] = {
                "seq": seq,
                "request": request,
                "project": project,
                "endpoint": path,
                "arrived": arrived,
                "user": None if distinct_id is None else of_project.get(distinct_id, distinct_id),
                "geolocation": geolocation(event["properties"], geo),
                "hidden": not event["properties"].keys().isdisjoint(("bucket", "$bucket")),
                "event": event,
            }
        return [found[seq] for seq in numbers if seq in found]

    def _requests(self, ids: set[int]) -> dict[int, tuple[float, str, str | None]]:
        """When requests arrived, where, and the address that their events are placed by."""
        rows = self._db.execute(
            "SELECT id, arrived, path, geo FROM requests"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (str(list(ids)),),
        )
        return {id: (arrived, path, geo) for id, arrived, path, geo in rows}

    def user_events(
        self, project: int, ids: Sequence[str], limit: int, offset: int
    ) -> tuple[int, list[int]]:
        """How many events these ids have, and the numbers of some, newest first."""
        self._index("distinct_id")
        values = (_names(ids), project)
        (count,) = self._db.execute(
            f"SELECT count(*) FROM events WHERE {_OF_USER}", values
        ).fetchone()
        rows = self._db.execute(
            f"SELECT seq FROM events WHERE {_OF_USER} ORDER BY seq DESC LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return count, [seq for (seq,) in rows]

    def hot_days(self, project: int, ids: Sequence[str]) -> dict[int, int]:
        """The days, in epoch seconds, of which these ids have more than `HOT` events."""
        self._index("distinct_id")
        rows = self._db.execute(
            f"SELECT time / 86400000 * 86400, count(*) FROM events WHERE {_OF_USER}"
            " GROUP BY 1 HAVING count(*) > ? ORDER BY 1",
            (_names(ids), project, HOT),
        )
        return dict(rows.fetchall())

    def export(
        self, project: int, since: int, until: int, names: Sequence[str] | None, size: int
    ) -> Iterator[list[ExportRow]]:
        """Events and duplicates with a time from `since` to before `until`, in portions.

        Nothing is held between two portions, so that a slow reader does not keep the database's
        log from being folded in.
        """
        self._texts.fill_table()
        chosen = "" if names is None else " AND e.event IN (SELECT value FROM json_each(?))"
        extra = () if names is None else (orjson.dumps(list(names)).decode(),)
        for table in ("events", "duplicates"):
            self._db.execute(
                f"CREATE INDEX IF NOT EXISTS {table}_by_time ON {table} (project, time)"
            )
            json = "NULL" if table == "events" else "e.json"
            time, seq = since, -1
            while True:
                with snapshot(self._db):
                    rows = self._db.execute(
                        f"SELECT e.seq, e.time, e.distinct_id, {json}, r.arrived, r.path, r.geo"
                        f" FROM {table} e CROSS JOIN requests r ON r.id = e.request"
                        f" WHERE e.project = ? AND (e.time, e.seq) > (?, ?) AND e.time < ?{chosen}"
                        " ORDER BY e.time, e.seq LIMIT ?",
                        (project, time, seq, until, *extra, size),
                    ).fetchall()
                    portion = [ExportRow(*row) for row in rows]
                    if table == "events":
                        texts = self._texts.of(row.seq for row in portion)
                        portion = [row._replace(json=texts[row.seq]) for row in portion]
                if not portion:
                    break
                seq, time = rows[-1][:2]
                yield portion

    def insert_ids(self, size: int = 10_000) -> Iterator[list[str]]:
        """The ``$insert_id`` of every stored event that has one, in order, in portions."""
        self._texts.fill_table()
        last = 0
        while True:
            rows = self._db.execute(
                "SELECT seq, insert_id FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
                (last, size),
            ).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            yield [insert_id for _, insert_id in rows if insert_id is not None]
