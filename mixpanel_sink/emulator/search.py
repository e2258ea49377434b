"""Finding events by anything in them, newest first, in portions of bounded time.

A search looks at every event: an index of everything would cost each insert more than storing
the event does. So it runs in portions, each of which says how far it came.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_CHUNK = 20_000
Row = tuple[int, str, int, bytes]
"""Number, name, time in milliseconds, and JSON."""
_EXACT = ("event", "distinct_id", "insert_id")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events are meant: all of what is given must fit.

    `text` may be anywhere in the event, in any case of ASCII letters; `since` (inclusive) and
    `until` (exclusive) are epoch milliseconds of the event's time.
    """

    text: str = ""
    event: str | None = None
    distinct_id: str | None = None
    insert_id: str | None = None
    project: int | None = None
    request: int | None = None
    since: int | None = None
    until: int | None = None

    def conditions(self) -> tuple[str, list[Any]]:
        """A SQL condition and its values; the text is not among them."""
        parts, values = ["seq > ? AND seq <= ?"], []
        for name in (*_EXACT, "project", "request"):
            value = getattr(self, name)
            if value is not None:
                # The sign keeps SQLite from an index: the range of numbers is what is walked.
                parts.append(f"+{name} = ?")
                values.append(value)
        if self.since is not None:
            parts.append("time >= ?")
            values.append(self.since)
        if self.until is not None:
            parts.append("time < ?")
            values.append(self.until)
        return " AND ".join(parts), values

    def having_text(self, rows: list[Row]) -> list[Row]:
        """Those of the rows in whose JSON the text is."""
        if not self.text:
            return rows
        # As clients write it in JSON: as it is, or in ASCII.
        spellings = {json.dumps(self.text, ensure_ascii=a)[1:-1].lower() for a in (True, False)}
        needles = [text.encode() for text in spellings]
        # Most texts are in few events: one look at all rows together is fifty times cheaper.
        together = b"\n".join(row[3] for row in rows).lower()
        if not any(needle in together for needle in needles):
            return []
        return [row for row in rows if any(needle in row[3].lower() for needle in needles)]


@dataclass(frozen=True, slots=True)
class Portion:
    """What a portion of a search found.

    `numbers` are the newest matches, `counts` all matches by name and start of their period
    in epoch seconds. Events above `floor` have been searched; `newest` is the highest number
    there was, `floor` 0 means that all have been.
    """

    numbers: list[int]
    counts: dict[str, dict[int, int]]
    matched: int
    floor: int
    newest: int


class Search:
    """Searches the events. Belongs to the reading thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def portion(
        self,
        wanted: Wanted,
        *,
        before: int | None = None,
        above: int = 0,
        limit: int = 100,
        unit: int = 3600,
        seconds: float = 0.4,
    ) -> Portion:
        """Search for about `seconds`, downwards from `before` (exclusive) to `above`."""
        (newest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        top = min(newest, before - 1) if before is not None else newest
        where, values = wanted.conditions()
        numbers: list[int] = []
        counts: dict[str, dict[int, int]] = {}
        column = "json" if wanted.text else "NULL"
        matched, deadline = 0, time.monotonic() + seconds
        while top > above and time.monotonic() < deadline:
            floor = max(above, top - _CHUNK)
            found = wanted.having_text(
                self._db.execute(
                    f"SELECT seq, event, time, {column} FROM events WHERE {where}"
                    " ORDER BY seq DESC",
                    (floor, top, *values),
                ).fetchall()
            )
            numbers += [row[0] for row in found[: limit - len(numbers)]]
            matched += len(found)
            for _, name, moment, _ in found:
                periods = counts.setdefault(name, {})
                start = moment // 1000 // unit * unit
                periods[start] = periods.get(start, 0) + 1
            top = floor
        return Portion(numbers, counts, matched, max(top, above), newest)

    def all(self, wanted: Wanted) -> Iterator[list[bytes]]:
        """The JSON of every event that fits, oldest first, in portions."""
        (newest,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        where, values = wanted.conditions()
        for floor in range(0, newest, _CHUNK // 4):
            rows = self._db.execute(
                f"SELECT seq, event, time, json FROM events WHERE {where} ORDER BY seq",
                (floor, floor + _CHUNK // 4, *values),
            ).fetchall()
            yield [row[3] for row in wanted.having_text(rows)]
