"""What a worker's log says of its work: a line a minute that a person can read. No Beam here."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from mixpanel_sink.process import PROGRESS
from mixpanel_sink.send.tally import tally
from mixpanel_sink.send.waits import Throttled

_LOGGER = logging.getLogger(__name__)


class Progress:
    """Writes a line to the log at most every `seconds`, for all that this process sends.

    Thread-safe. Call `say` often: as long as it is too early that costs next to nothing. What
    is still to come only the launcher may know, so that the line names no time of arrival.

    Args:
        counts: gives the process's counters, named as in metrics.py.
        seconds: between two lines.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        counts: Callable[[], Mapping[str, int]] = lambda: tally().counts(),
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts = counts
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._said_at = clock()
        self._accepted = 0

    def say(self, held: Callable[[], Sequence[Throttled]] = list) -> None:
        """Logs the line if it is time. `held` tells what waits now."""
        with self._lock:
            now = self._clock()
            passed = now - self._said_at
            if passed < self._seconds:
                return
            self._said_at = now
            counts = self._counts()
            accepted = counts.get("events_accepted", 0)
            rate = max(0, accepted - self._accepted) / passed
            self._accepted = accepted
        _LOGGER.info("%s", line(counts, rate, held()))


def line(counts: Mapping[str, int], rate: float, held: Sequence[Throttled]) -> str:
    """The line.

    >>> line({"events_accepted": 4000, "requests": 3, "requests_200": 2, "requests_none": 1,
    ...       "records_failed": 2, "failed_refused": 2}, 66.7, [])
    'This worker so far: 4,000 events accepted (67 a second lately), 3 requests (200: 2, none: 1), \
2 records failed (refused: 2).'
    """
    parts = [
        f"{counts.get('events_accepted', 0):,} events accepted ({rate:,.0f} a second lately)",
        f"{counts.get('requests', 0):,} requests{_by(counts, 'requests_')}",
        f"{counts.get('records_failed', 0):,} records failed{_by(counts, 'failed_')}",
    ]
    said = f"This worker so far: {', '.join(parts)}."
    for one in held:
        at = datetime.datetime.fromtimestamp(one.until, datetime.timezone.utc)
        said += f" {one.lane}: next request at {at:%H:%M:%S} UTC, in {one.seconds:,.0f} s"
        said += f" ({one.cause})."
    return said


def _by(counts: Mapping[str, int], prefix: str) -> str:
    """The counters of that prefix, the largest first."""
    found = [
        (n, name.removeprefix(prefix)) for name, n in counts.items() if name.startswith(prefix)
    ]
    each = ", ".join(f"{name}: {n:,}" for n, name in sorted(found, key=lambda f: (-f[0], f[1])))
    return f" ({each})" if each else ""


def progress() -> Progress:
    """This process's progress log."""
    return PROGRESS.get(None, Progress)
