"""Failed records once more: what a failed record's line lost or changed is put right."""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection
from typing import Any

from mixpanel_sink.api.insert_ids import fitting_id
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import NOT_JSON
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.run_mark import RunMark

_BEYOND_MICROSECONDS = re.compile(r"(?<=\.\d{6})\d+")


def event_as_it_was(
    event: Any, failed: FailedRecord, mark: RunMark | None = None
) -> tuple[dict[str, Any], str | None]:
    """An event without id and token, and its id, hashed where Mixpanel does not take it.

    The mark of the run in which it failed gives way to that of this run.

    Raises:
        RecordError: if it is not an event.
    """
    found = event.get("properties") if isinstance(event, dict) else None
    properties = found if isinstance(found, dict) else {}
    apart = ("$insert_id", "token", None if mark is None else mark.name)
    rest = {key: value for key, value in properties.items() if key not in apart}
    if not rest or not isinstance(event.get("event"), str):
        raise RecordError(
            "not_an_event",
            'The failed record does not hold an event: it must be {"event": name, "properties": '
            "{...}}. Fix the line.",
            "event",
        )
    given = properties.get("$insert_id") or failed.insert_id
    insert_id = fitting_id(given) if isinstance(given, str) else None
    return {"event": event["event"], "properties": rest}, insert_id


def restore_values(
    record: dict[str, Any], used: Collection[str], mapping: EventMapping | None = None
) -> None:
    """Puts nulls where the mapping now drops NaN.

    Args:
        record: is changed.
        used: its columns of which something is made.
        mapping: None for raw events.

    Raises:
        RecordError: for a value of which the line holds only something like it.
    """
    drop_non_finite = mapping is not None and mapping.non_finite == "drop"
    for name, value in record.items():
        if not isinstance(value, dict) or NOT_JSON not in value or name not in used:
            continue
        if drop_non_finite and value[NOT_JSON] == "non_finite_number":
            record[name] = value.get("like")
            continue
        raise RecordError(
            str(value[NOT_JSON]),
            f"{name} held a value that JSON cannot represent, so the failed record has only "
            "something like it. Exclude the column (for NaN, non_finite: drop does as well), or "
            "put the right value into the line.",
            name,
        )


def restore_time(record: dict[str, Any], column: Any, reason: str) -> None:
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
