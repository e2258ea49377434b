"""Assertions on what an emulator holds, with a difference that a person can read."""

import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from difflib import unified_diff
from itertools import chain, repeat
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
        `exact`. If it is to be `partial`, of each event only the properties that are expected of
        it are compared. The order counts only if it is to be `ordered`.

        Raises:
            AssertionError: with the differences, and with the reasons of refused records.
            ValueError: an expected event has no name.
        """
        wanted = [_nested(event) for event in expected]
        stored = self._all_events()
        if not exact:
            stored = _compared(stored, wanted, partial, ordered)
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
    if not isinstance(event, Mapping) or "event" not in event:
        raise ValueError(f"an expected event is an object with its name as 'event', not {event!r}")
    if "properties" in event:
        return {"event": event["event"], "properties": dict(event["properties"])}
    return {
        "event": event["event"],
        "properties": {name: value for name, value in event.items() if name != "event"},
    }


def _compared(
    stored: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mapping[str, Any]],
    partial: bool,
    ordered: bool,
) -> list[dict[str, Any]]:
    """The stored events with the properties that matter for the expected events that they are.

    A stored event that is not expected keeps all properties that any expected one names.
    """
    every = frozenset(name for one in wanted for name in one["properties"])
    if ordered:
        named = chain((one["properties"].keys() for one in wanted), repeat(every))
        return [_reduced(one, names, partial) for one, names in zip(stored, named, strict=False)]
    asked: dict[str, dict[frozenset[str], None]] = {}
    for one in sorted(wanted, key=lambda one: len(one["properties"]), reverse=True):
        asked.setdefault(one["event"], {})[frozenset(one["properties"])] = None
    left = Counter(map(_line, wanted))
    found = []
    for event in stored:
        forms = (_reduced(event, names, partial) for names in asked.get(event["event"], ()))
        fits = next((form for form in forms if left[_line(form)]), None)
        if fits is not None:
            left[_line(fits)] -= 1
        found.append(fits or _reduced(event, every, partial))
    return found


def _reduced(event: Mapping[str, Any], named: Container[str], partial: bool) -> dict[str, Any]:
    """The event without the properties that are not named and do not matter."""
    properties = {
        name: value
        for name, value in event["properties"].items()
        if name in named or not (partial or name in _OPTIONAL)
    }
    return {"event": event["event"], "properties": properties}


def _line(event: Mapping[str, Any]) -> str:
    return f"{event['event']} {json.dumps(event['properties'], sort_keys=True, ensure_ascii=False)}"


def _lines(events: Iterable[Mapping[str, Any]], ordered: bool) -> list[str]:
    lines = list(map(_line, events))
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
