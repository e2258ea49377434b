"""Raw events together: a table of their properties, and the mapping that makes events of it.

What might not become the same event (an identity event, keys beside event and properties, ...)
is left to `RawEventEncoder`, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from mixpanel_sink.api.identity import IDENTITY_EVENTS
from mixpanel_sink.api.limits import MAX_FUTURE_MS, Limits, now_ms
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.tables import table_of_columns, values_by_name
from mixpanel_sink.encode.times import seconds_or_ms
from mixpanel_sink.settings.columns import Column, Constant, ContentId, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.run_mark import RunMark

_EVENT = "\1event"
"""The column of the events' names; one of the properties may be called "event"."""
_OPTIONAL = ("$insert_id", "ip", "$device_id", "$user_id", "token")
"""Properties that the sink writes itself, and that an event may lack."""


class EventTables:
    """Makes tables of raw events.

    Args:
        limits: sizes.
        token: project token that every event carries, or None.
        clock: milliseconds since 1970.
        mark: what every event of this run carries, or None.
    """

    def __init__(
        self,
        limits: Limits,
        token: str | None = None,
        clock: Callable[[], int] = now_ms,
        mark: RunMark | None = None,
    ) -> None:
        self._mark = mark
        self._limits = limits
        self._token = token
        self._clock = clock
        self._encoders: dict[frozenset[str], ColumnarEncoder] = {}

    def table_of(
        self, events: Sequence[Mapping[Any, Any]]
    ) -> tuple[ColumnarEncoder, pa.Table] | None:
        """A table with a row for each event, and its encoder; None if there is none."""
        fit = [_is_fit(event) for event in events]
        properties = [
            event["properties"] if good else {} for event, good in zip(events, fit, strict=True)
        ]
        values = values_by_name(properties, required=())
        if values is None or "time" not in values or "distinct_id" not in values:
            return None
        if self._mark is not None:
            values.pop(self._mark.name, None)
        latest = self._clock() + MAX_FUTURE_MS
        values["time"] = [_milliseconds(time, latest) for time in values["time"]]
        for name in ("$device_id", "$user_id"):  # RawEventEncoder keeps numbers as they are
            if not {*map(type, values.get(name, ()))} <= {str, type(None)}:
                return None
        values[_EVENT] = [
            event["event"] if good else None for event, good in zip(events, fit, strict=True)
        ]
        present = frozenset(
            name for name in _OPTIONAL if any(value is not None for value in values.get(name, ()))
        )
        for name in _OPTIONAL:
            if name not in present:
                values.pop(name, None)
        encoder = self._encoder(present)
        table = table_of_columns(values, encoder.mapping)
        return None if table is None else (encoder, table)

    def _encoder(self, present: frozenset[str]) -> ColumnarEncoder:
        if present not in self._encoders:
            mapping = EventMapping(
                event=_EVENT,
                time=TimeColumn("time", "ms"),
                distinct_id="distinct_id",
                device_id="$device_id" if "$device_id" in present else None,
                user_id="$user_id" if "$user_id" in present else None,
                insert_id=["$insert_id"] if "$insert_id" in present else ContentId(),
                ip=Column("ip") if "ip" in present else Constant("0"),
                exclude=["token"] if "token" in present else (),
            )
            self._encoders[present] = ColumnarEncoder(
                mapping, self._limits, self._token, self._clock, self._mark
            )
        return self._encoders[present]


def _is_fit(event: Mapping[Any, Any]) -> bool:
    name, properties = event.get("event"), event.get("properties")
    return (
        type(name) is str
        and type(properties) is dict
        and len(event) == 2
        and name not in IDENTITY_EVENTS
        and _EVENT not in properties
    )


def _milliseconds(value: Any, latest: int) -> int | None:
    """As Mixpanel reads it: see `RawEventEncoder`. None for anything but a plain number."""
    if type(value) is not int and type(value) is not float:
        return None
    if not abs(value) < 2**53:
        return None
    return seconds_or_ms(value, latest)
