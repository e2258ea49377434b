"""Display data of readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixpanel_sink.read.selection import Selection
from mixpanel_sink.read.source import Columns, Format, Planned


def shown(**settings: Any) -> dict[str, Any]:
    """Settings as display data: lists as text, what is not set left out."""
    return {
        name: value if isinstance(value, str | int | float) else ", ".join(map(str, value))
        for name, value in settings.items()
        if value not in (None, (), [], frozenset())
    }


def reading_shown(
    patterns: Sequence[str],
    format: Format,
    columns: Columns,
    selection: Selection,
    planned: Planned | None,
    in_turns: bool,
) -> dict[str, Any]:
    """The display data of a reader of files."""
    return shown(
        patterns=patterns,
        format=format.name,
        columns=columns.only,
        columns_left_out=sorted(columns.but),
        limit=selection.limit,
        skips_row_groups=selection.mapping is not None or None,
        checkpoint=planned and planned.checkpoint,
        in_turns=in_turns or None,
    )
