"""The steps that Beam sees of Send: each sink has a class of its own, with state and timers.

Beam finds timers by the arguments of a class's methods. A class for each sink gives each sink
timers of its own; it is pickled as the call that makes it.
"""

# ruff: noqa: B008  (Beam declares state and timers as argument defaults)

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.settings.job import Job
from mixpanel_sink.stages.lane_state import LANE, SIZE, TAILS, LaneState
from mixpanel_sink.stages.send import SendChunks
from mixpanel_sink.stages.streaming import StreamingSend, Wake
from mixpanel_sink.stages.timers import hold_while_waiting

_DUE = ReadModifyWriteStateSpec("due", VarIntCoder())


def timer_family(label: str) -> str:
    """The part of the names of one sink's timers that is its own; part of the upgrade contract.

    In one fused stage, timers of one name share a buffer on some runners (apache/beam#21995), so
    that two sinks, or a user's `TimerSpec("flush")` beside the sink, would lose data. A label is
    unique in a pipeline, and the same when the pipeline is built again for an update.

    Args:
        label: the write's full label.

    >>> timer_family("Write to Mixpanel")
    '4c7fd4d2'
    """
    return hashlib.blake2b(label.encode(), digest_size=4).hexdigest()


def send_chunks(job: Job, family: str, within: bool) -> SendChunks:
    """Makes the DoFn.

    Args:
        job: settings.
        family: of its timers.
        within: whether partial chunks go out after `max_latency` seconds, as in a stream. That
            is a class of its own, because a processing-time timer, used or not, keeps the
            DirectRunner from its fast path.
    """
    return (_streaming if within else _bounded)(family)(job)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _untyped(method: _Method) -> _Method:
    """Beam's --runtime_type_check stops at annotations of state and timers. With none of the output
    Beam would look for its type in the byte code, which takes long."""
    method.__annotations__ = {"return": Iterator[Any]}
    return method


@functools.cache
def _bounded(family: str) -> type[SendChunks]:
    """`SendChunks` for input that ends."""
    flush_timer = TimerSpec(f"flush-{family}", TimeDomain.WATERMARK)

    class Bounded(SendChunks):
        def __reduce__(self) -> Any:
            return send_chunks, (self._job, family, False)

        def default_label(self) -> str:
            """Part of the step's name."""
            return "SendChunks"

        @_untyped
        def process(
            self,
            element: tuple[str, bytes],
            tails: Any = beam.DoFn.StateParam(TAILS),
            size: Any = beam.DoFn.StateParam(SIZE),
            lane: Any = beam.DoFn.StateParam(LANE),
            flush: Any = beam.DoFn.TimerParam(flush_timer),
            window: Any = beam.DoFn.WindowParam,
        ) -> Iterator[Any]:
            """One chunk."""
            key, data = element
            state = LaneState(key, tails, size, lane)
            waited = state.waits()
            self._take(state, EventChunk.from_bytes(data), data)
            hold_while_waiting(flush, window.max_timestamp(), state, waited)
            yield from self._harvest()

        @on_timer(flush_timer)
        @_untyped
        def on_flush(
            self,
            key: Any = beam.DoFn.KeyParam,
            tails: Any = beam.DoFn.StateParam(TAILS),
            size: Any = beam.DoFn.StateParam(SIZE),
            lane: Any = beam.DoFn.StateParam(LANE),
        ) -> Iterator[Any]:
            """The input has ended: what is left goes out."""
            self._send_rest(LaneState(key, tails, size, lane))
            yield from self._harvest()

    return Bounded


@functools.cache
def _streaming(family: str) -> type[SendChunks]:
    """`StreamingSend`, with timers of this family."""
    latency_timer = TimerSpec(f"latency-{family}", TimeDomain.REAL_TIME)
    flush_timer = TimerSpec(f"flush-{family}", TimeDomain.WATERMARK)

    class Streaming(StreamingSend):
        def __reduce__(self) -> Any:
            return send_chunks, (self._job, family, True)

        def default_label(self) -> str:
            """Part of the step's name."""
            return "SendChunksWithin"

        @_untyped
        def process(
            self,
            element: tuple[str, bytes],
            tails: Any = beam.DoFn.StateParam(TAILS),
            size: Any = beam.DoFn.StateParam(SIZE),
            lane: Any = beam.DoFn.StateParam(LANE),
            due: Any = beam.DoFn.StateParam(_DUE),
            flush: Any = beam.DoFn.TimerParam(flush_timer),
            latency: Any = beam.DoFn.TimerParam(latency_timer),
            window: Any = beam.DoFn.WindowParam,
        ) -> Iterator[Any]:
            """One chunk."""
            key, data = element
            state = LaneState(key, tails, size, lane)
            return self._stream(state, data, Wake(due, latency), flush, window)

        @on_timer(flush_timer)
        @_untyped
        def on_flush(
            self,
            key: Any = beam.DoFn.KeyParam,
            tails: Any = beam.DoFn.StateParam(TAILS),
            size: Any = beam.DoFn.StateParam(SIZE),
            lane: Any = beam.DoFn.StateParam(LANE),
        ) -> Iterator[Any]:
            """The stream has ended: what is left goes out."""
            self._send_rest(LaneState(key, tails, size, lane))
            yield from self._harvest()

        @on_timer(latency_timer)
        @_untyped
        def on_latency(
            self,
            key: Any = beam.DoFn.KeyParam,
            tails: Any = beam.DoFn.StateParam(TAILS),
            size: Any = beam.DoFn.StateParam(SIZE),
            lane: Any = beam.DoFn.StateParam(LANE),
            due: Any = beam.DoFn.StateParam(_DUE),
            flush: Any = beam.DoFn.TimerParam(flush_timer),
            latency: Any = beam.DoFn.TimerParam(latency_timer),
        ) -> Iterator[Any]:
            """Partial chunks have waited long enough, or the quota is free again."""
            return self._woken(LaneState(key, tails, size, lane), Wake(due, latency), flush)

    return Streaming
