"""Send: the one keyed, stateful stage. It merges partial chunks, holds the quota and posts.

This file only wires: what waits is in `lane_state.py`, merging in `batch/builder.py`, waiting for
the quota in `send/lane.py`, posting and retrying in `send/sender.py`.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.api.responses import RequestContext
from mixpanel_sink.batch.builder import merge
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.checkpoint.lease import keep_alive
from mixpanel_sink.checkpoint.log import Log
from mixpanel_sink.checkpoint.profiles import open_profiles
from mixpanel_sink.checkpoint.registry import open_log
from mixpanel_sink.errors import MixpanelSinkError
from mixpanel_sink.process import QUEUES
from mixpanel_sink.report import lineage, metrics
from mixpanel_sink.report import worker_log as progress
from mixpanel_sink.report.failure_log import failure_log
from mixpanel_sink.send.dispatch import Dispatcher
from mixpanel_sink.send.gate import weight
from mixpanel_sink.send.lane import Lane, steady_clock
from mixpanel_sink.send.lanes import lane_of_project
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.sender import BatchSender
from mixpanel_sink.send.settle import Outcome
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.project import Target
from mixpanel_sink.stages.lane_state import LaneState
from mixpanel_sink.stages.outputs import lane_of
from mixpanel_sink.windowing import WindowCodec

FAILED = "failed"
ACCEPTED = "accepted"

WAITING_BYTES = 256_000_000
"""Compressed chunks that may wait on a worker for projects whose quota is used up, while those
of other projects go on, and for updates of profiles, which must keep their order. For events of
one project only the next chunk waits."""
LONGEST_BUNDLE = 30.0
"""Seconds for which a stream's bundle may wait for the quota. What has to wait longer waits in the
state: until a bundle ends nothing of it is committed, and a restart would send it all again."""
SHORT_WAIT = 1.0
"""Seconds for which a partial chunk waits as it is; beyond, it goes on filling up."""
BACKLOG_BYTES = 64_000_000
"""JSON that may wait in a lane's state; beyond, bundles wait."""


