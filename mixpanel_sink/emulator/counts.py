"""Events over time, by name, without reading an event twice.

Each call of `Counts.catch_up` reads what came since the last one, so that a page can ask every
second however much is stored, and storing costs nothing for it.
"""

import time
from collections import Counter
from typing import Any

from mixpanel_sink.emulator.store import Store

UNITS = {"minute": 60, "hour": 3600, "day": 86400}


class Counts:
    """The number of events by project, name and period. Belongs to the reading thread."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[int, str, int]]] = {unit: Counter() for unit in UNITS}
        self._last = dict.fromkeys(UNITS, 0)
        self._told: dict[tuple[str, int | None], tuple[int, dict[str, Any]]] = {}

    def catch_up(self, store: Store, unit: str, seconds: float = 0.3) -> bool:
        """Count what is new for about so long, by one unit; return whether there is more."""
        end = time.monotonic() + seconds
        for last, counts in store.counted(self._last[unit], UNITS[unit]):
            self._last[unit] = last
            of_unit = self._counts[unit]
            for project, name, start, count in counts:
                of_unit[project, name, start] += count
            if time.monotonic() > end:
                return True
        return False

    def by_name(self, unit: str, project: int | None = None) -> dict[str, Any]:
        """The counts by a unit of `UNITS`: starts in epoch seconds, ascending, and per name."""
        last, known = self._told.get((unit, project), (-1, {}))
        if last != self._last[unit]:
            known = self._by_name(unit, project)
            self._told[unit, project] = self._last[unit], known
        return known

    def _by_name(self, unit: str, project: int | None) -> dict[str, Any]:
        found: dict[str, dict[int, int]] = {}
        for (of, name, start), count in self._counts[unit].items():
            if project is None or project == of:
                of_name = found.setdefault(name, {})
                of_name[start] = of_name.get(start, 0) + count
        starts = sorted(set().union(*found.values()))
        return {
            "unit": unit,
            "starts": starts,
            "events": {
                name: [found[name].get(start, 0) for start in starts] for name in sorted(found)
            },
        }
