"""One form for events of the input and of the export, and when two count as the same.

What Mixpanel adds or changes on its own is no difference: properties of its own, the token,
the address (which becomes a place), text cut to 255 bytes, nulls that are gone, times beyond
seconds, large integers as floats, an id that identity management has replaced.
"""

from __future__ import annotations

import dataclasses
import datetime
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
_APART = ("time", "distinct_id", "$insert_id", "token", "ip")
_LAST_CUT = LONG_STRING_BYTES - 3
"""A cut at a whole letter of up to four bytes is not shorter."""


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
    """

    insert_id: str
    event: str
    time: int
    distinct_id: str
    properties: Mapping[str, Any]
    added: Mapping[str, Any]
    processed: int = 0

    @property
    def identity(self) -> tuple[str, int, str]:
        """What makes two events with one `$insert_id` the same to Mixpanel."""
        return self.event, self.time, self.distinct_id

    def to_line(self) -> bytes:
        """One line: id, what is compared, and the rest. Equal events have equal first parts."""
        compared = [self.event, self.time // 1000, self.distinct_id, self.properties]
        rest = [self.time, self.processed, self.added]
        return b"\t".join(
            (
                orjson.dumps(self.insert_id),
                orjson.dumps(compared, option=orjson.OPT_SORT_KEYS),
                orjson.dumps(rest, option=orjson.OPT_SORT_KEYS),
            )
        )

    @classmethod
    def from_line(cls, line: bytes) -> Event:
        """The reverse of `to_line`."""
        insert_id, compared, rest = line.split(b"\t")
        event, _, distinct_id, properties = orjson.loads(compared)
        time, processed, added = orjson.loads(rest)
        return cls(orjson.loads(insert_id), event, time, distinct_id, properties, added, processed)


def sent_event(json: bytes) -> Event:
    """An event as the sink sends it."""
    event = orjson.loads(json)
    properties = event["properties"]
    return _event(event["event"], properties, properties["time"], properties["distinct_id"])


def exported_event(event: Mapping[str, Any]) -> Event:
    """An event as the export gives it.

    Its time is in milliseconds if that was asked for, or in seconds all the same.
    """
    properties = event["properties"]
    time = properties.get("time")
    time = int(time) if isinstance(time, int | float) else 0
    if abs(time) < 30_000_000_000:  # seconds until the year 2920, no milliseconds since 1971
        time *= 1000
    distinct_id = properties.get("$distinct_id_before_identity", properties.get("distinct_id"))
    return _event(event["event"], properties, time, distinct_id)


def _event(name: str, properties: Mapping[str, Any], time: int, distinct_id: Any) -> Event:
    own: dict[str, Any] = {}
    added: dict[str, Any] = {}
    for key, value in properties.items():
        if value is None or key in _APART:
            continue
        part = added if key.startswith(("mp_", "$mp_")) or key in _OF_MIXPANEL else own
        part[key] = value
    processed = properties.get("mp_processing_time_ms")
    insert_id = properties.get("$insert_id")
    return Event(
        insert_id="" if insert_id is None else str(insert_id),
        event=name,
        time=time,
        distinct_id="" if distinct_id is None else str(distinct_id),
        properties=own,
        added=added,
        processed=processed if isinstance(processed, int) else 0,
    )


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
    if actual.time // 1000 not in _seconds(expected.time, zone):
        found["time"] = [expected.time, actual.time]
    for name in sorted({*expected.properties, *actual.properties}):
        pair = [expected.properties.get(name), actual.properties.get(name)]
        if not _same(*pair):
            found[name] = pair
    for name, value in expected.added.items():
        if not _same(value, actual.added.get(name)):
            found[name] = [value, actual.added.get(name)]
    return found


def _seconds(time: int, zone: zoneinfo.ZoneInfo | None) -> Iterator[int]:
    seconds = time // 1000
    yield seconds
    if zone is not None:
        local = datetime.datetime.fromtimestamp(seconds, zone)
        yield int(local.replace(tzinfo=datetime.timezone.utc).timestamp())


def _same(expected: Any, actual: Any) -> bool:
    if isinstance(expected, str) and isinstance(actual, str):
        return expected == actual or _is_cut(expected, actual)
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    if isinstance(expected, int | float) and isinstance(actual, int | float):
        if isinstance(expected, int) and isinstance(actual, int):
            return expected == actual
        return float(expected) == float(actual)
    if isinstance(expected, list) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(_same, expected, actual))
    if isinstance(expected, dict) and isinstance(actual, dict):
        return all(_same(expected.get(name), actual.get(name)) for name in {*expected, *actual})
    return bool(expected == actual)


def _is_cut(expected: str, actual: str) -> bool:
    return (
        len(expected.encode()) > LONG_STRING_BYTES >= len(actual)
        and len(actual.encode()) >= _LAST_CUT
        and expected.startswith(actual)
    )