class SendChunks(beam.DoFn):
    """Takes (lane key, chunk as bytes); emits receipts, and FAILED on the side.

    `send_steps.py` makes the subclass of one sink, which has the timers and the methods that Beam
    calls with state.

    Full chunks go straight out. Partial ones wait in the lane's state until they make a
    request, or until the input ends. Several requests are in flight within a bundle; none
    is left when it ends.
    """

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Resolves the credentials."""
        job = self._job
        failure_log().begin(job.run)
        self._codec = WindowCodec(job.window_coder)
        self._projects = {target.name: _Project.of(target, job) for target in job.targets}
        self._dispatchers: dict[str, Dispatcher] = {}
        self._log: Log | None = None
        lease = keep_alive(job.checkpoint)
        self._may_send = (lambda: None) if lease is None else lease.check
        if job.checkpoint is not None:
            known = [(each.target, each.credentials) for each in self._projects.values()]
            if job.only_changed or job.forgets:
                self._log = open_profiles(job, known)
            else:
                self._log = open_log(
                    job.checkpoint, job.mapping, job.endpoint, known, job.privacy, job.mark
                )
        self._throttle = metrics.ThrottleCounter()
        self._pending: list[concurrent.futures.Future[Outcome]] = []
        self._senders: dict[str, tuple[Lane, BatchSender]] = {}

    def start_bundle(self) -> None:
        """Resets what belongs to one bundle."""
        self._abandon()
        self._pending = []
        self._senders = {}
        self._begun = time.monotonic()

    def finish_bundle(self) -> Iterator[Any]:
        """Waits for every request of the bundle."""
        while self._pending:
            concurrent.futures.wait(self._pending, 5.0, concurrent.futures.FIRST_COMPLETED)
            self._report_throttling()
            yield from self._harvest()
        self._report_throttling()
        if self._log is not None:
            self._log.flush()

    def teardown(self) -> None:
        """Closes the pools and the connections."""
        self._abandon()
        for dispatcher in self._dispatchers.values():
            dispatcher.close()
        for project in self._projects.values():
            project.close()

    def _abandon(self) -> None:
        """Stops what a failed bundle left behind, which might go on retrying for hours."""
        for future in self._pending:
            future.cancel()
        for _, sender in self._senders.values():
            sender.gate.stop(MixpanelSinkError("The bundle has failed elsewhere."))

    def _take(self, state: LaneState, chunk: EventChunk, data: bytes) -> None:
        """Sends a chunk, alone or with what waits, or lets it wait for more; `data` is the chunk
        as bytes."""
        limits = self._limits(state.key)
        full = chunk.count >= limits.batch_events or chunk.raw_bytes > 0.95 * limits.batch_bytes
        # Updates of a profile keep their order: a full chunk must not overtake what is kept.
        if full and not (state.waits() and self._job.endpoint.ordered):
            self._submit(state, chunk)
            return
        size = state.how_much().plus(chunk)
        if size.events < limits.batch_events and size.raw_bytes <= limits.batch_bytes:
            state.keep(chunk, data)
            return
        done, rest = merge([*state.take(), chunk], limits, self._group_of)
        for part in done:
            self._submit(state, part)
        state.keep_all(rest)

    def _backlog(self, state: LaneState, chunk: EventChunk) -> bool:
        """Whether a chunk of a stream has to wait in the state: the quota is used up for longer
        than a bundle may take, or others wait already, and there is room."""
        waiting = state.how_much()
        size = waiting.plus(chunk)
        if size.raw_bytes > BACKLOG_BYTES:
            return False
        limits = self._limits(state.key)
        whole = size.events >= limits.batch_events or size.raw_bytes > limits.batch_bytes
        return whole and (waiting.events >= limits.batch_events or not self._may_go(state, chunk))

    def _may_go(self, state: LaneState, chunk: EventChunk) -> bool:
        """Whether the lane would let a request go before the bundle has been open for too long."""
        seconds = self._free_in(state, chunk)
        return not seconds or seconds + time.monotonic() - self._begun <= LONGEST_BUNDLE

    def _free_in(self, state: LaneState, chunk: EventChunk) -> float:
        return self._sender(state)[0].free_in(weight(chunk))

    def _send_some(self, state: LaneState, due: bool) -> float | None:
        """Sends what waits in a stream's state as far as the quota lets it go.

        Args:
            due: whether a partial chunk has waited for `max_latency`. It goes if the quota is free;
                else it is better filled up meanwhile.

        Returns:
            Seconds until more may go; None if nothing waits for the quota any more.
        """
        limits = self._limits(state.key)
        kept = state.take()
        whole: list[EventChunk] = []
        if not self._job.endpoint.ordered:  # these need not be unpacked
            whole = [chunk for chunk in kept if chunk.count >= limits.batch_events]
            kept = [chunk for chunk in kept if chunk.count < limits.batch_events]
        merged, rest = merge(kept, limits, self._group_of)
        left: list[EventChunk] = []
        wait = None
        for chunk in [*whole, *merged]:
            if wait is None and self._may_go(state, chunk):
                self._submit(state, chunk)
                continue
            wait = self._free_in(state, chunk) if wait is None else wait
            left.append(chunk)
        for chunk in rest:
            seconds = self._free_in(state, chunk)
            if due and wait is None and seconds <= SHORT_WAIT:
                self._submit(state, chunk)
                continue
            wait = seconds if due and wait is None else wait
            left.append(chunk)
        state.keep_all(left)
        return wait

    def _send_rest(self, state: LaneState) -> None:
        """Sends everything that waits."""
        full, rest = merge(state.take(), self._limits(state.key), self._group_of)
        for part in [*full, *rest]:
            self._submit(state, part)

    def _limits(self, key: str) -> Limits:
        return self._projects[lane_of(key)[0]].target.limits

    @property
    def _group_of(self) -> Callable[[bytes], str] | None:
        endpoint = self._job.endpoint
        return endpoint.group_of if endpoint.ordered else None

    def _submit(self, state: LaneState, chunk: EventChunk) -> None:
        """Hands a chunk to its lane's dispatcher, which lets it go when the quota does."""
        lane, sender = self._sender(state)
        outcome, rest = sender.lookup(chunk)
        if outcome is not None:
            known: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
            known.set_result(outcome)
            self._pending.append(known)
        if rest is None:
            return
        dispatcher = self._dispatcher(state.key, lane)
        self._pending.append(dispatcher.put(rest, lane, sender, self._report_throttling))
        state.lane.write(lane.snapshot())

    def _dispatcher(self, key: str, lane: Lane) -> Dispatcher:
        job = self._job
        room = WAITING_BYTES // (len(job.targets) * job.lanes)
        if job.endpoint.ordered:
            # `process` must not block: Prism would split the bundle, and run the rest of the same
            # key at once. It does so where `process` is merely slow, too: then both parts queue.
            return QUEUES.get(lane, lambda: Dispatcher(1, room, key))
        if key not in self._dispatchers:
            room = room if len(job.targets) > 1 else 0
            self._dispatchers[key] = Dispatcher(job.max_in_flight, room, key)
        return self._dispatchers[key]

    def _sender(self, state: LaneState) -> tuple[Lane, BatchSender]:
        key = state.key
        if key not in self._senders:
            job = self._job
            name, number = lane_of(key)
            project = self._projects[name]
            lane = lane_of_project(job, project.target, project.credentials, number)
            lane.merge(state.lane.read())
            policy = SendPolicy(
                name,
                RequestContext(project.target.destination, project.kind, job.endpoint),
                number,
                job.retry,
                job.on_ambiguous,
                stops_job=len(job.targets) == 1,
                rate_limiter=job.rate_limiter,
                lists_accepted=job.accepted,
            )
            may_send = self._may_send
            sender = BatchSender(project.client, lane, policy, steady_clock, self._log, may_send)
            self._senders[key] = lane, sender
            host = project.target.destination.host
            lineage.wrote(host, name, job.endpoint.name)
        return self._senders[key]

    def _harvest(self) -> Iterator[Any]:
        """Results of the requests that are done."""
        done = [future for future in self._pending if future.done()]
        if not done:
            return
        self._pending = [future for future in self._pending if future not in done]
        for future in done:
            outcome = future.result()
            metrics.enter_requests(outcome.statuses, outcome.seconds)
            for receipt, origin in outcome.receipts:
                metrics.enter_receipt(receipt)
                yield self._codec.restore(receipt, origin)
            for failure, origin in outcome.failed:
                metrics.enter_failed(failure)
                yield beam.pvalue.TaggedOutput(FAILED, self._codec.restore(failure, origin))
            for record, origin in outcome.accepted_records:
                yield beam.pvalue.TaggedOutput(ACCEPTED, self._codec.restore(record, origin))
        self._report_progress()

    def _report_throttling(self) -> None:
        for lane, _ in self._senders.values():
            self._throttle.add(lane.take_throttled_seconds())
        self._report_progress()

    def _report_progress(self) -> None:
        lanes = [lane for lane, _ in self._senders.values()]
        progress.progress().say(lambda: [held for lane in lanes if (held := lane.held())])


@dataclasses.dataclass(frozen=True)
class _Project:
    """A project on this worker, with its secrets resolved."""

    target: Target
    credentials: ResolvedCredentials
    client: IngestionClient
    kind: str

    @classmethod
    def of(cls, target: Target, job: Job) -> _Project:
        credentials = target.credentials.resolve()
        client = IngestionClient(
            target.destination,
            credentials,
            job.retry.connect_timeout,
            job.retry.read_timeout,
            job.endpoint,
        )
        return cls(target, credentials, client, credentials.kind)

    def close(self) -> None:
        self.client.close()
