"""Raw events: records that are Mixpanel events already are checked and completed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pyarrow as pa

from mixpanel_sink.api.endpoints import IMPORT, TRACK, Endpoint
from mixpanel_sink.api.identity import IDENTITY_EVENTS, missing_part
from mixpanel_sink.api.insert_ids import fitting_id
from mixpanel_sink.api.limits import MAX_FUTURE_MS, Limits, now_ms
from mixpanel_sink.api.numbers import whole_number
from mixpanel_sink.api.values import id_text, is_null, to_json
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.blocks import Block
from mixpanel_sink.encode.checks import (
    check_event_name,
    check_text,
    plain_name,
    user_id,
)
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.event_json import EncodedEvent, EventWriter
from mixpanel_sink.encode.event_tables import EventTables
from mixpanel_sink.encode.replay import event_as_it_was, restore_values
from mixpanel_sink.encode.times import check_range, seconds_or_ms
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.mapping import FIXED
from mixpanel_sink.settings.run_mark import RunMark


class RawEventEncoder:
    """Checks Mixpanel events and completes them with ip and `$insert_id`.

    `time` is read as Mixpanel reads it: as seconds or as milliseconds, whichever lies
    between 1971 and an hour from now (no number is both). The mark of another run gives way to that
    of this one.
    """

    takes_columns: ClassVar[bool] = False

    def __init__(
        self,
        limits: Limits,
        token: str | None = None,
        ip: str | None = "0",
        clock: Callable[[], int] = now_ms,
        endpoint: Endpoint = IMPORT,
        mark: RunMark | None = None,
    ) -> None:
        self._mark = mark
        self._apart = FIXED if mark is None else (*FIXED, mark.name)
        self._write = EventWriter(limits, token, clock, mark)
        self._tables = EventTables(limits, token, clock, mark)
        self._has_token = token is not None
        self._max_age = limits.max_age_seconds
        self._endpoint = endpoint
        self._ip = ip
        self._clock = clock

    def encode(self, event: Mapping[Any, Any], source: RowOrigin | None = None) -> EncodedEvent:
        """One event's JSON.

        Raises:
            RecordError: with the reason why Mixpanel would refuse it.
        """
        name, given = _parts_of(event)
        properties = {
            plain_name(key): value
            for key in sorted(given)
            if key not in self._apart and (value := to_json(given[key], key, False)) is not None
        }
        for key in ("$device_id", "$user_id"):
            if (value := to_json(given.get(key), key, False)) is not None:
                properties[key] = value
        distinct_id = given.get("distinct_id")
        if not is_null(distinct_id):
            properties["distinct_id"] = user_id(distinct_id, "distinct_id", "distinct_id")
        elif name not in IDENTITY_EVENTS:
            raise RecordError("distinct_id_null", "The event has no distinct_id.", "distinct_id")
        _check_identity(name, given, self._endpoint, self._has_token)
        ip = given.get("ip")
        if is_null(ip) or (isinstance(ip, str) and not ip):
            ip = self._ip
        if ip is not None:
            if not isinstance(ip, str):
                raise RecordError("ip_wrong_type", "ip must be text.", "ip")
            properties["ip"] = ip
        at = given.get("time")
        if not is_null(at) or self._endpoint != TRACK:  # /track takes the time of arrival
            identity = is_null(at) and name in IDENTITY_EVENTS
            properties["time"] = self._clock() if identity else self._time(at)
        insert_id = _given_id(given)
        return self._write({"event": name, "properties": properties}, insert_id)

    def id_of(self, event: Mapping[Any, Any], source: RowOrigin | None = None) -> str | None:
        """The `$insert_id` of an event that failed, if it has one."""
        given = event.get("properties")
        try:
            return _given_id(given) if isinstance(given, Mapping) else None
        except RecordError:
            return None

    def table_of(self, block: Block) -> tuple[ColumnarEncoder, pa.Table] | None:
        """The events' properties as a table."""
        return self._tables.table_of(block.records())

    def replay(self, failed: FailedRecord) -> EncodedEvent:
        """The event as it was sent, or the record, which is an event."""
        if (event := failed.event) is not None:
            return self._write(*event_as_it_was(event, failed, self._mark))
        record = failed.record
        if isinstance(properties := record.get("properties"), dict):
            restore_values(properties, properties)
        return self.encode(record)

    def _time(self, value: Any) -> int:
        if is_null(value):
            raise RecordError("time_null", "The event has no time.", "time")
        if getattr(value, "ndim", None) == 0 and value.dtype.kind in "iuf":  # a NumPy scalar
            value = value.item()
        if (whole := whole_number(value)) is not None:
            value = whole
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RecordError(
                "time_wrong_type",
                "time must be a number: seconds or milliseconds since 1970.",
                "time",
            )
        now = self._clock()
        if abs(value) < 1e20:
            ms = seconds_or_ms(value, now + MAX_FUTURE_MS)
            check_range(ms, now, "time", "ms", self._max_age)
            return ms
        raise RecordError(
            "time_out_of_range",
            "time is not a number of seconds or milliseconds since 1970. Fix the record.",
            "time",
        )


def _parts_of(event: Mapping[Any, Any]) -> tuple[str, Mapping[str, Any]]:
    """The name and the properties; raises RecordError if the record is not an event."""
    name, given = event.get("event"), event.get("properties")
    if name is None or not isinstance(given, Mapping):
        raise RecordError(
            "not_an_event",
            'Without a mapping a record must be a Mixpanel event: {"event": name, '
            '"properties": {...}}. Give WriteToMixpanel a mapping for other records.',
            "event" if name is None else "properties",
        )
    if not isinstance(name, str):
        raise RecordError("event_wrong_type", "event must be text.", "event")
    check_event_name(name, "event")
    if unknown := [key for key in event if key not in ("event", "properties")]:
        raise RecordError(
            "not_an_event",
            f"An event holds event and properties only; {unknown[0]!r} would be lost. Move it "
            "into properties.",
            str(unknown[0]),
        )
    for key in given:
        if not isinstance(key, str):
            raise RecordError("bad_key", f"The property {key!r} is not text.", str(key))
        check_text(key, key)
    return name, given


def _check_identity(
    name: str, given: Mapping[Any, Any], endpoint: Endpoint, has_token: bool
) -> None:
    """Raises RecordError for an identity event that lacks a part or goes to the wrong endpoint."""
    if name not in IDENTITY_EVENTS:
        return
    whole = {key: value for key, value in given.items() if not is_null(value)}
    if (missing := missing_part(name, whole)) is not None:
        raise RecordError(
            "identity_incomplete",
            f"The event {name} needs {missing}. mixpanel_sink.api.identity makes such events.",
            missing,
        )
    if name == "$merge" and endpoint == TRACK:
        raise RecordError(
            "wrong_endpoint",
            "$merge goes to /import, with the API secret or a service account; /track does not "
            "take it.",
            "event",
        )
    if name == "$merge" and not has_token:
        raise RecordError(
            "identity_incomplete",
            "The event $merge needs the project's token. Give token= beside the credentials, such "
            'as ServiceAccount(..., token="env:MIXPANEL_TOKEN").',
            "token",
        )


def _given_id(properties: Mapping[Any, Any]) -> str | None:
    """A raw event's own id, hashed if Mixpanel would not accept it."""
    insert_id = properties.get("$insert_id")
    if is_null(insert_id):
        return None
    text = id_text(insert_id, "$insert_id")
    check_text(text, "$insert_id")
    return fitting_id(text) if text else None
