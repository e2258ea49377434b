"""Events over time, by name, without reading an event twice.

Each call of `Counts.catch_up` reads what came since the last one, so that a page can ask every
second however much is stored, and storing costs nothing for it.
"""

from collections import Counter
from typing import Any

from mixpanel_sink.emulator.store import Store

UNITS = {"minute": 60, "hour": 3600, "day": 86400}
_MINUTE_MS = 60_000
_PORTION = 50_000


class Counts:
    """The number of events by project, name and period. Belongs to the reading thread."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[int, str, int]]] = {unit: Counter() for unit in UNITS}
        self._last = 0

    def catch_up(self, store: Store) -> bool:
        """Count a portion of what is new; return whether there may be more."""
        rows = store.events.counted(self._last, _PORTION)
        portion = Counter((project, name, time // _MINUTE_MS) for _, project, name, time in rows)
        for unit, seconds in UNITS.items():
            counts, minutes = self._counts[unit], seconds // 60
            for (project, name, minute), count in portion.items():
                counts[project, name, minute // minutes * seconds] += count
        if rows:
            self._last = rows[-1][0]
        return len(rows) == _PORTION

    def by_name(self, unit: str, project: int | None = None) -> dict[str, Any]:
        """The counts by a unit of `UNITS`: starts in epoch seconds, ascending, and per name."""
        found: dict[str, Counter[int]] = {}
        for (of, name, start), count in self._counts[unit].items():
            if project is None or project == of:
                found.setdefault(name, Counter())[start] += count
        starts = sorted({start for counts in found.values() for start in counts})
        return {
            "unit": unit,
            "starts": starts,
            "events": {name: [found[name][start] for start in starts] for name in sorted(found)},
        }
