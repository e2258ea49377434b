"""The arithmetic of a rolling window, on one clock, without waiting: the lane waits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mixpanel_sink.settings.quota import Rate


@dataclasses.dataclass(frozen=True)
class Weight:
    """What one request takes from a quota."""

    events: int
    bytes: int

    def of(self, unit: str) -> int:
        """The weight in the unit of a `Rate`."""
        return 1 if unit == "requests" else self.events if unit == "events" else self.bytes


class RollingWindow:
    """What was sent in the last `rate.seconds`, and when the next request may go.

    A request is *open* from its start until its answer, and counts fully while open.
    Then it counts for `rate.seconds` more: the server stamped it somewhere in between,
    so that no rolling window on the server's side can hold more than the quota.

    Not thread-safe; times are seconds on one clock, given by the caller.
    """

    EXACT_ENTRIES = 256
    """Up to this many requests each have their own entry; beyond, entries merge."""
    DRIFT = 0.0005
    """The share of the window by which the server's clock may run slower than ours."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.open_weight = 0
        self._entries: list[list[float]] = []  # [first, last, weight], ordered by last
        self._resolution = rate.seconds / self.EXACT_ENTRIES
        self._life = rate.seconds * (1 + self.DRIFT) + 0.001

    def begin(self, weight: int) -> None:
        """A request of this weight starts now."""
        self.open_weight += weight

    def end(self, now: float, weight: int, counts: bool = True) -> None:
        """Its answer came; `counts=False` if it never reached the server."""
        self.open_weight -= weight
        if counts:
            self.add(now, weight)

    def add(self, now: float, weight: float) -> None:
        """Adds a finished request."""
        last = self._entries[-1] if self._entries else None
        if last is not None and now < last[1]:
            now = last[1]  # a clock that was set back must not free a slot early
        if (
            last is not None
            and len(self._entries) >= self.EXACT_ENTRIES
            and now - last[0] < self._resolution
        ):
            last[1] = now
            last[2] += weight
        else:
            self._entries.append([now, now, weight])

    def wait(self, now: float, weight: int, elsewhere: Sequence[Sequence[float]] = ()) -> float:
        """Seconds until a request of this weight may start.

        0 if it may start now, infinity if an open request must end first.

        Args:
            now: the time.
            weight: of the request that wants to start. One that is heavier than the
                whole quota may start when nothing else counts.
            elsewhere: entries that other workers made, as `entries()` gives them.
        """
        self._expire(now)
        entries = sorted([*self._entries, *elsewhere], key=lambda e: e[1])
        live = [e for e in entries if e[1] + self._life > now]
        excess = self.open_weight + sum(e[2] for e in live) + weight - self.rate.amount
        if excess <= 0 or not (live or self.open_weight):
            return 0.0
        for _, last, freed in live:
            excess -= freed
            if excess <= 0:
                return last + self._life - now
        return 0.0 if not live and not self.open_weight else self._when_empty(now, live)

    def wait_after_open(
        self, now: float, weight: int, queued: int, elsewhere: Sequence[Sequence[float]] = ()
    ) -> float:
        """As `wait`, as if all open requests were answered now and `queued` were sent before."""
        pending, self.open_weight = self.open_weight, 0
        try:
            before = [[now, now, pending + queued]] if pending + queued else []
            return self.wait(now, weight, [*elsewhere, *before])
        finally:
            self.open_weight = pending

    def _when_empty(self, now: float, live: list[Sequence[float]]) -> float:
        # Heavier than the quota: only an empty window lets it go.
        if self.open_weight:
            return float("inf")
        return live[-1][1] + self._life - now

    def used(self, now: float) -> float:
        """What counts at this time, open requests included."""
        self._expire(now)
        return self.open_weight + sum(e[2] for e in self._entries)

    def entries(self, now: float) -> list[list[float]]:
        """The finished requests that still count, as [first, last, weight]."""
        self._expire(now)
        return [list(entry) for entry in self._entries]

    def _expire(self, now: float) -> None:
        keep = 0
        while keep < len(self._entries) and self._entries[keep][1] + self._life <= now:
            keep += 1
        del self._entries[:keep]
