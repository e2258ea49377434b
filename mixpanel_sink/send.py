"""Send: the one keyed, stateful stage. It merges partial chunks, holds the quota and posts.

This file only wires: merging is in `chunk.py`, waiting in `lane.py`, posting and
retrying in `sender.py`.
"""

# ruff: noqa: B008  (Beam declares state and timers as argument defaults)

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.coders import BytesCoder, TupleCoder, VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import (
    BagStateSpec,
    ReadModifyWriteStateSpec,
    TimerSpec,
    on_timer,
)

from mixpanel_sink import metrics
from mixpanel_sink.chunk import EventChunk, merge
from mixpanel_sink.client import ImportClient
from mixpanel_sink.credentials import Credentials
from mixpanel_sink.destination import Destination
from mixpanel_sink.errors import MixpanelSinkError
from mixpanel_sink.lane import LANES, Lane, steady_clock
from mixpanel_sink.limits import Limits
from mixpanel_sink.quota import Quota
from mixpanel_sink.retry import RetryPolicy
from mixpanel_sink.sender import BatchSender, Outcome
from mixpanel_sink.windowing import WindowCodec

_LOGGER = logging.getLogger(__name__)
FAILED = "failed"
_LOG_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class SendSettings:
    """What Send needs to know; picklable, without secrets."""

    credentials: Credentials
    destination: Destination
    quota: Quota
    lanes: int
    limits: Limits
    retry: RetryPolicy
    max_in_flight: int
    window_coder: Any
    max_latency: float | None = None
    clock: Callable[[], float] = steady_clock


