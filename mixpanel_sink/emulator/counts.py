"""Events over time, by name, without reading an event twice.

Each call of `Counts.catch_up` reads what came since the last one, so that a page can ask every
second however much is stored, and storing costs nothing for it.
"""

from collections import Counter
from typing import Any

from mixpanel_sink.emulator.store import Store

UNITS = {"minute": 60, "hour": 3600, "day": 86400}
_PORTION = 50_000


class Counts:
    """The number of events by project, name and period. Belongs to the reading thread."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[int, str, int]]] = {unit: Counter() for unit in UNITS}
        self._last = dict.fromkeys(UNITS, 0)

    def catch_up(self, store: Store, unit: str) -> bool:
        """Count a portion of what is new, by one unit; return whether there is more."""
        last, newest, seconds = self._last[unit], store.events.newest(), UNITS[unit]
        until = min(newest, last + _PORTION)
        counts = self._counts[unit]
        for (project, name, period), count in store.events.counted(
            last, until, seconds * 1000
        ).items():
            counts[project, name, period * seconds] += count
        self._last[unit] = until
        return until < newest

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
