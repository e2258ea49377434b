"""What it means that a mapping is another one than that of the files which were imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_IDENTITY = ("event", "distinct_id", "device_id", "user_id", "time")
"""Settings of what Mixpanel compares besides `$insert_id` when it recognises an event."""
_LONGEST = 60


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed, a phrase for each setting.

    >>> changes({"event": "name", "exclude": ["a"]}, {"event": "kind", "where": "x > 1"})
    ['event was "name" and is "kind"', 'exclude ["a"] is gone', 'where "x > 1" is new']
    """
    said = []
    for name in sorted({*before, *after}):
        if name not in after:
            said.append(f"{name} {_shown(before[name])} is gone")
        elif name not in before:
            said.append(f"{name} {_shown(after[name])} is new")
        elif before[name] != after[name]:
            said.append(f"{name} was {_shown(before[name])} and is {_shown(after[name])}")
    return said


def meaning(before: Mapping[str, Any], after: Mapping[str, Any], safe: bool = True) -> str:
    """What would come of sending files again that were sent with the other mapping.

    Args:
        before, after: the settings of both.
        safe: whether it makes events, which have ids.
    """
    if not safe:
        return (
            "Updates of files that are sent again are applied again: those that add, append or "
            "remove count twice."
        )
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    if "insert_id" in changed:
        return "Events of files that are sent again get another $insert_id: each is stored twice."
    if not {*_IDENTITY}.isdisjoint(changed):
        return (
            "Mixpanel compares event, distinct_id and time besides $insert_id: events of files "
            "that are sent again are stored a second time."
        )
    if not is_from_position(after):
        return (
            "$insert_ids are made of columns or of the content: events of files that are sent "
            "again are stored a second time where these differ now."
        )
    if "shape" in changed:
        return (
            "$insert_ids stay the same for a row: what is sent again is not stored twice, but what "
            "the old shape made of a row and the new one does not make stays."
        )
    return (
        "$insert_ids stay the same: what is sent again is not stored twice, but Mixpanel does not "
        "promise which of both versions it keeps."
    )


def is_from_position(mapping: Mapping[str, Any]) -> bool:
    """Whether ids of events are from file and row."""
    given = mapping.get("insert_id")
    return isinstance(given, Mapping) and given.get("from") == "position"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