class SendChunks(beam.DoFn):
    """Takes (lane key, chunk as bytes); emits receipts, and FAILED on the side.

    Full chunks go straight out. Partial ones wait in the lane's state until they make a
    request, or until the input ends. Several requests are in flight within a bundle; none
    is left when it ends.
    """

    TAILS = BagStateSpec("tails", BytesCoder())
    SIZE = ReadModifyWriteStateSpec("size", TupleCoder((VarIntCoder(), VarIntCoder())))
    LANE = ReadModifyWriteStateSpec("lane", BytesCoder())
    FLUSH = TimerSpec("flush", TimeDomain.WATERMARK)

    def __init__(self, settings: SendSettings) -> None:
        self._settings = settings

    def setup(self) -> None:
        """Resolves the credentials and opens the pool."""
        settings = self._settings
        self._codec = WindowCodec(settings.window_coder)
        credentials = settings.credentials.resolve()
        self._kind = credentials.kind
        self._identity = hash((credentials.user, credentials.project_id))
        self._client = ImportClient(
            settings.destination,
            credentials,
            settings.retry.connect_timeout,
            settings.retry.read_timeout,
        )
        self._pool = concurrent.futures.ThreadPoolExecutor(
            settings.max_in_flight, thread_name_prefix="mixpanel-sink"
        )
        self._free = threading.Semaphore(settings.max_in_flight)
        self._throttle = metrics.ThrottleCounter()
        self._accepted = self._refused = 0
        self._logged = time.monotonic()
        self._pending: list[concurrent.futures.Future[Outcome]] = []
        self._senders: dict[str, tuple[Lane, BatchSender]] = {}

    def start_bundle(self) -> None:
        """Begins with nothing in flight."""
        self._abandon()
        self._pending = []
        self._senders = {}

    def process(
        self,
        element: tuple[str, bytes],
        tails: Any = beam.DoFn.StateParam(TAILS),
        size: Any = beam.DoFn.StateParam(SIZE),
        lane: Any = beam.DoFn.StateParam(LANE),
        flush: Any = beam.DoFn.TimerParam(FLUSH),
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[Any]:
        """One chunk."""
        key, data = element
        if self._take(key, data, tails, size, lane):
            flush.set(window.max_timestamp())
        yield from self._harvest()

    @on_timer(FLUSH)
    def on_flush(
        self,
        key: Any = beam.DoFn.KeyParam,
        tails: Any = beam.DoFn.StateParam(TAILS),
        size: Any = beam.DoFn.StateParam(SIZE),
        lane: Any = beam.DoFn.StateParam(LANE),
    ) -> Iterator[Any]:
        """The input has ended: what is left goes out."""
        self._send_tails(key, tails, size, lane)
        yield from self._harvest()

    def finish_bundle(self) -> Iterator[Any]:
        """Waits for every request of the bundle."""
        while self._pending:
            concurrent.futures.wait(self._pending, 5.0, concurrent.futures.FIRST_COMPLETED)
            self._report_throttling()
            yield from self._harvest()
        self._report_throttling()

    def teardown(self) -> None:
        """Closes the pool and the connections."""
        self._abandon()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _abandon(self) -> None:
        """Stops what a failed bundle left behind, which might go on retrying for hours."""
        for future in self._pending:
            future.cancel()
        for _, sender in self._senders.values():
            sender.stop(MixpanelSinkError("The bundle has failed elsewhere."))

    def _take(self, key: str, data: bytes, tails: Any, size: Any, lane: Any) -> bool:
        """Sends or keeps a chunk; says whether something is kept."""
        limits = self._settings.limits
        chunk = EventChunk.from_bytes(data)
        if chunk.count >= limits.batch_events or chunk.raw_bytes > 0.95 * limits.batch_bytes:
            self._submit(key, chunk, lane)
            return False
        count, raw_bytes = size.read() or (0, 0)
        count += chunk.count
        raw_bytes += chunk.raw_bytes
        if count < limits.batch_events and raw_bytes <= limits.batch_bytes:
            tails.add(data)
            size.write((count, raw_bytes))
            return True
        kept = [EventChunk.from_bytes(tail) for tail in tails.read()]
        full, rest = merge([*kept, chunk], limits)
        tails.clear()
        for part in rest:
            tails.add(part.to_bytes())
        size.write((sum(p.count for p in rest), sum(p.raw_bytes for p in rest)))
        for part in full:
            self._submit(key, part, lane)
        return bool(rest)

    def _send_tails(self, key: str, tails: Any, size: Any, lane: Any) -> None:
        kept = [EventChunk.from_bytes(tail) for tail in tails.read()]
        tails.clear()
        size.clear()
        full, rest = merge(kept, self._settings.limits)
        for part in [*full, *rest]:
            self._submit(key, part, lane)

    def _submit(self, key: str, chunk: EventChunk, state: Any) -> None:
        """Waits for a thread, then for the quota, then lets the chunk go."""
        lane, sender = self._sender(key, state)
        while not self._free.acquire(timeout=5.0):
            self._report_throttling()
            sender.check()
        # A thread is free now: a request that the lane has let start never waits for one.
        try:
            sender.start(chunk, self._report_throttling)
        except BaseException:
            self._free.release()
            raise
        try:
            future = self._pool.submit(sender.send, chunk)
        except BaseException:
            sender.cancel(chunk)
            self._free.release()
            raise

        def ended(future: concurrent.futures.Future[Outcome]) -> None:
            if future.cancelled():
                sender.cancel(chunk)
            self._free.release()

        future.add_done_callback(ended)
        self._pending.append(future)
        if not lane.proven:
            # Nothing else is sent before the endpoint took a first request.
            while not concurrent.futures.wait([future], 5.0).done:
                self._report_throttling()
        state.write(lane.snapshot())

    def _sender(self, key: str, state: Any) -> tuple[Lane, BatchSender]:
        if key not in self._senders:
            settings = self._settings
            number = int(key.rpartition("#")[2])
            share = settings.quota.share(number, settings.lanes)
            lane = LANES.get(
                (key, self._identity, share, settings.max_in_flight, settings.retry),
                lambda: Lane(
                    share,
                    settings.max_in_flight,
                    f"{settings.destination.host} lane {number}",
                    settings.retry,
                    settings.clock,
                ),
            )
            lane.merge(state.read())
            sender = BatchSender(
                self._client,
                lane,
                settings.destination,
                self._kind,
                number,
                settings.retry,
                settings.clock,
            )
            self._senders[key] = lane, sender
        return self._senders[key]

    def _harvest(self) -> Iterator[Any]:
        """Results of the requests that are done."""
        done = [future for future in self._pending if future.done()]
        if not done:
            return
        self._pending = [future for future in self._pending if future not in done]
        for future in done:
            outcome = future.result()
            metrics.count_requests(outcome.statuses)
            for receipt, origin in outcome.receipts:
                metrics.count_receipt(receipt)
                self._accepted += receipt.accepted
                self._refused += receipt.failed
                yield self._codec.restore(receipt, origin)
            for failure, origin in outcome.failed:
                metrics.count_failed(failure)
                yield beam.pvalue.TaggedOutput(FAILED, self._codec.restore(failure, origin))
        if time.monotonic() - self._logged > _LOG_SECONDS:
            self._logged = time.monotonic()
            _LOGGER.info(
                "%s: %d events accepted, %d failed on this worker so far.",
                self._settings.destination.host,
                self._accepted,
                self._refused,
            )

    def _report_throttling(self) -> None:
        for lane, _ in self._senders.values():
            self._throttle.add(lane.take_throttled_seconds())


class SendChunksWithin(SendChunks):
    """`SendChunks` for streams: partial chunks wait `max_latency` seconds at most.

    A class of its own, because a processing-time timer, used or not, keeps the
    DirectRunner from its fast way.
    """

    DUE = ReadModifyWriteStateSpec("due", VarIntCoder())
    LATENCY = TimerSpec("latency", TimeDomain.REAL_TIME)

    def process(  # type: ignore[override]
        self,
        element: tuple[str, bytes],
        tails: Any = beam.DoFn.StateParam(SendChunks.TAILS),
        size: Any = beam.DoFn.StateParam(SendChunks.SIZE),
        lane: Any = beam.DoFn.StateParam(SendChunks.LANE),
        due: Any = beam.DoFn.StateParam(DUE),
        flush: Any = beam.DoFn.TimerParam(SendChunks.FLUSH),
        latency: Any = beam.DoFn.TimerParam(LATENCY),
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[Any]:
        """One chunk."""
        key, data = element
        if self._take(key, data, tails, size, lane):
            flush.set(window.max_timestamp())
            if not due.read():
                assert self._settings.max_latency is not None
                latency.set(time.time() + self._settings.max_latency)
                due.write(1)
        yield from self._harvest()

    @on_timer(LATENCY)
    def on_latency(
        self,
        key: Any = beam.DoFn.KeyParam,
        tails: Any = beam.DoFn.StateParam(SendChunks.TAILS),
        size: Any = beam.DoFn.StateParam(SendChunks.SIZE),
        lane: Any = beam.DoFn.StateParam(SendChunks.LANE),
        due: Any = beam.DoFn.StateParam(DUE),
    ) -> Iterator[Any]:
        """Partial chunks have waited long enough."""
        due.clear()
        self._send_tails(key, tails, size, lane)
        yield from self._harvest()
