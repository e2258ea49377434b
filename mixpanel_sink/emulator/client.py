"""A client of the emulator's own JSON interface, for tests and tools."""

import base64
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixpanel_sink.emulator.assertions import Assertions


class EmulatorError(RuntimeError):
    """The emulator did not start, or refused what it was asked."""


class Client(Assertions):
    """Asks and changes a running emulator, wherever it runs.

    >>> mixpanel = Client("http://127.0.0.1:8080")  # doctest: +SKIP
    >>> mixpanel.stats()["events_distinct"]  # doctest: +SKIP
    3
    """

    def __init__(self, url: str, api_secret: str = "") -> None:
        self.url = url
        self.api_secret = api_secret

    def stats(self) -> dict[str, Any]:
        """Counts of events, requests and duplicates, and the busiest quota window."""
        result: dict[str, Any] = self._get("/emulator/stats")
        return result

    def events(
        self,
        limit: int = 100,
        offset: int = 0,
        *,
        event: str | None = None,
        distinct_id: str | None = None,
        insert_id: str | None = None,
    ) -> list[dict[str, Any]]:
        """Stored events in the order of arrival, at most 10,000 a call."""
        query = {"event": event, "distinct_id": distinct_id, "insert_id": insert_id}
        result: list[dict[str, Any]] = self._get(
            "/emulator/events", limit=limit, offset=offset, **query
        )["events"]
        return result

    def updates(
        self, kind: str = "engage", limit: int = 100, offset: int = 0
    ) -> list[dict[str, Any]]:
        """Stored updates of profiles (``engage``) or groups (``groups``), as they came."""
        result: list[dict[str, Any]] = self._get(
            "/emulator/updates", kind=kind, limit=limit, offset=offset
        )["updates"]
        return result

    def event_details(
        self,
        limit: int = 100,
        *,
        before: int | None = None,
        search: str | None = None,
        project: int | None = None,
        **filters: str,
    ) -> list[dict[str, Any]]:
        """Stored events, newest first, each beside its number, request, user and geolocation.

        `before` is the number of the last one of the page before, `search` the beginning of a
        name or id, `filters` are exact: event, distinct_id, insert_id.
        """
        more = {"before": before, "search": search, "project": project, **filters}
        result: list[dict[str, Any]] = self._get("/emulator/events", detail=1, limit=limit, **more)[
            "events"
        ]
        return result

    def counts(self, unit: str = "hour", project: int | None = None) -> dict[str, Any]:
        """Events over time, by name: ``{"starts": [...], "events": {name: [count, ...]}}``."""
        result: dict[str, Any] = self._get("/emulator/counts", unit=unit, project=project)
        return result

    def profiles(
        self, limit: int = 100, offset: int = 0, *, search: str = "", project: int | None = None
    ) -> list[dict[str, Any]]:
        """User profiles in the order of their ids, at most 10,000 a call."""
        query = {"limit": limit, "offset": offset, "search": search, "project": project}
        result: list[dict[str, Any]] = self._get("/emulator/profiles", **query)["profiles"]
        return result

    def profile(self, distinct_id: str, project: int | None = None) -> dict[str, Any]:
        """One user's properties (None: no profile) and the operations that made them."""
        query = {"distinct_id": distinct_id, "project": project}
        result: dict[str, Any] = self._get("/emulator/profiles", **query)
        return result

    def groups(
        self, limit: int = 100, offset: int = 0, *, search: str = "", project: int | None = None
    ) -> list[dict[str, Any]]:
        """Group profiles in the order of their ids, at most 10,000 a call."""
        query = {"limit": limit, "offset": offset, "search": search, "project": project}
        result: list[dict[str, Any]] = self._get("/emulator/groups", **query)["groups"]
        return result

    def group(self, group_key: str, group_id: str, project: int | None = None) -> dict[str, Any]:
        """One group's properties (None: no profile) and the operations that made them."""
        query = {"group_key": group_key, "group_id": group_id, "project": project}
        result: dict[str, Any] = self._get("/emulator/groups", **query)
        return result

    def user(
        self, id: str, project: int | None = None, limit: int = 100, offset: int = 0
    ) -> dict[str, Any]:
        """The user that has this id: canonical id, all ids, profile, and events, newest first."""
        path = f"/emulator/users/{urllib.parse.quote(id, safe='')}"
        result: dict[str, Any] = self._get(path, project=project, limit=limit, offset=offset)
        return result

    def links(self, limit: int = 100, offset: int = 0) -> list[dict[str, Any]]:
        """What identity events did, newest first; `ignored` says why one had no effect."""
        result: list[dict[str, Any]] = self._get(
            "/emulator/identities", limit=limit, offset=offset
        )["links"]
        return result

    def quota(self) -> list[dict[str, Any]]:
        """How much of each project's quotas is used up at this moment."""
        result: list[dict[str, Any]] = self._get("/emulator/quota")["projects"]
        return result

    def export(
        self,
        from_date: str,
        to_date: str,
        *,
        events: Sequence[str] | None = None,
        api_secret: str | None = None,
        **query: Any,
    ) -> Iterator[dict[str, Any]]:
        """The raw export's events, one by one; days as YYYY-MM-DD, both included."""
        given = {"from_date": from_date, "to_date": to_date, **query}
        if events is not None:
            given["event"] = json.dumps(list(events))
        secret = self.api_secret if api_secret is None else api_secret
        basic = base64.b64encode(f"{secret}:".encode()).decode()
        path = f"/api/2.0/export?{urllib.parse.urlencode(given)}"
        with self._open(path, headers={"Authorization": f"Basic {basic}"}) as lines:
            for line in lines:
                yield json.loads(line)

    def request(self, number: int, limit: int = 20) -> dict[str, Any]:
        """One request: its row, `body` (the first records), `answer` and `failed_records`."""
        result: dict[str, Any] = self._get(f"/emulator/requests/{number}", limit=limit)
        return result

    def lookup_tables(self, project: int | None = None) -> list[dict[str, Any]]:
        """Lookup tables: id, name, columns, and how many rows and bytes."""
        result: list[dict[str, Any]] = self._get("/emulator/lookup_tables", project=project)[
            "lookup_tables"
        ]
        return result

    def lookup_table(self, id: str, project: int | None = None) -> str:
        """The content of a lookup table, as CSV; empty until it is replaced."""
        query = {"id": id} | ({} if project is None else {"project": project})
        return self._text(f"/emulator/lookup_tables?{urllib.parse.urlencode(query)}")

    def create_lookup_table(
        self, name: str, id: str | None = None, project: int | None = None
    ) -> str:
        """Create an empty lookup table, as people do on Mixpanel's pages; return its id."""
        given = {"name": name, "id": id, "project": project}
        result: str = self._send("POST", "/emulator/lookup_tables", given)["id"]
        return result

    def delete_events(
        self,
        event: str,
        from_date: str,
        to_date: str,
        where: Mapping[str, Any] | None = None,
        *,
        project: int | None = None,
        days_ago: float = 0,
    ) -> dict[str, Any]:
        """Delete events as people do in a project's settings ("Data Deletion"); gives the
        deletion's `id` and how many `events` it concerned.

        Args:
            event: name.
            from_date, to_date: days of the events (UTC), both included.
            where: values of event properties.
            project: number; None for the first.
            days_ago: when the deletion was asked for, to see what happens after some days.
        """
        given = {"event": event, "from": from_date, "to": to_date, "where": dict(where or {})}
        more = {"project": project, "days_ago": days_ago}
        result: dict[str, Any] = self._send("POST", "/emulator/deletions", {**given, **more})
        return result

    def undo_deletion(self, id: int, project: int | None = None) -> dict[str, Any]:
        """Undo a deletion within seven days."""
        query = "" if project is None else f"?project={project}"
        result: dict[str, Any] = self._send("DELETE", f"/emulator/deletions/{id}{query}")
        return result

    def deletions(self, project: int | None = None) -> list[dict[str, Any]]:
        """What was deleted, oldest first."""
        result: list[dict[str, Any]] = self._get("/emulator/deletions", project=project)[
            "deletions"
        ]
        return result

    def requests(
        self, limit: int = 10_000, offset: int = 0, **filters: Any
    ) -> list[dict[str, Any]]:
        """The request log, oldest first, at most 10,000 a call.

        `filters`: path, status, project, fault, and ``order="newest"``.
        """
        result: list[dict[str, Any]] = self._get(
            "/emulator/requests", limit=limit, offset=offset, **filters
        )["requests"]
        return result

    def insert_ids(self) -> list[str]:
        """The ``$insert_id`` of every stored event that has one, in order."""
        return list(self.iter_insert_ids())

    def iter_insert_ids(self) -> Iterator[str]:
        """The same one by one, for stores that are larger than memory."""
        with self._open("/emulator/insert_ids") as lines:
            for line in lines:
                yield line.decode().rstrip("\n")

    def reset(self, **settings: Any) -> dict[str, Any]:
        """Forget events, requests, quota and faults; change settings; return all settings."""
        result: dict[str, Any] = self._send("POST", "/emulator/reset", settings)
        return result

    def restore(self) -> dict[str, Any]:
        """Forget everything and go back to the settings of the start; return them."""
        result: dict[str, Any] = self._send("POST", "/emulator/reset?restore=1", {})
        return result

    def settings(self, **settings: Any) -> dict[str, Any]:
        """Change settings of the running emulator; return all of them."""
        result: dict[str, Any] = self._send("POST", "/emulator/settings", settings)
        return result

    def faults(self, plan: Sequence[Mapping[str, Any]] | Mapping[str, Any]) -> dict[str, Any]:
        """Set the fault plan: a list of faults, or an object with faults, seed, rate, kinds."""
        result: dict[str, Any] = self._send("POST", "/emulator/faults", plan)
        return result

    def remaining_faults(self) -> list[dict[str, Any]]:
        """The listed faults that no request has met yet."""
        result: list[dict[str, Any]] = self._get("/emulator/faults")["faults"]
        return result

    def _context(self) -> ssl.SSLContext | None:
        return None

    def _get(self, path: str, /, **query: object) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        return self._send("GET", f"{path}?{urllib.parse.urlencode(given)}")

    def _text(self, path: str) -> str:
        with self._open(path) as answer:
            text: str = answer.read().decode()
            return text

    def _send(self, method: str, path: str, value: object = None) -> Any:
        data = None if value is None else json.dumps(value).encode()
        headers = {"Content-Type": "application/json"}
        with self._open(path, data=data, headers=headers, method=method) as answer:
            return json.load(answer)

    def _open(self, path: str, **given: Any) -> Any:
        """The answer to a request, which is to be closed."""
        request = urllib.request.Request(self.url + path, **given)
        try:
            return urllib.request.urlopen(request, timeout=120, context=self._context())
        except urllib.error.HTTPError as error:
            raise EmulatorError(_said(error.read())) from None
        except urllib.error.URLError as error:
            raise EmulatorError(f"no emulator answers at {self.url}: {error.reason}") from None


def _said(answer: bytes) -> str:
    """The sentence in an answer that refuses something."""
    try:
        return str(json.loads(answer)["error"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace")
