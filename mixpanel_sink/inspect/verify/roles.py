"""What a mapping's columns are for, which properties they become, and which it writes itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixpanel_sink.inspect.verify.held import Refused, held
from mixpanel_sink.settings.columns import Column, ColumnsId, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping


def serving(mapping: EventMapping) -> set[str]:
    """Columns that serve as something other than a property."""
    parts = [getattr(mapping, p) for p in ("event", "distinct_id", "device_id", "user_id", "ip")]
    names = {part.name for part in (*parts, mapping.time) if isinstance(part, Column | TimeColumn)}
    return names | set(
        mapping.insert_id.columns if isinstance(mapping.insert_id, ColumnsId) else ()
    )


def written(mapping: EventMapping) -> set[str]:
    """Properties that the import itself writes."""
    names = {"distinct_id", "time", "$insert_id", "token"}
    optional = {"ip": mapping.ip, "$device_id": mapping.device_id, "$user_id": mapping.user_id}
    return names | {name for name, part in optional.items() if part is not None}


def plan_of(mapping: EventMapping, columns: tuple[Any, ...]) -> list[tuple[str, str]]:
    """(property, column), sorted by property.

    Raises:
        Refused: if a name is not text, or two columns become one property.
    """
    left_out = set(mapping.exclude)
    if mapping.properties == "all":
        chosen: Sequence[str] = columns
        if not mapping.include_mapped:
            left_out |= serving(mapping)
    else:
        chosen = [name for name in mapping.properties if name in columns]
    plan: dict[str, str] = {}
    for column in chosen:
        if not isinstance(column, str):
            raise Refused("bad_key", f"The key {column!r} is not text.")
        if column in left_out:
            continue
        name = mapping.rename.get(column, column)
        held(name, column, False)
        if name in plan or name in mapping.constants or name in written(mapping):
            raise Refused("duplicate_property", f"Two columns become {name!r}.", name)
        plan[name] = column
    return sorted(plan.items())


def check_name(name: Any, field: str) -> None:
    """Raises Refused for a name of an event that Mixpanel does not take."""
    if not isinstance(name, str):
        raise Refused("event_wrong_type", f"event is a {type(name).__name__}.", field)
    if not name:
        raise Refused("event_empty", "event is empty.", field)
    if len(str(held(name, field, False)).encode()) > 255:
        raise Refused("event_too_long", "event is longer than 255 bytes.", field)
