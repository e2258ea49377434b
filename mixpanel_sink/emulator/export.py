"""The raw export: stored events as JSON lines, in the shape that Mixpanel gives them.

Not deduplicated, as Mixpanel's is not: the duplicates that arrived follow the events that they
repeat. Days are days of UTC.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any

import orjson

from mixpanel_sink.emulator.answers import Refused
from mixpanel_sink.emulator.quota import Quota, RollingWindow, retry_after
from mixpanel_sink.emulator.rows import ExportRow
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.store import Store

PATH = "/api/2.0/export"
MAX_LIMIT = 100_000
MAX_CONCURRENT = 100
PORTION = 2000
"""Events that are read and encoded at a time."""
_LIMITED = (
    "You have exceeded your rate limit: 60 queries an hour, 3 a second, 100 at once for raw exports"
)
# A country that none is: the emulator looks up no addresses.
_COUNTRY = "ZZ"


@dataclass(frozen=True, slots=True)
class Query:
    """What to export: times in epoch milliseconds, `until` exclusive; `events` None: all."""

    since: int
    until: int
    events: tuple[str, ...] | None = None
    limit: int | None = None
    milliseconds: bool = False

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> "Query":
        """Read the query parameters.

        Raises:
            Refused: 400; one is missing, wrong, or not supported here.
        """
        first, last = _day(given, "from_date"), _day(given, "to_date")
        if last < first:
            raise Refused(400, f"to_date {last} is before from_date {first}")
        if given.get("where"):
            raise Refused(400, "this emulator does not evaluate 'where': leave it out")
        return cls(
            since=_epoch_ms(first),
            until=_epoch_ms(last + timedelta(days=1)),
            events=_names(given.get("event")),
            limit=_limit(given.get("limit")),
            milliseconds=given.get("time_in_ms", "").lower() in ("1", "true"),
        )


class Exports:
    """The rate limits of the raw export, project by project."""

    def __init__(self) -> None:
        self._windows: dict[tuple[int, Quota], RollingWindow] = {}
        self._running: dict[int, int] = {}

    def begin(self, project: Project, stamp: float, quotas: tuple[Quota, ...]) -> None:
        """Let a query in; `end` must follow.

        Raises:
            Refused: 429 with Retry-After; a refused query leaves no trace.
        """
        windows = [(q, self._windows.setdefault((project.id, q), RollingWindow())) for q in quotas]
        waits = [window.used(stamp, quota)[1] for quota, window in windows]
        if any(waits):
            raise Refused(429, _LIMITED, {"Retry-After": str(retry_after(max(waits)))})
        if quotas and self._running.get(project.id, 0) >= MAX_CONCURRENT:
            raise Refused(429, _LIMITED, {"Retry-After": "1"})
        for quota, window in windows:
            window.admit(stamp, quota)
        self._running[project.id] = self._running.get(project.id, 0) + 1

    def end(self, project: Project) -> None:
        """A query that was let in is done."""
        self._running[project.id] = max(0, self._running.get(project.id, 0) - 1)

    def used(self, project: Project, stamp: float, quotas: tuple[Quota, ...]) -> list[int]:
        """How many queries each quota's window holds."""
        windows = self._windows
        return [
            windows[project.id, q].used(stamp, q)[0] if (project.id, q) in windows else 0
            for q in quotas
        ]


@dataclass
class Lines:
    """The lines of one export, in portions; counts them."""

    store: Store
    settings: Settings
    project: Project
    query: Query
    count: int = 0
    _portions: Iterator[list[ExportRow]] = field(init=False)

    def __post_init__(self) -> None:
        self._portions = self.store.events.export(
            self.project.id, self.query.since, self.query.until, self.query.events, PORTION
        )

    def next(self) -> bytes | None:
        """The next portion, None at the end. Runs in the reading thread."""
        rows = next(self._portions, None)
        limit = self.query.limit
        if rows is not None and limit is not None:
            rows = rows[: limit - self.count] or None
        if rows is None:
            return None
        self.count += len(rows)
        ids = {row.distinct_id for row in rows if row.distinct_id is not None}
        users = self.store.people.users_of(self.project.id, ids)
        return b"".join(self._line(row, users) for row in rows)

    def _line(self, row: ExportRow, users: Mapping[str, str]) -> bytes:
        event = orjson.loads(row.json)
        properties = event["properties"]
        properties["time"] = row.time if self.query.milliseconds else row.time // 1000
        if self.settings.export_shape == "mixpanel":
            self._as_mixpanel(properties, row, users)
        exported = {"event": event["event"], "properties": properties}
        return orjson.dumps(exported, option=orjson.OPT_APPEND_NEWLINE)

    def _as_mixpanel(
        self, properties: dict[str, Any], row: ExportRow, users: Mapping[str, str]
    ) -> None:
        """What Mixpanel takes out, resolves and adds."""
        properties.pop("token", None)
        ip = properties.pop("ip", row.geo)
        if row.distinct_id is not None:
            user = users.get(row.distinct_id, row.distinct_id)
            properties["distinct_id"] = user
            if user != row.distinct_id:
                properties["$distinct_id_before_identity"] = row.distinct_id
        if "$insert_id" not in properties:
            given = f"{row.seq} {row.arrived}".encode()
            properties["$insert_id"] = blake2b(given, digest_size=18).hexdigest()
        if row.path == "/import":
            properties["$import"] = True
        arrived = int(row.arrived * 1000)
        region = self.settings.region
        host = "api" if region in (None, "us") else f"api-{region}"
        properties["$mp_api_endpoint"] = f"{host}.mixpanel.com"
        properties["$mp_api_timestamp_ms"] = arrived
        properties["mp_processing_time_ms"] = arrived
        if ip not in (None, 0, "0", ""):
            properties["mp_country_code"] = _COUNTRY


def _day(given: Mapping[str, str], name: str) -> date:
    text = given.get(name)
    if not text:
        raise Refused(400, f"{name} is required, as YYYY-MM-DD")
    try:
        return datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise Refused(400, f"{name} must be a day as YYYY-MM-DD, not {text!r}") from None


def _epoch_ms(day: date) -> int:
    midnight = datetime(day.year, day.month, day.day, tzinfo=timezone.utc)
    return int(midnight.timestamp() * 1000)


def _names(text: str | None) -> tuple[str, ...] | None:
    if not text:
        return None
    try:
        names = orjson.loads(text)
    except orjson.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused(400, 'event must be a JSON list of names, such as ["signup"]')
    return tuple(names)


def _limit(text: str | None) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= MAX_LIMIT:
        raise Refused(400, f"limit must be from 1 to {MAX_LIMIT}, not {text!r}")
    return int(text)
