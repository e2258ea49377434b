"""What a bundle's requests have to pass: the lane, a rate limiter, and that the bundle has not
failed."""

from __future__ import annotations

import time
from collections.abc import Callable

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.errors import MixpanelSinkError
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.plan import after_pause
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.window import Weight
from mixpanel_sink.settings.job import RateLimiter


class Gate:
    """Lets the requests of one bundle go, until it is stopped. Thread-safe.

    Args:
        lane: holds the quota.
        policy: how long a pause may be, and who else is asked.
        may_send: raises when the whole run may send nothing more.
    """

    def __init__(
        self, lane: Lane, policy: SendPolicy, may_send: Callable[[], None] = lambda: None
    ) -> None:
        self.lane = lane
        self._may_send = may_send
        self._policy = policy
        self._stopped: Exception | None = None

    def start(self, chunk: EventChunk) -> None:
        """Waits until a request for this chunk may go. The caller must make it, or `cancel` it.

        Raises:
            Exception: the error given to `stop`, or why the job must stop.
        """
        self.lane.start(weight(chunk), self.check)
        if self._policy.rate_limiter is not None:
            try:
                self._ask(self._policy.rate_limiter)
            except BaseException:
                self.cancel(chunk)
                raise

    def start_now(self, chunk: EventChunk) -> bool:
        """As `start` if a request may go at once, else does nothing; returns which."""
        self.check()
        if self._policy.rate_limiter is not None:
            return False  # it may sleep
        return self.lane.start_now(weight(chunk))

    def cancel(self, chunk: EventChunk) -> None:
        """Takes a `start` back: the request will not be made."""
        self.lane.end(weight(chunk), reached_server=False)

    def pause(self, seconds: float, cause: str) -> None:
        """Sleeps, unless it is stopped. `cause` is shown to the user."""
        if seconds > 0:
            self.lane.pause(seconds, self.check, cause)

    def stop(self, error: Exception) -> None:
        """Fails all that wait or come later with this error. Requests in flight go on."""
        self._stopped = self._stopped or error
        self.lane.wake()

    def check(self) -> None:
        """Raises if the gate was stopped, if the run may send nothing more, or if Mixpanel asks for
        too long a pause."""
        if self._stopped is not None:
            raise self._stopped
        self._may_send()
        if (stop := after_pause(self.lane.paused_seconds(), self._policy)) is not None:
            raise stop.error

    def _ask(self, limiter: RateLimiter) -> None:
        """Waits for the rate limiter, then for pauses that Mixpanel asked for meanwhile."""
        began = time.monotonic()
        for wait in self._policy.retry.waits():
            self.check()
            try:
                if limiter.allow():
                    break
            except Exception as error:
                said = " ".join(str(error).split())[:200]
                raise MixpanelSinkError(
                    f"{self.lane.title}: the rate limiter failed ({type(error).__name__}: {said}). "
                    "Nothing is sent without it: check that its service is running."
                ) from error
            self.pause(wait, "the rate limiter asked to wait")
        self.lane.held_back(time.monotonic() - began)
        while (seconds := self.lane.paused_seconds()) > 0:
            self.pause(seconds, "Mixpanel asked to wait")


def weight(chunk: EventChunk) -> Weight:
    """What a request for this chunk takes from the quota."""
    return Weight(chunk.count, chunk.raw_bytes)
