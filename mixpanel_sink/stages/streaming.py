"""Send for streams: partial chunks wait for others, and chunks for the quota, in state and not in a
bundle, so that bundles stay short and what they did is committed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from apache_beam.transforms.window import GlobalWindow

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.stages.send import SendChunks
from mixpanel_sink.stages.timers import set_and_hold

_SOON = 0.05
"""Seconds: no timer is set for sooner."""
_LOST_SECONDS = 7200.0
"""A deadline that is over for so long tells of a timer that was lost with an old label."""


class StreamingSend(SendChunks):
    """`SendChunks` whose partial chunks wait `max_latency` seconds at most.

    Arguments named tails, size, lane and due are the key's state; flush and latency are its timers.
    """

    def _stream(
        self,
        element: tuple[str, bytes],
        states: tuple[Any, Any, Any, Any],
        timers: tuple[Any, Any],
        window: Any,
    ) -> Iterator[Any]:
        """One chunk; states are tails, size, lane and due, timers flush and latency."""
        (key, data), (tails, size, lane, due), (flush, latency) = element, states, timers
        keeps = size.read() is not None
        backlog = self._backlog(key, data, size, lane)
        if backlog:
            earliest: int | None = self._keep(data, tails, size)
        else:
            earliest = self._take(key, data, tails, size, lane)
        if earliest is not None:
            set_and_hold(flush, window.max_timestamp(), earliest)
            self._wake(key, data, due, latency, lane, backlog)
        elif keeps:
            flush.clear()
        yield from self._harvest()

    def _wake(
        self, key: str, data: bytes, due: Any, latency: Any, lane: Any, backlog: bool
    ) -> None:
        """Sets the timer, for when a partial chunk has waited enough or the quota frees."""
        assert self._job.max_latency is not None
        now, known = time.time(), due.read()
        deadline = now + self._job.max_latency if known is None else abs(known) / 1000
        if known is None or deadline < now - self._job.max_latency - _LOST_SECONDS:
            deadline = now + self._job.max_latency
            _set(latency, due, deadline, deadline)
        if backlog:
            seconds = self._free_in(key, EventChunk.from_bytes(data), lane)
            _set(latency, due, deadline, now + max(seconds, _SOON))

    def _woken(
        self, key: str, states: tuple[Any, Any, Any, Any], timers: tuple[Any, Any]
    ) -> Iterator[Any]:
        """Partial chunks have waited long enough, or the quota is free again."""
        (tails, size, lane, due), (flush, latency) = states, timers
        now, known = time.time(), due.read() or 0
        deadline = abs(known) / 1000
        seconds = self._send_some(key, tails, size, lane, known >= 0 or now >= deadline)
        kept = size.read()
        if kept is None:
            due.clear()
            flush.clear()
        else:
            set_and_hold(flush, GlobalWindow().max_timestamp(), kept[2])
            wakes = deadline if seconds is None else now + max(seconds, _SOON)
            _set(latency, due, deadline, wakes)
        yield from self._harvest()


def _set(timer: Any, due: Any, deadline: float, wakes: float) -> None:
    """Sets a stream's timer; the state is negative while it fires before the deadline of a partial
    chunk. (What the timer's firing itself tells needs no clock: a runner's may be another.)"""
    timer.set(wakes)
    due.write(int(deadline * 1000) * (-1 if wakes < deadline else 1))
