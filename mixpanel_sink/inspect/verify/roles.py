"""What a mapping's columns are for, and which properties it writes itself."""

from __future__ import annotations

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
