"""Failed records once more: an event as it was, a record through the mapping."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Any

from mixpanel_sink.api.insert_ids import fitting_id
from mixpanel_sink.encode.records import EncodedEvent, EventChecker, RecordEncoder
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.results import NOT_JSON, FailedRecord
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.mapping import EventMapping

_BEYOND_MICROSECONDS = re.compile(r"(?<=\.\d{6})\d+")


class ReplayEncoder:
    """Encodes failed records, each with the `$insert_id` that it had or would have had.

    Args:
        encoder: of the mapping, or of ready-made events.
        mapping: what `encoder` goes by; None for ready-made events.
    """

    def __init__(self, encoder: RecordEncoder | EventChecker, mapping: EventMapping | None) -> None:
        self._encoder = encoder
        self._mapping = mapping

    def encode(self, failed: FailedRecord) -> EncodedEvent:
        """One event, of a failure that `can_be_sent`.

        Raises:
            RecordError: with the reason why it fails again.
        """
        if (event := failed.event) is not None:
            return self._event(event, failed)
        record = failed.record
        if self._mapping is None:
            assert isinstance(self._encoder, EventChecker)
            properties = record.get("properties")
            if isinstance(properties, dict):
                _check_stand_ins(properties, properties, False)
            return self._encoder.encode(record)
        assert isinstance(self._encoder, RecordEncoder)
        _check_stand_ins(record, self._used(record), self._mapping.non_finite == "drop")
        _restore_time(record, self._mapping.time, failed.reason)
        given = None if failed.insert_id is None else fitting_id(failed.insert_id)
        return self._encoder.encode(record, insert_id=given)

    def _event(self, event: Any, failed: FailedRecord) -> EncodedEvent:
        """The event as it was; only its id and the token are put where they belong."""
        properties = event.get("properties") if isinstance(event, dict) else None
        if not isinstance(properties, dict) or not isinstance(event.get("event"), str):
            raise RecordError(
                "not_an_event",
                'The failed record\'s event is none: it must be {"event": name, "properties": '
                "{...}}. Mend the line.",
                "event",
            )
        rest = {key: v for key, v in properties.items() if key not in ("$insert_id", "token")}
        given = properties.get("$insert_id") or failed.insert_id
        insert_id = fitting_id(given) if isinstance(given, str) else None
        return self._encoder.finish({"event": event["event"], "properties": rest}, insert_id)

    def _used(self, record: Mapping[str, Any]) -> set[str]:
        """The columns of which the mapping makes something."""
        assert self._mapping is not None
        try:
            plan = self._mapping.plan(tuple(record))
        except MappingError as error:
            raise RecordError("duplicate_property", str(error)) from None
        return {column for _, column in plan} | set(self._mapping.mapped_columns())


def _check_stand_ins(record: dict[str, Any], used: Any, drop_non_finite: bool) -> None:
    """Puts nulls where the mapping now drops NaN; refuses what only stands for a value."""
    for name, value in record.items():
        if not isinstance(value, dict) or NOT_JSON not in value or name not in used:
            continue
        if drop_non_finite and value[NOT_JSON] == "non_finite_number":
            record[name] = value.get("like")
            continue
        raise RecordError(
            str(value[NOT_JSON]),
            f"{name} held a value that JSON does not have, so that the failed record has only "
            "something like it. Exclude the column (for NaN, non_finite: drop does as well), or "
            "put the right value into the line.",
            name,
        )


def _restore_time(record: dict[str, Any], column: Any, reason: str) -> None:
    """A timestamp became text in the failed record; text that was text stays."""
    assert isinstance(column, TimeColumn)
    text = record.get(column.name)
    if not isinstance(text, str) or column.unit == "iso8601" or reason == "time_is_text":
        return
    try:
        if len(text) == len("2024-01-02"):
            record[column.name] = datetime.date.fromisoformat(text)
            return
        text = _BEYOND_MICROSECONDS.sub("", text)
        record[column.name] = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return
