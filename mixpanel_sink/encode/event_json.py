"""The JSON text of an event or update: its size, its id and the token."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from mixpanel_sink.api.identity import is_ignored_anon_id
from mixpanel_sink.api.insert_ids import content_id, salted_id
from mixpanel_sink.api.limits import (
    IGNORE,
    LONG_STRING_BYTES,
    MAX_NESTED_BYTES,
    MAX_PROPERTIES,
    OLD_RETENTION_MS,
    RESERVED_PROPERTIES,
    RETENTION_MS,
    Limits,
    now_ms,
)
from mixpanel_sink.api.numbers import Rounded, json_bytes
from mixpanel_sink.encode.checks import invalid_text
from mixpanel_sink.errors import RecordError
from mixpanel_sink.settings.run_mark import RunMark

_MILLISECONDS_FROM = 31_536_000_000
"""A replayed event may have its time in seconds, which are fewer than any milliseconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventCounts:
    """What is counted about one or more events, besides their number; also the names of metrics.

    Attributes:
        long_strings: values that Mixpanel will cut.
        reserved_properties: values of properties that have a special meaning in Mixpanel.
        rounded_decimals: numbers that are sent with fewer digits than they have.
        old_events: events that are older than Mixpanel keeps them.
        old_events_5_years: events that are older than it keeps them in old projects.
        ignored_anon_ids: `$identify` events that original ID merge ignores.
    """

    long_strings: int = 0
    reserved_properties: int = 0
    rounded_decimals: int = 0
    old_events: int = 0
    old_events_5_years: int = 0
    ignored_anon_ids: int = 0


COUNTED = tuple(field.name for field in dataclasses.fields(EventCounts))


@dataclasses.dataclass(frozen=True)
class EncodedEvent(EventCounts):
    """An event's JSON, and what to count of it.

    Attributes:
        json: its text.
        key: its `$insert_id`, user and time in milliseconds; None for updates of profiles.
    """

    json: bytes
    key: tuple[str, str, int] | None = None


class EventWriter:
    """Writes events: limits, the id, the token, and the JSON text.

    Args:
        limits: sizes.
        token: project token that every event carries, or None.
        clock: milliseconds since 1970.
        mark: what every event of this run carries, or None.
        salt: of ids from the content.
    """

    def __init__(
        self,
        limits: Limits,
        token: str | None,
        clock: Callable[[], int] = now_ms,
        mark: RunMark | None = None,
        salt: str = "",
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._mark = None if mark is None else mark.name
        self._salt = salt
        self._id = ("" if mark is None else mark.json).encode() + b',"$insert_id":"'
        self._end = b'"}}' if token is None else b'","token":' + orjson.dumps(token) + b"}}"
        self._extra = 1 + (token is not None) + (mark is not None)

    def __call__(self, event: dict[str, Any], insert_id: str | None) -> EncodedEvent:
        """One event.

        Args:
            event: with its properties, but without `$insert_id` and token.
            insert_id: its id; None for one from the content.

        Raises:
            RecordError: if it is too large.
        """
        properties = event["properties"]
        if self._mark in properties:
            raise RecordError(
                "duplicate_property",
                f"The record has the property {self._mark!r}, which run_property writes as well. "
                "Choose another name for run_property, or rename the column.",
                self._mark,
            )
        if len(properties) + self._extra > MAX_PROPERTIES:
            raise RecordError(
                "too_many_properties",
                f"The event would have {len(properties) + self._extra} properties; Mixpanel takes "
                "fewer than 255. List those that you need.",
                "properties",
            )
        if properties.get(IGNORE):
            raise RecordError(
                "event_ignored",
                f"The property {IGNORE} is true, so Mixpanel would silently drop the event. "
                "Leave out the property or the record.",
                IGNORE,
            )
        rounded: list[Rounded] = []
        text = dumps(event, properties, rounded)
        if len(text) > MAX_NESTED_BYTES:
            check_nested(text)
        if insert_id is None:
            insert_id = content_id(json_bytes(event, exact=True) if rounded else text)
            insert_id = salted_id(insert_id, self._salt)
        text = b"".join((text[:-2], self._id, insert_id.encode(), self._end))
        if len(text) > self._limits.event_bytes:
            raise RecordError(
                "event_too_large",
                f"The event is {len(text):,} bytes of JSON; the limit is "
                f"{self._limits.event_bytes:,}. Shorten or exclude its longest properties.",
                longest(properties),
            )
        reserved = 0
        if not properties.keys().isdisjoint(RESERVED_PROPERTIES):
            reserved = sum(properties.get(name) is not None for name in RESERVED_PROPERTIES)
        time = properties.get("time")
        now = self._clock()
        if type(time) is not int:  # an identity event without a time, or a replay
            time = now
        elif time < _MILLISECONDS_FROM:
            time *= 1000
        return EncodedEvent(
            text,
            long_strings=count_long_strings(properties),
            reserved_properties=reserved,
            rounded_decimals=len(rounded),
            old_events=int(time < now - RETENTION_MS),
            old_events_5_years=int(time < now - OLD_RETENTION_MS),
            ignored_anon_ids=int(
                "$anon_id" in properties and is_ignored_anon_id(event["event"], properties)
            ),
            key=(insert_id, str(properties.get("distinct_id", "")), time),
        )


def dumps(
    value: dict[str, Any],
    parts: Mapping[str, Any],
    rounded: list[Rounded] | None = None,
    exact: bool = False,
) -> bytes:
    """JSON text, as `json_bytes` writes it; raises RecordError that names the part at fault."""
    try:
        return json_bytes(value, rounded, exact)
    except (orjson.JSONEncodeError, RecursionError):
        for name, part in parts.items():
            _check_part(name, part)
        raise RecordError("unsupported_value", "The event cannot be written as JSON.") from None


def _check_part(name: str, part: Any) -> None:
    try:
        json_bytes({name: part})
    except (orjson.JSONEncodeError, RecursionError) as error:
        if "surrogate" in str(error):
            raise invalid_text(name) from None
        raise RecordError(
            "nested_too_deep", f"{name} nests too many lists. Flatten it.", name
        ) from None


def longest(properties: Mapping[str, Any]) -> str:
    """The property with the longest JSON."""
    return max(properties, key=lambda name: len(json_bytes(properties[name])))


def check_nested(text: bytes) -> None:
    """Raises RecordError for an event with a list or an object larger than Mixpanel takes."""
    for name, value in orjson.loads(text)["properties"].items():
        if isinstance(value, list | dict) and (size := len(orjson.dumps(value))) > MAX_NESTED_BYTES:
            reason, what = ("lists_too_large", "list")
            if isinstance(value, dict):
                reason, what = ("object_too_large", "object")
            raise RecordError(
                reason,
                f"{name} is a{'n' * (what == 'object')} {what} of {size:,} bytes of JSON; Mixpanel "
                f"takes {MAX_NESTED_BYTES:,} in a property. Shorten it or leave it out.",
                name,
            )


def count_long_strings(properties: Mapping[str, Any]) -> int:
    """The number of text values that Mixpanel will cut."""
    long = 0
    for value in properties.values():
        if type(value) is str and len(value) > LONG_STRING_BYTES // 4:
            long += len(value.encode()) > LONG_STRING_BYTES
    return long
