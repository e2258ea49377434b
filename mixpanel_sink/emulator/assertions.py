"""Assertions on what an emulator holds, with a difference that a person can read."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import unified_diff
from typing import Any

# What a test rarely wants to repeat: it is compared only where it is expected.
_OPTIONAL = ("token", "$insert_id", "time", "ip")
_SHOWN = 10


class Assertions:
    """Assertions for an emulator's client, which gives `events`, `profiles` and `requests`."""

    events: Callable[..., list[dict[str, Any]]]
    profiles: Callable[..., list[dict[str, Any]]]
    requests: Callable[..., list[dict[str, Any]]]
    request: Callable[..., dict[str, Any]]
    stats: Callable[..., dict[str, Any]]

    def assert_events(
        self,
        expected: Sequence[Mapping[str, Any]],
        *,
        partial: bool = False,
        exact: bool = False,
        ordered: bool = False,
    ) -> None:
        """Assert that exactly these events are stored.

        An expected event is ``{"event": ..., "properties": {...}}``, or flat:
        ``{"event": "Sign Up", "distinct_id": "u1", "plan": "pro"}``. ``token``, ``$insert_id``,
        ``time`` and ``ip`` are compared only where they are expected, unless it is to be
        `exact`. If it is to be `partial`, only properties that an expected event names are
        compared. The order counts only if it is to be `ordered`.

        Raises:
            AssertionError: with the differences, and with the reasons of refused records.
        """
        wanted = [_nested(event) for event in expected]
        stored = self._all_events()
        if not exact:
            stored = [_compared(event, wanted, partial) for event in stored]
        before, after = _lines(wanted, ordered), _lines(stored, ordered)
        if before != after:
            raise AssertionError(
                f"expected {_count(len(wanted), 'event')}, "
                f"the emulator holds {_count(len(stored), 'event')}:\n"
                + _difference(before, after)
                + self.refusals()
            )

    def assert_profile(self, distinct_id: str, expected: Mapping[str, Any]) -> None:
        """Assert that this user's profile has exactly these properties.

        Raises:
            AssertionError: with the difference, or because there is no such profile.
        """
        for profile in self.profiles(limit=10_000, search=distinct_id):
            if profile["$distinct_id"] == distinct_id:
                before, after = _pretty(expected), _pretty(profile["properties"])
                if before != after:
                    found = _difference(before.split("\n"), after.split("\n"))
                    raise AssertionError(f"the profile of {distinct_id!r} differs:\n{found}")
                return
        raise AssertionError(f"there is no profile of {distinct_id!r}.{self.refusals()}")

    def assert_no_failures(self) -> None:
        """Assert that no record was refused.

        Raises:
            AssertionError: with each refused record's field and message.
        """
        if refused := self.refusals():
            raise AssertionError(refused.strip())

    def assert_requests(self, count: int, *, path: str = "/import") -> None:
        """Assert how many requests came to an endpoint.

        Raises:
            AssertionError: with the requests that came.
        """
        rows = self.requests(path=path)
        if len(rows) != count:
            listed = "\n".join(
                f"  {row['id']}: status {row['status']}, {_count(row['events'], 'record')}"
                for row in rows[:_SHOWN]
            )
            raise AssertionError(
                f"expected {_count(count, 'request')} to {path}, got {len(rows)}:\n{listed}"
            )

    def _all_events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while page := self.events(limit=10_000, offset=len(found)):
            found += page
        return found

    def refusals(self) -> str:
        """The newest refused records, one a line, for people; empty if there are none."""
        lines: list[str] = []
        failed = [row for row in self.requests(order="newest") if row["failed"] or row["error"]]
        for row in failed[:_SHOWN]:
            records = self.request(row["id"], limit=0)["failed_records"]
            lines += [
                f"  request {row['id']}, record {one['index']}: "
                f"{one['field'] or 'the record'}: {one['message']}"
                for one in records
            ]
            if not records:
                lines.append(f"  request {row['id']}, status {row['status']}: {row['error']}")
        if not lines:
            return ""
        more = f"\n  and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        return "\nThe emulator refused:\n" + "\n".join(lines[:_SHOWN]) + more


def _nested(event: Mapping[str, Any]) -> dict[str, Any]:
    if "properties" in event:
        return {"event": event["event"], "properties": dict(event["properties"])}
    return {
        "event": event["event"],
        "properties": {name: value for name, value in event.items() if name != "event"},
    }


def _compared(
    event: Mapping[str, Any], wanted: Iterable[Mapping[str, Any]], partial: bool
) -> dict[str, Any]:
    """The event without the properties that do not matter, as no expected event names them."""
    named = {name for one in wanted for name in one["properties"]}
    properties = {
        name: value
        for name, value in event["properties"].items()
        if name in named or not (partial or name in _OPTIONAL)
    }
    return {"event": event["event"], "properties": properties}


def _lines(events: Iterable[Mapping[str, Any]], ordered: bool) -> list[str]:
    lines = [
        f"{event['event']} {json.dumps(event['properties'], sort_keys=True, ensure_ascii=False)}"
        for event in events
    ]
    return lines if ordered else sorted(lines)


def _difference(before: Sequence[str], after: Sequence[str]) -> str:
    """Lines that are missing (-) and those that are there instead (+)."""
    lines = list(unified_diff(before, after, n=0, lineterm=""))[2:]
    lines = [line for line in lines if not line.startswith("@@")]
    more = f"\n  and {len(lines) - 4 * _SHOWN} more lines" if len(lines) > 4 * _SHOWN else ""
    shown = "\n".join(f"  {line[0]} {line[1:]}" for line in lines[: 4 * _SHOWN])
    return f"  - expected, + stored\n{shown}{more}"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"
