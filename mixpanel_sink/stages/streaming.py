"""Send for streams: partial chunks wait for others, and chunks for the quota, in state and not in a
bundle, so that bundles stay short and what they did is committed."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

from apache_beam.transforms.window import GlobalWindow

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.stages.lane_state import LaneState
from mixpanel_sink.stages.send import SendChunks
from mixpanel_sink.stages.timers import hold_while_waiting

_SOON = 0.05
"""Seconds: no timer is set for sooner."""
_LOST_SECONDS = 7200.0
"""A deadline that is over for so long tells of a timer that was lost with an old label."""


@dataclasses.dataclass(frozen=True)
class Wake:
    """When a stream's lane is looked at again.

    Attributes:
        due: state: the deadline of the partial chunk that waits, in milliseconds since 1970;
            negative while the timer fires before it, because the quota is free then.
        timer: of processing time.
    """

    due: Any
    timer: Any

    def deadline(self) -> float | None:
        """When the partial chunk must go, in seconds since 1970; None if none waits."""
        known = self.due.read()
        return None if known is None else abs(known) / 1000

    def reached(self, now: float) -> bool:
        """Whether the deadline is over, now that the timer has fired. (What the timer's firing
        itself tells needs no clock: a runner's may be another.)"""
        known = self.due.read() or 0
        return known >= 0 or now >= abs(known) / 1000

    def set(self, deadline: float, at: float) -> None:
        """Fires at this time."""
        self.timer.set(at)
        self.due.write(int(deadline * 1000) * (-1 if at < deadline else 1))


class StreamingSend(SendChunks):
    """`SendChunks` whose partial chunks wait `max_latency` seconds at most."""

    def _stream(
        self, state: LaneState, data: bytes, wake: Wake, flush: Any, window: Any
    ) -> Iterator[Any]:
        """One chunk; `flush` is the timer of the stream's end."""
        chunk = EventChunk.from_bytes(data)
        waited = state.waits()
        backlog = self._backlog(state, chunk)
        if backlog:
            state.keep(chunk, data)
        else:
            self._take(state, chunk, data)
        hold_while_waiting(flush, window.max_timestamp(), state, waited)
        if state.waits():
            self._wake(state, chunk, wake, backlog)
        yield from self._harvest()

    def _wake(self, state: LaneState, chunk: EventChunk, wake: Wake, backlog: bool) -> None:
        """Sets the timer, for when a partial chunk has waited enough or the quota frees."""
        assert self._job.max_latency is not None
        now, deadline = time.time(), wake.deadline()
        if deadline is None or deadline < now - self._job.max_latency - _LOST_SECONDS:
            deadline = now + self._job.max_latency
            wake.set(deadline, deadline)
        if backlog:
            wake.set(deadline, now + max(self._free_in(state, chunk), _SOON))

    def _woken(self, state: LaneState, wake: Wake, flush: Any) -> Iterator[Any]:
        """Partial chunks have waited long enough, or the quota is free again."""
        now, deadline = time.time(), wake.deadline() or 0.0
        seconds = self._send_some(state, wake.reached(now))
        hold_while_waiting(flush, GlobalWindow().max_timestamp(), state, waited=True)
        if state.waits():
            wake.set(deadline, deadline if seconds is None else now + max(seconds, _SOON))
        else:
            wake.due.clear()
        yield from self._harvest()
