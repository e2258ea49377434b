"""Compares the events of both sides that share a part: by `$insert_id`, then in all they hold."""

from __future__ import annotations

import collections
import dataclasses
import zoneinfo
from collections.abc import Iterable, Iterator
from typing import Any

from mixpanel_sink.inspect.verify.events import Event, differences

_MOST_PAIRS = 10_000


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of one event.

    Attributes:
        expected: of the input; None if it was not expected.
        actual: of the export, deduplicated; None if it is missing.
        differences: what is not the same, by name: the values expected and found.
        repeats: how many other records of the input have its id; counted with one of them.
    """

    expected: Event | None
    actual: Event | None
    differences: dict[str, list[Any]]
    repeats: int = 0

    @property
    def kind(self) -> str:
        """ "equal", "missing", "unexpected" or "altered"."""
        if self.actual is None:
            return "missing"
        if self.expected is None:
            return "unexpected"
        return "altered" if self.differences else "equal"

    @property
    def event(self) -> Event:
        """The event, on the side that has it."""
        event = self.expected or self.actual
        assert event is not None
        return event


def match(
    expected: Iterable[bytes], actual: Iterable[bytes], zone: zoneinfo.ZoneInfo | None = None
) -> Iterator[Finding]:
    """What became of each event of a part.

    Args:
        expected: lines of the input's events.
        actual: lines of the export's, duplicates included.
        zone: see `events.differences`.
    """
    wanted, found = _by_id(expected), _by_id(actual)
    for insert_id, lines in wanted.items():
        findings = _match_id(lines, found.pop(insert_id, []), zone)
        if len(lines) > 1:
            yield dataclasses.replace(next(findings), repeats=len(lines) - 1)
        yield from findings
    for lines in found.values():
        yield from _match_id([], lines, zone)


def _by_id(lines: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    by_id: dict[bytes, list[bytes]] = collections.defaultdict(list)
    for line in lines:
        by_id[line[: line.index(b"\t")]].append(line)
    return by_id


def _match_id(
    lines: list[bytes], others: list[bytes], zone: zoneinfo.ZoneInfo | None
) -> Iterator[Finding]:
    """Compares the events of one `$insert_id`."""
    wanted: dict[tuple[str, int, str], list[Event]] = collections.defaultdict(list)
    for line in lines:
        event = Event.from_line(line)
        wanted[event.identity].append(event)
    found = deduplicated(map(Event.from_line, others))

    shared = [identity for identity in wanted if identity in found]
    pairs = [(wanted.pop(identity), found.pop(identity)) for identity in shared]
    # Times of the export may have lost their milliseconds, and one event may have a new time.
    for exactly in (True, False):
        if len(wanted) * len(found) > _MOST_PAIRS:
            break  # an id that is none: every pair might be meant
        for identity, variants in list(wanted.items()):
            for other in list(found):
                if not exactly or not _least(variants, found[other], zone)[1]:
                    pairs.append((wanted.pop(identity), found.pop(other)))
                    break
    for variants, actual in pairs:
        event, different = _least(variants, actual, zone)
        yield Finding(event, actual, different)
    for variants in wanted.values():
        yield Finding(variants[0], None, {})
    for actual in found.values():
        yield Finding(None, actual, {})


def _least(
    variants: list[Event], actual: Event, zone: zoneinfo.ZoneInfo | None
) -> tuple[Event, dict[str, list[Any]]]:
    """The variant with the fewest differences from the actual event."""
    each = ((event, differences(event, actual, zone)) for event in variants)
    return min(each, key=lambda pair: len(pair[1]))


def deduplicated(events: Iterable[Event]) -> dict[tuple[str, int, str], Event]:
    """Deduplicates as Mixpanel does: the last event of one name, time, user and `$insert_id`."""
    latest: dict[tuple[str, int, str], Event] = {}
    for event in events:
        known = latest.get(event.identity)
        if known is None or event.processed >= known.processed:
            latest[event.identity] = event
    return latest
