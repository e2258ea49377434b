"""A row of the input as a Mixpanel event, for contestants that work on dicts.

Only the standard library: a contestant's own environment may have nothing else.
"""

from __future__ import annotations

from typing import Any

_MAPPED = ("event_name", "user_id", "occurred_at", "order_id")


def to_event(row: dict[str, Any]) -> dict[str, Any]:
    """The event that the mapping by column makes of the row."""
    properties = {name: value for name, value in row.items() if name not in _MAPPED}
    properties["updated_at"] = row["updated_at"].strftime("%Y-%m-%dT%H:%M:%SZ")
    properties["distinct_id"] = row["user_id"]
    properties["ip"] = "0"
    properties["time"] = row["occurred_at"]
    properties["$insert_id"] = row["order_id"]
    return {"event": row["event_name"], "properties": properties}
