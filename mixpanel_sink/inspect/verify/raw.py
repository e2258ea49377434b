"""What Mixpanel should hold of records that are its events already, sent without a mapping.

Like `expected`, it shares no code with the encoders.
"""

from __future__ import annotations

import dataclasses
import decimal
import math
from collections.abc import Mapping
from typing import Any

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.inspect.verify.events import Event, sent_distinct_id
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.held import Refused, held
from mixpanel_sink.inspect.verify.ids import column_id, user_id, whole
from mixpanel_sink.inspect.verify.places import Place
from mixpanel_sink.inspect.verify.roles import check_name
from mixpanel_sink.inspect.verify.times import event_time, is_time
from mixpanel_sink.settings.columns import ContentId, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.run_mark import RunMark

_IDENTITY = ("$identify", "$create_alias", "$merge")
_OF_INGESTION = frozenset(
    """
    mp_processing_time_ms $mp_api_endpoint $mp_api_timestamp_ms mp_api_endpoint mp_api_timestamp_ms
    $import $insert_key $distinct_id_before_identity $failure_reason $failure_description $warnings
    $is_reshuffled $identified_id $geo_source
    """.split()  # noqa: SIM905
)
"""What Mixpanel writes when an event arrives, whatever it had from another project."""
_APART = ("time", "distinct_id", "$insert_id", "ip", "token", "$device_id", "$user_id")
_TIME = TimeColumn("time", "ms")


class RawExpectation(Expectation):
    """Works out events of records that are Mixpanel events. See `Expectation` for its arguments."""

    def __init__(
        self,
        limits: Limits,
        privacy: Privacy | None,
        token: str | None,
        now: int,
        mark: RunMark | None = None,
    ) -> None:
        mapping = EventMapping("event", _TIME, distinct_id="distinct_id", insert_id=ContentId())
        super().__init__(mapping, limits, privacy, token, now, mark)
        self.plain = False  # what privacy hides lies deeper than a column
        self._has_token = token is not None

    def _private(self, record: Mapping[str, Any]) -> dict[str, Any]:
        hidden = super()._private(record)
        return {
            name: self._private(value) if isinstance(value, dict) else value
            for name, value in hidden.items()
        }

    def _event(self, record: Mapping[str, Any], place: Place) -> Event:
        name, given = record.get("event"), record.get("properties")
        if name is None or not isinstance(given, dict):
            raise Refused("not_an_event", "It is not an event of Mixpanel's.")
        check_name(name, "event")
        if others := [key for key in record if key not in ("event", "properties")]:
            raise Refused("not_an_event", f"{others[0]!r} is not in properties.", str(others[0]))
        for key in given:
            if not isinstance(key, str):
                raise Refused("bad_key", f"The property {key!r} is not text.", str(key))
            held(key, key, False)
        own = sorted(key for key in given if key not in _APART)
        properties: dict[str, Any] = {}
        for key in (*own, "$device_id", "$user_id"):
            value = held(given.get(key), key, False)
            if value is not None and (self.mark is None or key != self.mark.name):
                properties[key] = value
        if given.get("distinct_id") is not None:
            properties["distinct_id"] = user_id(given["distinct_id"], "distinct_id")
        elif name not in _IDENTITY:
            raise Refused("distinct_id_null", "The event has no distinct_id.", "distinct_id")
        self._check_identity(name, given)
        properties["ip"] = self._address(given.get("ip"))
        properties["time"] = self._when(given.get("time"))
        event = self._finished(name, properties, _own_id(given.get("$insert_id")))
        added = {key: value for key, value in event.added.items() if key not in _OF_INGESTION}
        user = sent_distinct_id(properties)
        return dataclasses.replace(
            event, added=added, distinct_id="" if user is None else str(user)
        )

    def _check_identity(self, name: str, given: Mapping[str, Any]) -> None:
        needed: tuple[str, ...] = ()
        if name == "$identify":
            known = "$identified_id" if given.get("distinct_id") is None else "distinct_id"
            needed = (known, "$anon_id")
        elif name == "$create_alias":
            needed = ("distinct_id", "alias")
        elif name == "$merge":
            ids = given.get("$distinct_ids")
            whole_list = isinstance(ids, list) and len(ids) == 2
            needed = () if whole_list and self._has_token else ("$distinct_ids",)
            given = {}
        for part in needed:
            if not given.get(part):
                raise Refused("identity_incomplete", f"{name} needs {part}.", part)

    def _address(self, value: Any) -> str:
        if value is not None and not isinstance(value, str):
            raise Refused("ip_wrong_type", f"ip is a {type(value).__name__}.", "ip")
        return value or "0"

    def _when(self, value: Any) -> int:
        """A time in seconds or in milliseconds: whichever Mixpanel takes."""
        if value is None:
            raise Refused("time_null", "The event has no time.", "time")
        number = whole(value)
        number = value if number is None else number
        if isinstance(number, bool | decimal.Decimal) or not isinstance(number, int | float):
            raise Refused("time_wrong_type", f"time is a {type(value).__name__}.", "time")
        if not math.isfinite(number):
            raise Refused("time_out_of_range", f"time is {value}.", "time")
        seconds = number * 1000
        return event_time(
            seconds if is_time(seconds, self.now) else number,
            _TIME,
            self.now,
            self.limits.max_age_seconds,
        )


def _own_id(value: Any) -> str | None:
    return None if value is None or value == "" else column_id(value, "$insert_id")
