"""A lane: one ordered way to a project, and its share of the project's quota.

Runners process one key at a time, so what a lane keeps in its key's state is a limit
for the whole job. `Lane` is that state's counterpart on a worker: it waits, counts, and
remembers the requests of this process even when a bundle fails and its state is lost.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from mixpanel_sink.send.size_limit import SizeLimit
from mixpanel_sink.send.waits import Throttled, Waits
from mixpanel_sink.send.window import RollingWindow, Weight
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy

_PROCESS = uuid.uuid4().hex
"""Tells this process's requests in a lane's state from those of other workers."""
_EPOCH = time.time() - time.monotonic()


CLOCK_SKEW = 2.0
"""Seconds by which the clocks of two workers may differ."""


def steady_clock() -> float:
    """Seconds since 1970, by a clock that is never set back or forward while we run."""
    return _EPOCH + time.monotonic()


class Lane:
    """Counts and holds back the requests of one lane on this worker. Thread-safe.

    Args:
        quota: the lane's share.
        max_in_flight: requests at the same time, at most.
        name: for the log.
        retry: how long to wait after a 429 that does not say.
        clock: seconds since 1970.
        process: tells this worker from others in the lane's state.
        sleep: waits on a condition for at most so many seconds; a test's turns the clock.
    """

    def __init__(
        self,
        quota: Quota,
        max_in_flight: int = 128,
        name: str = "lane",
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = steady_clock,
        process: str = _PROCESS,
        sleep: Callable[[threading.Condition, float], object] = threading.Condition.wait,
    ) -> None:
        self.proven = False
        """Whether the endpoint has taken a request with these credentials."""
        self._size_limit = SizeLimit()
        self._quota = quota
        self._name = name
        self._retry = retry or RetryPolicy()
        self._clock = clock
        self._process = process
        self._sleep = sleep
        self._max_in_flight = max_in_flight
        self._windows = [RollingWindow(rate) for rate in quota.rates]
        self._expected = [0] * len(self._windows)
        self._elsewhere: dict[str, list[list[list[float]]]] = {}
        self._seen: dict[str, float] = {}
        self._remembered: set[float] = set()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._width = float(max_in_flight)
        self._narrowed_at = 0.0
        self._paused_until = 0.0
        self._backoff: Iterator[float] = self._retry.waits()
        self._throttled_since: float | None = None
        self._waits = Waits()
        self._given_up = 0
        self._begun_at = 0.0

    @property
    def title(self) -> str:
        """Its name and quota, for the log."""
        return f"{self._name} (quota {self._quota})"

    def expect(self, weight: Weight, sign: int = 1) -> None:
        """Counts a request that will start before the bundle ends; `sign=-1` once it has started.

        The state is written before that, and must count it.
        """
        with self._changed:
            for number, window in enumerate(self._windows):
                self._expected[number] += sign * weight.of(window.rate.of)

    def widen(self, max_in_flight: int) -> None:
        """Allows so many requests in flight; never fewer than another sink asked for."""
        with self._changed:
            if max_in_flight > self._max_in_flight:
                self._width += max_in_flight - self._max_in_flight
                self._max_in_flight = max_in_flight
                self._changed.notify_all()

    def remember(self, at: float) -> None:
        """Counts, once, the request without events that a preflight made; answered at this time."""
        with self._changed:
            if at in self._remembered:
                return
            self._remembered.add(at)
            for window in self._windows:
                window.add(at, Weight(0, 0).of(window.rate.of))

    def start(self, weight: Weight, check: Callable[[], None] = lambda: None) -> None:
        """Waits until one more request may go, and counts it as open.

        Args:
            weight: of the request.
            check: called before each look, at least every few seconds and after `wake`,
                without the lock. What it raises ends the waiting.
        """
        while True:
            check()
            with self._changed:
                seconds = self._wait(weight)
                if seconds <= 0:
                    self._begin(weight)
                    return
                self._hold(seconds)

    def start_now(self, weight: Weight) -> bool:
        """As `start` if the request may go at once and nobody waits, else does nothing; returns
        which."""
        with self._changed:
            if self._waits.waiting or self._wait(weight) > 0:
                return False
            self._begin(weight)
            return True

    def free_in(self, weight: Weight) -> float:
        """Seconds until the quota and the server let one more request go, at least: after those
        that are open or expected."""
        with self._changed:
            now = self._clock()
            seconds = max(0.0, self._paused_until - now)
            for number, window in enumerate(self._windows):
                size, queued = weight.of(window.rate.of), self._expected[number]
                wait = window.wait_after_open(now, size, queued, self._of_others(number))
                seconds = max(seconds, wait)
            return seconds

    def end(self, weight: Weight, reached_server: bool = True) -> None:
        """The request is over. First tell the lane what the response says: others start now."""
        with self._changed:
            self._in_flight -= 1
            now = self._clock()
            for window in self._windows:
                window.end(now, weight.of(window.rate.of), reached_server)
            self._changed.notify_all()

    def answered(self) -> None:
        """A request was served, whatever became of it: widen slowly, forget the backoff."""
        with self._changed:
            self._width = min(self._max_in_flight, self._width + 0.5)
            self._backoff = self._retry.waits()
            self._throttled_since = None
            self._changed.notify_all()

    def succeeded(self, size: int = 0) -> None:
        """A request of so many bytes was served, and the endpoint takes what we send."""
        with self._changed:
            self.proven = True
            self._given_up = 0
            self._size_limit.accepted(size)
        self.answered()

    def throttled(self, seconds: float | None, sent_at: float) -> float:
        """A 429: hold the whole lane back, and send fewer at a time.

        The number in flight is halved, once for all requests sent before the last
        halving. The quota itself is left alone: Retry-After says exactly when to go on.

        Args:
            seconds: what Retry-After asked for; None to back off exponentially.
            sent_at: when the refused request started.

        Returns:
            Seconds for which the lane has now seen nothing but 429s, this wait included.
        """
        with self._changed:
            now = self._clock()
            if sent_at >= self._narrowed_at:
                self._width = max(1.0, self._width / 2)
                self._narrowed_at = now
                if seconds is None:
                    seconds = next(self._backoff)
            if seconds is not None:
                self._paused_until = max(self._paused_until, now + seconds)
            if self._throttled_since is None:
                self._throttled_since = now
            return max(now, self._paused_until) - self._throttled_since

    def hold_off(self, seconds: float) -> None:
        """The server asked for a pause, but not because of too many requests."""
        with self._changed:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def paused_seconds(self) -> float:
        """For how much longer the server wants no request."""
        with self._changed:
            return max(0.0, self._paused_until - self._clock())

    def gave_up(self) -> int:
        """A batch was given up. Returns how many in a row."""
        with self._changed:
            self._given_up += 1
            return self._given_up

    def fits(self, size: int) -> bool:
        """Whether a request of so many bytes is worth making, as far as 413s have told."""
        with self._changed:
            return self._size_limit.fits(size)

    def too_large(self, size: int) -> None:
        """A request of so many bytes was too large."""
        with self._changed:
            self._size_limit.refused(size)

    def wake(self) -> None:
        """Makes all that wait call their `check` again."""
        with self._changed:
            self._changed.notify_all()

    def pause(
        self, seconds: float, check: Callable[[], None] = lambda: None, cause: str = "a pause"
    ) -> None:
        """Sleeps; `check` as in `start`. `cause` is shown to the user."""
        end = self._clock() + seconds
        with self._changed:
            self._waits.retry(end, cause)
        try:
            while True:
                check()
                with self._changed:
                    left = end - self._clock()
                    if left <= 0:
                        return
                    self._sleep(self._changed, min(left, 5.0))
        finally:
            with self._changed:
                self._waits.retried(end, cause)

    def take_throttled_seconds(self) -> float:
        """Wall-clock seconds since the last call in which the quota held a request back."""
        with self._changed:
            return self._waits.take_throttled()

    def held_back(self, seconds: float) -> None:
        """Something other than the quota held a request back for so long."""
        with self._changed:
            self._waits.add(seconds)

    def held(self) -> Throttled | None:
        """What holds the next request back now, and until when; None if nothing does."""
        with self._changed:
            return self._waits.held(self.title, self._clock(), self._paused_until)

    def held_seconds(self) -> float:
        """Seconds so far in which the quota, or a pause, held a request back."""
        with self._changed:
            return self._waits.held_seconds(self._clock())

    def seconds_for(self, requests: int, events: int, raw_bytes: int) -> float:
        """Seconds until the last of so many requests may go, by the quota and the pause alone.

        Args:
            requests: still to be made, those that are open included.
            events, raw_bytes: that they carry.
        """
        weights = {"requests": requests, "events": events, "bytes": raw_bytes}
        with self._changed:
            now = self._clock()
            seconds = max(0.0, self._paused_until - now)
            for number, window in enumerate(self._windows):
                rate = window.rate
                rest = weights[rate.of] - window.open_weight
                if rest <= 0:
                    continue
                # What goes out in this window goes out again in each window after it.
                windows, last = divmod(rest - 1, int(rate.amount))
                first = window.wait_after_open(now, last + 1, 0, self._of_others(number))
                seconds = max(seconds, windows * rate.seconds + first)
            return seconds

    def used_since(self, at: float) -> bool:
        """Whether a request was made, or waited, since then."""
        with self._changed:
            return bool(self._waits.waiting or self._in_flight) or self._begun_at >= at

    @property
    def in_flight(self) -> int:
        """Requests that have not been answered yet."""
        return self._in_flight

    def snapshot(self) -> bytes:
        """What other workers must know, to be kept in the lane's state."""
        with self._changed:
            now = self._clock()
            self._forget(now)
            mine = [
                [*window.entries(now), *_open(window.open_weight + expected, now)]
                for window, expected in zip(self._windows, self._expected, strict=True)
            ]
            state = {
                "v": 2,
                "of": self._process,
                "at": now,
                "paused": self._paused_until,
                "by": {self._process: mine, **self._elsewhere},
                "seen": {self._process: now, **self._seen},
            }
            return orjson.dumps(state)

    def merge(self, snapshot: bytes | None) -> None:
        """Takes in what the lane's state knows of other workers.

        Of this process the lane knows more than the state does. A request that another
        worker left open was answered before its state was committed, hence before now.

        Times in the state are of the clock of the worker that wrote it. How old a request was
        then is certain; how long ago "then" is, the two clocks tell only to `CLOCK_SKEW`. The
        request counts for so much longer, and a clock that is far ahead stops no request.
        """
        if not snapshot:
            return
        state: dict[str, Any] = orjson.loads(snapshot)
        with self._changed:
            now = self._clock()
            later = 0.0
            if state["of"] != self._process:
                passed = now - state["at"]
                later = passed - max(0.0, passed - CLOCK_SKEW)
            seen = state.get("seen", {})
            for process, windows in state["by"].items():
                # Two sinks' states may know of a third worker: the newer knowledge counts.
                at = seen.get(process, state["at"])
                if (
                    process != self._process
                    and len(windows) == len(self._windows)
                    and at >= self._seen.get(process, 0.0)
                ):
                    self._seen[process] = at
                    self._elsewhere[process] = [
                        [[e[0] + later, e[1] + later if e[1] >= 0 else now, e[2]] for e in entries]
                        for entries in windows
                    ]
            paused = min(state["paused"] + later, now + 86_400)
            self._paused_until = max(self._paused_until, paused)
            self._forget(now)

    def _begin(self, weight: Weight) -> None:
        self._in_flight += 1
        self._begun_at = self._clock()
        for window in self._windows:
            window.begin(weight.of(window.rate.of))

    def _wait(self, weight: Weight) -> float:
        now = self._clock()
        if self._in_flight >= max(1, int(self._width)):
            return float("inf")
        seconds = max(0.0, self._paused_until - now)
        for number, window in enumerate(self._windows):
            size = weight.of(window.rate.of)
            seconds = max(seconds, window.wait(now, size, self._of_others(number)))
        return seconds

    def _of_others(self, number: int) -> list[list[float]]:
        """What other workers sent, as entries of the window of this number."""
        return [entry for windows in self._elsewhere.values() for entry in windows[number]]

    def _hold(self, seconds: float) -> None:
        self._waits.begin(self._clock(), seconds)
        try:
            self._sleep(self._changed, min(seconds, 5.0))
        finally:
            self._waits.end(self._clock())

    def _forget(self, now: float) -> None:
        life = max((rate.seconds for rate in self._quota.rates), default=0.0) * 1.001 + 1
        for process, windows in list(self._elsewhere.items()):
            if not any(e[1] + life > now for entries in windows for e in entries):
                del self._elsewhere[process], self._seen[process]


def _open(weight: int, now: float) -> list[list[float]]:
    return [[now, -1, weight]] if weight else []
