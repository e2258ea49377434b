"""One form for events of the input and of the export, and when two count as the same.

Values are compared exactly. What Mixpanel adds or changes on its own makes no difference: its own
properties, the token, the address (which becomes a place), text that it cuts to 255 bytes, nulls
that it leaves out, an id that identity management has replaced.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import re
import zoneinfo
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from mixpanel_sink.api.limits import LONG_STRING_BYTES

_OF_MIXPANEL = frozenset(
    """
    $import $city $region $country_code $distinct_id_before_identity $insert_key $geo_source
    $is_reshuffled $identified_id $failure_reason $failure_description $warnings
    """.split()  # noqa: SIM905
)
BEFORE_IDENTITY = "$distinct_id_before_identity"
_APART = ("time", "distinct_id", "$insert_id", "token", "ip")
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|\+00:?00)?", re.ASCII
)


@dataclasses.dataclass(frozen=True)
class Event:
    """An event of either side.

    Attributes:
        insert_id: "" if it has none.
        event: its name.
        time: milliseconds since 1970.
        distinct_id: as it was sent, where the export still knows.
        properties: the user's.
        added: properties by names that Mixpanel uses itself.
        processed: when Mixpanel took it, in milliseconds since 1970; 0 of the input.
        coarse: whether `time` was given in whole seconds.
        moments: names of properties that are timestamps of the input.
    """

    insert_id: str
    event: str
    time: int
    distinct_id: str
    properties: Mapping[str, Any]
    added: Mapping[str, Any]
    processed: int = 0
    coarse: bool = False
    moments: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, int, str]:
        """What makes two events with one `$insert_id` the same to Mixpanel."""
        return self.event, self.time, self.distinct_id

    def to_line(self) -> bytes:
        """One line: id, name, time, what else is compared, and the rest."""
        compared = [self.distinct_id, self.properties]
        rest = [self.added, self.processed, self.coarse, self.moments]
        return b"\t".join(
            (
                orjson.dumps(self.insert_id),
                orjson.dumps(self.event),
                b"%d" % self.time,
                orjson.dumps(compared, float, orjson.OPT_SORT_KEYS),  # decimals as nearest floats
                orjson.dumps(rest, float, orjson.OPT_SORT_KEYS),
            )
        )

    @classmethod
    def from_line(cls, line: bytes) -> Event:
        """The reverse of `to_line`."""
        insert_id, event, time, compared, rest = line.split(b"\t")
        distinct_id, properties = orjson.loads(compared)
        added, processed, coarse, moments = orjson.loads(rest)
        return cls(
            orjson.loads(insert_id),
            orjson.loads(event),
            int(time),
            distinct_id,
            properties,
            added,
            processed,
            coarse,
            tuple(moments),
        )


def exported_event(event: Mapping[str, Any]) -> Event:
    """An event as the export gives it.

    Its time is in milliseconds if that was asked for, or in seconds all the same.
    """
    properties = event["properties"]
    time = properties.get("time")
    time = int(time) if isinstance(time, int | float) else 0
    coarse = abs(time) < 30_000_000_000  # seconds until the year 2920, no milliseconds since 1971
    distinct_id = sent_distinct_id(properties)
    made = event_of(
        event["event"],
        properties,
        time * 1000 if coarse else time,
        "" if distinct_id is None else str(distinct_id),
        str(properties.get("$insert_id") or ""),
    )
    return dataclasses.replace(made, coarse=True) if coarse else made


def sent_distinct_id(properties: Mapping[str, Any]) -> Any:
    """The id that was sent, where the export still knows it."""
    before = properties.get(BEFORE_IDENTITY)
    return properties.get("distinct_id") if before is None else before


def event_of(
    name: str,
    properties: Mapping[str, Any],
    time: int,
    distinct_id: str,
    insert_id: str,
    moments: tuple[str, ...] = (),
) -> Event:
    """An event made of all its properties: the user's own and those that Mixpanel added."""
    own: dict[str, Any] = {}
    added: dict[str, Any] = {}
    for key, value in properties.items():
        if value is None:
            continue
        if (part := _part(key)) == "own":
            own[key] = value
        elif part == "added":
            added[key] = value
    processed = properties.get("mp_processing_time_ms")
    return Event(
        insert_id=insert_id,
        event=name,
        time=time,
        distinct_id=distinct_id,
        properties=own,
        added=added,
        processed=processed if isinstance(processed, int) else 0,
        moments=moments,
    )


@functools.lru_cache(10_000)
def _part(key: str) -> str:
    """Whose property it is: the user's own, added by Mixpanel, or apart from the others."""
    if key in _APART:
        return "apart"
    return "added" if key.startswith(("mp_", "$mp_")) or key in _OF_MIXPANEL else "own"


def is_own(key: str) -> bool:
    """Whether a property of this name is the user's own, to be compared as it is."""
    return _part(key) == "own"


def differences(
    expected: Event, actual: Event, zone: zoneinfo.ZoneInfo | None = None
) -> dict[str, list[Any]]:
    """What is not the same: names, and the values expected and found.

    Args:
        expected: of the input.
        actual: of the export.
        zone: of a project made before 2023, of which the export may give local times as if they
            were UTC; None for others.
    """
    found: dict[str, list[Any]] = {}
    if expected.event != actual.event:
        found["event"] = [expected.event, actual.event]
    if not _same(expected.distinct_id, actual.distinct_id):
        found["distinct_id"] = [expected.distinct_id, actual.distinct_id]
    if actual.time not in _instants(expected.time, zone, actual.coarse):
        found["time"] = [expected.time, actual.time]
    for name in sorted({*expected.properties, *actual.properties}):
        pair = [expected.properties.get(name), actual.properties.get(name)]
        if not _same(*pair) and not (name in expected.moments and _same_instant(*pair)):
            found[name] = pair
    for name, value in expected.added.items():
        if not _same(value, actual.added.get(name)):
            found[name] = [value, actual.added.get(name)]
    return found


def _instants(time: int, zone: zoneinfo.ZoneInfo | None, coarse: bool) -> Iterator[int]:
    """The times, in milliseconds, as which an export may give a time."""
    seconds, milliseconds = divmod(time, 1000)
    if coarse:
        milliseconds = 0
    yield seconds * 1000 + milliseconds
    if zone is not None:
        local = datetime.datetime.fromtimestamp(seconds, zone).replace(tzinfo=datetime.timezone.utc)
        yield int(local.timestamp()) * 1000 + milliseconds


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, str) and isinstance(actual, str):
        return expected == actual or cut(expected) == actual
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(_same(expected.get(name), actual.get(name)) for name in {*expected, *actual})
    # Python compares integers and floats exactly, however large they are.
    return bool(expected == actual)


def cut(text: str) -> str:
    """Text as Mixpanel keeps it: the whole letters that fit into 255 bytes."""
    return text.encode()[:LONG_STRING_BYTES].decode(errors="ignore")


def _same_instant(expected: Any, actual: Any) -> bool:
    if not isinstance(expected, str) or not isinstance(actual, str):
        return False
    one, other = _INSTANT.fullmatch(expected), _INSTANT.fullmatch(actual)
    if one is None or other is None:
        return False
    return _parts(one) == _parts(other)


def _parts(found: re.Match[str]) -> tuple[Any, ...]:
    day, clock, fraction, zone = found.groups()
    return day, clock, (fraction or "").ljust(9, "0"), bool(zone)
