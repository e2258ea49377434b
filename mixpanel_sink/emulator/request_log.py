"""Questions about the request log, and sums over it. Belongs to the reading thread.

Every figure that the emulator reports is summed from the request rows, so that it is the same
after a restart with ``--db`` and costs no scan of the events.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import orjson

from mixpanel_sink.emulator.rows import COLUMNS


class RequestQueries:
    """The requests one by one, and sums over them."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

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
        rows = self._db.execute(
            f"SELECT id, {', '.join(COLUMNS)} FROM requests WHERE {' AND '.join(conditions)}"
            f" ORDER BY id {'DESC' if newest else 'ASC'} LIMIT ? OFFSET ?",
            (*values, limit, offset),
        )
        return [dict(zip(("id", *COLUMNS), row, strict=True)) for row in rows]

    def arrivals(
        self, since: float, seconds: float, project: int | None
    ) -> list[tuple[float, int, int, int, int, int, int, float, int]]:
        """Start, requests, events stored, 429s and more of each period since a time.

        Then: good answers, other refusals, server errors (no answer among them), the mean of
        the milliseconds until the answer, and requests that count towards the quota.
        """
        return self._db.execute(
            "SELECT CAST(arrived / ? AS INTEGER) * ?, count(*), sum(stored), sum(status = 429),"
            " sum(status BETWEEN 200 AND 399), sum(status BETWEEN 400 AND 499 AND status <> 429),"
            " sum(coalesce(status, 599) >= 500), avg(finished - arrived) * 1000,"
            " sum(coalesce(quota = 'counted', 0))"
            " FROM requests WHERE arrived >= ? AND (? IS NULL OR project = ?)"
            " GROUP BY 1 ORDER BY 1",
            (seconds, seconds, since, project, project),
        ).fetchall()

    def detail(self, request: int) -> dict[str, Any] | None:
        """One request's row with its body (None: not kept), answer and failed records."""
        row = self._db.execute(
            f"SELECT r.id, {', '.join('r.' + name for name in COLUMNS)}, d.body, d.answer, d.failed"
            " FROM requests r LEFT JOIN details d ON d.request = r.id WHERE r.id = ?",
            (request,),
        ).fetchone()
        if row is None:
            return None
        return dict(zip(("id", *COLUMNS, "body", "answer", "failed_records"), row, strict=True))

    def lookup_tables(self, project: int | None) -> list[dict[str, Any]]:
        """The lookup tables, without their content."""
        rows = self._db.execute(
            "SELECT project, id, name, replaced, rows, columns, length(csv) FROM lookup_tables"
            " WHERE ? IS NULL OR project = ? ORDER BY project, name, id",
            (project, project),
        )
        names = ("project", "id", "name", "replaced", "rows", "columns", "bytes")
        tables = [dict(zip(names, row, strict=True)) for row in rows]
        return [{**table, "columns": orjson.loads(table["columns"])} for table in tables]

    def lookup_table(self, project: int, id: str) -> bytes | None:
        """The CSV of a lookup table; None: there is no such table."""
        row = self._db.execute(
            "SELECT csv FROM lookup_tables WHERE project = ? AND id = ?", (project, id)
        ).fetchone()
        return row[0] if row else None

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
            for project, *sums in self._db.execute(query.format(**paths)):
                known = found.setdefault(project, dict.fromkeys(names, 0))
                for name, value in zip(names, sums, strict=True):
                    known[name] += value or 0
        return found

    def totals(self) -> dict[str, int]:
        """Sums over all requests that bring events."""
        row = self._db.execute(
            "SELECT coalesce(sum(stored), 0), coalesce(sum(events), 0),"
            " coalesce(sum(accepted), 0), coalesce(sum(failed), 0),"
            " coalesce(sum(duplicates), 0), coalesce(sum(truncated_strings), 0),"
            " coalesce(sum(without_insert_id), 0), coalesce(sum(dropped), 0),"
            " coalesce(sum(hidden), 0) FROM requests"
            " WHERE path IN ('/import', '/track')"
        ).fetchone()
        names = ("events_distinct", "events_received", "events_accepted", "events_failed")
        more = ("duplicates", "truncated_strings", "without_insert_id", "events_dropped")
        totals = dict(zip((*names, *more, "events_hidden"), row, strict=True))
        bytes_ = self._db.execute(
            "SELECT coalesce(sum(raw_bytes), 0), coalesce(sum(body_bytes), 0) FROM requests"
        ).fetchone()
        totals["raw_bytes"], totals["body_bytes"] = bytes_
        for path in ("/engage", "/groups"):
            (totals[f"{path[1:]}_updates"],) = self._db.execute(
                "SELECT coalesce(sum(stored), 0) FROM requests WHERE path = ?", (path,)
            ).fetchone()
        return totals

    def statuses(self) -> dict[str, dict[str, int]]:
        """The number of requests by path and by status (``cut``: no answer was given)."""
        result: dict[str, dict[str, int]] = {}
        for path, status, count in self._db.execute(
            "SELECT path, coalesce(status, 'cut'), count(*) FROM requests GROUP BY 1, 2"
            " ORDER BY 1, 2"
        ):
            result.setdefault(path, {})[str(status)] = count
        return result

    def stamps(self, project: int, *quota: str) -> Iterator[float]:
        """Arrivals at /import, ascending, of requests with one of these `quota` outcomes."""
        marks = ", ".join("?" * len(quota))
        for (arrived,) in self._db.execute(
            f"SELECT arrived FROM requests WHERE project = ? AND quota IN ({marks})"
            " ORDER BY arrived",
            (project, *quota),
        ):
            yield arrived
