"""What a run has done so far, and how long the rest takes: what the bar, the log lines and the
message after Ctrl-C have in common.

What counts is what Mixpanel has answered. Workers in this process tell at once; others tell
through the runner's metrics, where the runner has any before the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mixpanel_sink.process import LANES
from mixpanel_sink.report.finished import read_counters
from mixpanel_sink.send.lane import Lane, steady_clock
from mixpanel_sink.send.tally import tally
from mixpanel_sink.send.waits import Throttled

_BATCH_EVENTS = 2000


@dataclasses.dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
        counts: of the run so far, by the counters' names.
        total: records in all; None if unknown.
        elapsed: seconds since the start.
        left: seconds that the rest takes; None if nothing can be said yet.
        held: what waits, for what and until when.
        in_flight: requests that have not been answered yet.
        known: whether the counts are known while the job runs.
    """

    counts: Mapping[str, int]
    total: int | None = None
    elapsed: float = 0.0
    left: float | None = None
    held: Throttled | None = None
    in_flight: int = 0
    known: bool = True

    @property
    def accepted(self) -> int:
        """Records that Mixpanel holds."""
        return self.counts.get("events_accepted", 0)

    @property
    def failed(self) -> int:
        """Records that failed."""
        return self.counts.get("records_failed", 0)

    @property
    def requests(self) -> int:
        """Requests that were answered, or failed to be."""
        return self.counts.get("requests", 0)

    @property
    def done(self) -> int:
        """Records that are settled: accepted, failed or left out."""
        left_out = ("records_left_out", "records_imported_before", "profiles_unchanged")
        return self.accepted + self.failed + sum(self.counts.get(name, 0) for name in left_out)


class Watch:
    """Observes a run from its start.

    Args:
        total: counts the records; called on a thread, since it may take long.
        here: whether the workers are in this process.
    """

    def __init__(self, total: Callable[[], int | None] = lambda: None, here: bool = True) -> None:
        self._before = tally().counts()
        self._started = time.monotonic()
        self._began = steady_clock()
        self._here = here
        self._total: int | None = None
        self._first: tuple[int, float] | None = None
        self._result: Any = None
        threading.Thread(target=self._count, args=(total,), name="total", daemon=True).start()

    def runs_as(self, result: Any) -> None:
        """Tells the result of the started job, whose metrics can be read from now on."""
        self._result = result

    def look(self) -> Standing:
        """How the run stands now."""
        lanes = [lane for lane in LANES.all() if lane.used_since(self._began)]
        in_flight = sum(lane.in_flight for lane in lanes)
        counts = self._counts()  # read last, so that each answered request is in one of the two
        elapsed = time.monotonic() - self._started
        if counts is None:
            return Standing({}, self._total, elapsed, known=False)
        held = min(filter(None, (lane.held() for lane in lanes)), key=_until, default=None)
        now = Standing(counts, self._total, elapsed, None, held, in_flight)
        if self._first is None and now.done:
            self._first = now.done, busy_seconds(now, lanes)
        return dataclasses.replace(now, left=seconds_left(now, lanes, self._first or (0, 0.0)))

    def _counts(self) -> dict[str, int] | None:
        if self._here:
            now = tally().counts()
            return {name: value - self._before.get(name, 0) for name, value in now.items()}
        with contextlib.suppress(Exception):  # not every runner has them before the end
            return read_counters(self._result)
        return None

    def _count(self, total: Callable[[], int | None]) -> None:
        with contextlib.suppress(Exception):  # the job itself says what is wrong with a file
            self._total = total()


def _until(held: Throttled) -> float:
    return held.until


def busy_seconds(now: Standing, lanes: Sequence[Lane]) -> float:
    """Seconds so far in which nothing was held back."""
    held = max((lane.held_seconds() for lane in lanes), default=0.0)
    return max(0.0, now.elapsed - held)


def seconds_left(
    now: Standing, lanes: Sequence[Lane], first: tuple[int, float] = (0, 0.0)
) -> float | None:
    """How long the rest takes: by the rate while nothing was held back, or by the quota, if that is
    slower.

    Args:
        now: how the run stands.
        lanes: that send for it, with what they know of the quota.
        first: records done, and busy seconds, at the first look with any: what start-up took says
            nothing of the rate.

    Returns:
        Seconds; None if nothing can be said yet.
    """
    if now.total is None or not now.done:
        return None
    rest = max(0, now.total - now.done)
    busy = busy_seconds(now, lanes)
    # At the first look there is nothing better than the rate since the start.
    done, busy = (now.done - first[0], busy - first[1]) if now.done > first[0] else (now.done, busy)
    by_rate = rest * busy / done
    if not rest or not lanes:
        return by_rate
    # A share of what is left fails before it is sent, as it did so far.
    sent = now.accepted - now.counts.get("events_known", 0)
    events = rest * sent // now.done
    each = min(_BATCH_EVENTS, sent / now.requests) if now.requests and sent else _BATCH_EVENTS
    raw_bytes = events * now.counts.get("raw_bytes", 0) // max(1, sent)
    share = len(lanes)  # records are spread evenly over lanes
    by_quota = [
        lane.seconds_for(round(events / each / share + 0.49), events // share, raw_bytes // share)
        for lane in lanes
    ]
    return max(by_rate, *by_quota)
