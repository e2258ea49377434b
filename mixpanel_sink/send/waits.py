"""What holds the requests of a lane back, and for how long it has. Not thread-safe."""

from __future__ import annotations

from typing import NamedTuple


class Throttled(NamedTuple):
    """A request that a lane holds back.

    Attributes:
        lane: its title.
        cause: the quota, a pause that Mixpanel asked for, or the pause before a retry.
        until: when it may go, in seconds since 1970.
        seconds: until then.
    """

    lane: str
    cause: str
    until: float
    seconds: float


class Waits:
    """The waiting requests of a lane. Times are seconds on the lane's clock."""

    def __init__(self) -> None:
        self.waiting = 0
        self._until = 0.0
        self._since = 0.0
        self._throttled = 0.0
        self._held_since: float | None = None
        self._held = 0.0
        self._retries: list[tuple[float, str]] = []

    def begin(self, now: float, seconds: float) -> None:
        """A request begins to wait for the quota or a pause; infinity: for one in flight to end."""
        if self.waiting == 0:
            self._since = now
        if seconds < float("inf"):
            self._until = now + seconds
            if self._held_since is None:
                self._held_since = now
        self.waiting += 1

    def end(self, now: float) -> None:
        """That request stops waiting, to ask again."""
        self.waiting -= 1
        # Wall-clock time in which at least one request is held back, counted once.
        self._throttled += max(0.0, now - self._since)
        self._since = now
        if self._held_since is not None and not self.waiting:
            self._held += max(0.0, now - self._held_since)
            self._held_since = None

    def retry(self, until: float, cause: str) -> None:
        """A request pauses before a retry."""
        self._retries.append((until, cause))

    def retried(self, until: float, cause: str) -> None:
        """That pause is over."""
        self._retries.remove((until, cause))

    def add(self, seconds: float) -> None:
        """Something other than the lane held a request back for so long."""
        self._throttled += seconds

    def take_throttled(self) -> float:
        """For how many seconds since the last call at least one request waited."""
        seconds, self._throttled = self._throttled, 0.0
        return seconds

    def held_seconds(self, now: float) -> float:
        """For how many seconds so far the quota, or a pause, held at least one request back."""
        return self._held + (0.0 if self._held_since is None else now - self._held_since)

    def held(self, lane: str, now: float, paused_until: float) -> Throttled | None:
        """What holds the next request back now; None if nothing does."""
        if self.waiting and paused_until > now:
            until, cause = max(self._until, paused_until), "Mixpanel asked to wait"
        elif self.waiting and self._until > now:
            until, cause = self._until, "the quota is used up"
        elif self._retries:
            until, cause = min(self._retries)
        else:
            return None
        return Throttled(lane, cause, until, until - now) if until > now else None
