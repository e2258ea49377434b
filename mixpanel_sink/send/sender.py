"""Brings a chunk to its end: every event of it accepted, or failed with a reason.

Plain objects that the Send DoFn calls. A `BatchSender` delivers a part of a chunk, asks `plan`
what the response means, and carries that out, until nothing is left. It runs on a pool of
threads, one chunk at a time on each.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import sys
from collections.abc import Callable, Iterable
from typing import Any

from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.checkpoint.log import Log
from mixpanel_sink.errors import CheckpointError, DestinationError, MixpanelSinkError
from mixpanel_sink.send.deliver import Delivered, deliver
from mixpanel_sink.send.gate import Gate
from mixpanel_sink.send.lane import Lane, steady_clock
from mixpanel_sink.send.part import Part
from mixpanel_sink.send.plan import (
    SPLITS,
    Accept,
    Action,
    Again,
    Facts,
    Fail,
    RetryBudget,
    Split,
    Stop,
    after_giving_up,
    plan,
    unsafe_to_repeat,
)
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.settle import Outcome, fail_all, settle, settle_known

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass
class _Batch:
    """A chunk on its way: its parts, in their order, and what is known so far."""

    parts: collections.deque[Part]
    outcome: Outcome = dataclasses.field(default_factory=Outcome)
    budget: RetryBudget = dataclasses.field(default_factory=RetryBudget)
    splits: int = SPLITS
    refused_bytes: int = sys.maxsize
    """The smallest body that was too large for it."""
    reserved: bool = True
    """Whether the gate has let the next request go already."""
    unserved: str = ""
    """The last response of a part that was given up though it was served."""


class BatchSender:
    """Sends chunks of one lane. Thread-safe.

    It belongs to one bundle: once its gate is stopped, nothing more goes out through it.

    Args:
        client: posts the requests.
        lane: holds the quota.
        policy: how chunks are sent.
        clock: seconds since 1970.
        log: of settled chunks; None without a checkpoint.
        may_send: raises when the run may send nothing more.
    """

    def __init__(
        self,
        client: IngestionClient,
        lane: Lane,
        policy: SendPolicy,
        clock: Callable[[], float] = steady_clock,
        log: Log | None = None,
        may_send: Callable[[], None] = lambda: None,
    ) -> None:
        self.gate = Gate(lane, policy, may_send)
        self._log = log
        self._client = client
        self._lane = lane
        self._policy = policy
        self._clock = clock

    def send(self, chunk: EventChunk) -> Outcome:
        """Settles a chunk. `gate.start` must have let its first request go already.

        Raises:
            DestinationError: the job must stop (see `SendPolicy.stops_job`). The gate is stopped
                too.
        """
        batch = _Batch(collections.deque([self._part(chunk)]))
        begun = self._begin(chunk)
        try:
            while batch.parts:
                self._advance(batch)
            if batch.unserved and not batch.outcome.accepted:
                self._count_given_up(batch.unserved)
        except MixpanelSinkError as error:
            if not self.fails_alone(error):
                if isinstance(error, DestinationError):
                    self.gate.stop(error)
                with contextlib.suppress(CheckpointError):
                    self._end(begun, chunk, batch.outcome, batch.parts)
                raise
            self.gate.stop(error)
            for part in batch.parts:
                self._fail_all(batch.outcome, part, str(error), "project_refused")
        if batch.refused_bytes < sys.maxsize:
            self._lane.too_large(batch.refused_bytes)
        self._end(begun, chunk, batch.outcome)
        return batch.outcome

    def lookup(self, chunk: EventChunk) -> tuple[Outcome | None, EventChunk | None]:
        """What became of a chunk's records in an earlier try or run, as far as that is known,
        and what is left to be sent."""
        if self._log is None:
            return None, chunk
        found = self._log.lookup(chunk, self._policy.on_ambiguous == "retry")
        if found.rest is chunk:
            return None, chunk
        outcome, now = Outcome(), self._clock()
        if found.known is not None:
            settle_known(outcome, found.known, found.accepted, found.failed, self._policy, now)
        if found.doubtful is not None:
            part = self._part(found.doubtful)
            why = "it was on its way when an earlier run ended"
            refused = unsafe_to_repeat(part, why, self._policy)
            settle(outcome, part, self._policy, now, refused, "ambiguous")
        return outcome, found.rest

    def fails_alone(self, error: BaseException) -> bool:
        """Whether this error is the project's only, and the job goes on without it."""
        return isinstance(error, DestinationError) and not self._policy.stops_job

    def refuse(self, chunk: EventChunk, error: BaseException) -> Outcome:
        """Fails a chunk of a project that takes nothing more, without sending it."""
        outcome = Outcome()
        self._fail_all(outcome, self._part(chunk), str(error), "project_refused")
        return outcome

    def _advance(self, batch: _Batch) -> None:
        """One request, and what follows from it; the part stays first until it is settled."""
        part = batch.parts[0]
        reserved, batch.reserved = batch.reserved, False
        size = part.chunk.raw_bytes
        if part.chunk.count > 1 and (size >= batch.refused_bytes or not self._lane.fits(size)):
            if reserved:
                self.gate.cancel(part.chunk)
            self._split(batch)
            return
        if not reserved:
            self.gate.start(part.chunk)
        sent = deliver(
            part, self._client, self.gate, self._policy, self._clock, batch.outcome.count_request
        )
        batch.parts[0] = part = sent.part
        facts = Facts(
            sent.proven, batch.splits, batch.budget, sent.seconds, next(part.waits), sent.throttled
        )
        self._carry_out(plan(sent.response, part, self._policy, facts), batch, sent)

    def _carry_out(self, action: Action, batch: _Batch, sent: Delivered) -> None:
        part = batch.parts[0]
        if isinstance(action, Stop):
            raise action.error
        if isinstance(action, Again):
            batch.budget = action.budget
            batch.parts[0] = dataclasses.replace(
                part, asked_again=part.asked_again or action.unclear
            )
            self._pause(action.wait, sent)
        elif isinstance(action, Split):
            if action.too_large:
                batch.refused_bytes = min(batch.refused_bytes, part.chunk.raw_bytes)
            else:
                batch.splits -= 2
            self._split(batch)
        elif isinstance(action, Accept):
            batch.parts.popleft()
            settle(batch.outcome, part, self._policy, self._clock(), action.refused)
        elif isinstance(action, Fail):
            batch.parts.popleft()
            if action.alone_too_large:
                batch.refused_bytes = sys.maxsize
            self._fail(batch, part, action)
        else:
            batch.parts.popleft()
            self._fail_all(batch.outcome, part, action.message, "gave_up")
            if action.outage:
                self._count_given_up(action.why)
            else:
                batch.unserved = action.why

    def _fail(self, batch: _Batch, part: Part, action: Fail) -> None:
        settle(
            batch.outcome, part, self._policy, self._clock(), action.refused, action.reason, True
        )
        rest = part.without(frozenset(action.refused), self._policy.retry.waits())
        if rest is not None:
            batch.parts.appendleft(rest)

    def _split(self, batch: _Batch) -> None:
        waits = self._policy.retry.waits
        batch.parts.extendleft(reversed(batch.parts.popleft().halves(waits(), waits())))

    def _pause(self, seconds: float, sent: Delivered) -> None:
        if seconds > 0:
            why = getattr(sent.response, "why", "")
            _LOGGER.warning(
                "%s: %s; attempt %d of a batch of %d %s, next in %.1f s.",
                self._lane.title,
                why,
                sent.part.attempts,
                sent.part.chunk.count,
                self._policy.endpoint.unit,
                seconds,
            )
        status = sent.part.status
        after = f"HTTP {status}" if status else "no response"
        self.gate.pause(seconds, f"backing off after {after}")

    def _count_given_up(self, why: str) -> None:
        """Counts one more batch of which nothing was accepted."""
        stop = after_giving_up(self._lane.gave_up(), why, self._policy)
        if stop is not None:
            raise stop.error

    def _part(self, chunk: EventChunk) -> Part:
        return Part(chunk, self._clock(), self._policy.retry.waits())

    def _fail_all(self, outcome: Outcome, part: Part, message: str, reason: str) -> None:
        fail_all(outcome, part, self._policy, self._clock(), message, reason)

    def _begin(self, chunk: EventChunk) -> Any:
        if self._log is None:
            return None
        try:
            return self._log.begin(chunk)
        except BaseException:
            self.gate.cancel(chunk)
            raise

    def _end(
        self, begun: Any, chunk: EventChunk, outcome: Outcome, left: Iterable[Part] = ()
    ) -> None:
        if self._log is not None:
            failures = [failure for failure, _ in outcome.failed]
            self._log.end(begun, chunk, failures, [part.chunk for part in left])
