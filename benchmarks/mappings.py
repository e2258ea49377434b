"""How the orders of `data.py` become events.

Imports no Arrow: a contestant takes its mapping here before its pipeline has set up Arrow.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import paths

MAPPING = """\
event: event_name
distinct_id: user_id
time: {column: occurred_at, unit: ms}
insert_id: {from: position}
"""
"""For the columnar contestants."""
MAPPING_BY_COLUMN = MAPPING.replace("{from: position}", "order_id")
"""For those that see dicts, which have no position."""


def mapping_file() -> Path:
    """The columnar contestants' mapping as a file."""
    path = paths.CACHE / "mapping.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MAPPING)
    return path
