"""Brings a chunk to its end: every event of it accepted, or failed with a reason.

Plain objects that the Send DoFn calls. A `BatchSender` posts, reads the verdict,
waits, retries and splits; it runs on a pool of threads, one batch at a time on each.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import re
from collections.abc import Callable, Mapping

from mixpanel_sink.chunk import EventChunk, Run
from mixpanel_sink.client import Answer, ImportClient
from mixpanel_sink.destination import Destination
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.lane import Lane, steady_clock
from mixpanel_sink.quota import Weight
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.retry import RetryPolicy
from mixpanel_sink.verdict import Refusal, Retry, Settled, TooLarge, Unclear, judge

_LOGGER = logging.getLogger(__name__)
_SPLITS = 48
"""Extra requests that finding unnamed bad events in one batch may cost: two of them at
eleven halvings each. Beyond, what is left of the batch fails with Mixpanel's words."""
_SMALL = 100_000
"""An endpoint that calls one event of so few bytes too large is not Mixpanel's."""
_INSERT_ID = re.compile(rb'"\$insert_id":"([A-Za-z0-9-]{1,36})"(?:,"token":"[^"]*")?\}\}\Z')
_TOKEN = re.compile(rb',"token":"[^"]*"(?=\}\}\Z)')


@dataclasses.dataclass
class Outcome:
    """What became of a chunk, with the origin of each result."""

    receipts: list[tuple[Receipt, Run]] = dataclasses.field(default_factory=list)
    failed: list[tuple[FailedRecord, Run]] = dataclasses.field(default_factory=list)
    statuses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass
class _Delivery:
    """One part of a chunk on its way."""

    chunk: EventChunk
    started: float
    attempts: int = 0
    """Requests that carried its events."""
    unreceipted: int = 0
    """Those of them that no receipt counts yet."""
    status: int = 0
    unclear: int = 0


class BatchSender:
    """Sends chunks of one lane. Thread-safe.

    It belongs to one bundle: once it is stopped, nothing more goes out through it.

    Args:
        client: posts.
        lane: allows.
        destination: names the host in results and errors.
        kind: of the credentials, for errors.
        lane_number: for receipts.
        retry: when to give up.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        client: ImportClient,
        lane: Lane,
        destination: Destination,
        kind: str,
        lane_number: int,
        retry: RetryPolicy,
        clock: Callable[[], float] = steady_clock,
    ) -> None:
        self._stopped: Exception | None = None
        self._client = client
        self._lane = lane
        self._destination = destination
        self._kind = kind
        self._lane_number = lane_number
        self._retry = retry
        self._clock = clock

    def start(self, chunk: EventChunk, while_waiting: Callable[[], None] = lambda: None) -> None:
        """Waits until the lane allows a request for this chunk. `send` or `cancel` must follow.

        Raises:
            Exception: what `stop` was given, or why the job must stop.
        """

        def check() -> None:
            while_waiting()
            self.check()

        self._lane.start(_weight(chunk), check)

    def cancel(self, chunk: EventChunk) -> None:
        """What was started will not be sent."""
        self._lane.end(_weight(chunk), reached_server=False)

    def stop(self, error: Exception) -> None:
        """Whoever waits or comes gets this error; requests under way are not cut off."""
        self._stopped = self._stopped or error
        self._lane.wake()

    def check(self) -> None:
        """Raises what `stop` was given, or that Mixpanel wants too long a pause."""
        if self._stopped is not None:
            raise self._stopped
        if (seconds := self._lane.paused_seconds()) > self._retry.throttled_seconds:
            raise DestinationError(
                f"{self._destination.host} asks to wait for {seconds:.0f} s, which is longer than "
                f"the {self._retry.throttled_seconds:.0f} s of RetryPolicy.throttled_seconds. The "
                "job is stopped; run it again then: events that arrived keep their $insert_id "
                "and are not doubled."
            )

    def send(self, chunk: EventChunk) -> Outcome:
        """Settles a chunk. `start` must have allowed its first request already.

        Raises:
            DestinationError: the job must stop. The sender is stopped too.
        """
        outcome = Outcome()
        splits = _SPLITS
        parts = collections.deque([_Delivery(chunk, self._clock())])
        allowed = True
        try:
            while parts:
                part = parts.popleft()
                first, allowed = allowed, False
                if part.chunk.count > 1 and part.chunk.raw_bytes > self._lane.max_bytes:
                    if first:
                        self.cancel(part.chunk)
                    parts.extendleft(self._halves(part))
                    continue
                verdict = self._deliver(part, outcome, first)
                if isinstance(verdict, Settled):
                    self._settle(part, outcome, verdict.refused, "refused")
                elif isinstance(verdict, Retry):
                    self._give_up(part, outcome, verdict)
                elif part.chunk.count == 1:
                    self._refuse_nonsense(part, verdict)
                    reason = "event_too_large" if isinstance(verdict, TooLarge) else "refused"
                    self._settle(part, outcome, {0: Refusal(None, verdict.why)}, reason)
                elif isinstance(verdict, Unclear) and verdict.refused:
                    # Named ones first; the others go again without them.
                    named = verdict.refused
                    rest = [i for i in range(part.chunk.count) if i not in named]
                    self._settle(part, outcome, named, "refused", only=sorted(named))
                    if rest:
                        parts.appendleft(self._part(part, part.chunk.select(rest), 0))
                elif isinstance(verdict, Unclear) and splits <= 0:
                    every = Refusal(None, verdict.why)
                    self._settle(
                        part, outcome, dict.fromkeys(range(part.chunk.count), every), "refused"
                    )
                else:
                    if isinstance(verdict, Unclear):
                        splits -= 2
                    parts.extendleft(self._halves(part))
        except DestinationError as error:
            self.stop(error)
            raise
        return outcome

    def _refuse_nonsense(self, part: _Delivery, verdict: TooLarge | Unclear) -> None:
        if not isinstance(verdict, TooLarge) or self._lane.proven or part.chunk.raw_bytes > _SMALL:
            return
        raise DestinationError(
            f"{self._destination.host} has taken nothing yet and calls even a request of "
            f"{part.chunk.raw_bytes} bytes too large ({verdict.why}). Check the endpoint and what "
            "stands before it. The job is stopped."
        )

    def _halves(self, part: _Delivery) -> list[_Delivery]:
        """Both halves, last one first, as `extendleft` wants them."""
        first, second = part.chunk.halves()
        return [self._part(part, second, 0), self._part(part, first, part.unreceipted)]

    def _part(self, parent: _Delivery, chunk: EventChunk, unreceipted: int) -> _Delivery:
        return dataclasses.replace(parent, chunk=chunk, unreceipted=unreceipted)

    def _deliver(
        self, part: _Delivery, outcome: Outcome, allowed: bool
    ) -> Settled | Retry | TooLarge | Unclear:
        """Posts until there is a verdict other than a retry, or until it is given up."""
        weight = _weight(part.chunk)
        insert_ids: list[str] | None = None
        failing = throttled = 0.0
        waits = self._retry.waits()
        while True:
            if not allowed:
                self._lane.start(weight, self.check)
            allowed = False
            sent_at = self._clock()
            reached = True
            # The lane hears what the answer says before the request is over: whoever waits for
            # it must not start against a Retry-After, or after a 401.
            try:
                answer = self._client.post(part.chunk.payload)
                reached = answer.reached_server
                part.attempts += 1
                part.unreceipted += 1
                part.status = answer.status
                outcome.statuses[str(answer.status) if answer.status else "none"] += 1
                if insert_ids is None and answer.status in (200, 400, 422):
                    insert_ids = self._insert_ids(part, answer)
                ids = insert_ids if insert_ids is not None else [""] * part.chunk.count
                verdict = judge(answer, ids, self._destination, self._kind, self._clock())
                if isinstance(verdict, Retry):
                    if verdict.throttled:
                        throttled = self._lane.throttled(verdict.after, sent_at)
                    elif verdict.after:
                        self._lane.hold_off(verdict.after)
                elif not isinstance(verdict, TooLarge):
                    self._lane.succeeded()
                elif part.chunk.count > 1:  # one large event says nothing about batches
                    self._lane.learn_max_bytes(part.chunk.raw_bytes)
            except DestinationError as error:
                self.stop(error)
                raise
            finally:
                self._lane.end(weight, reached)
            if not isinstance(verdict, Retry):
                if isinstance(verdict, Unclear) and verdict.again and part.unclear < 1:
                    part.unclear += 1  # ids make it safe, and it may be a passing fault
                    continue
                return verdict
            if verdict.throttled:
                if throttled > self._retry.throttled_seconds:
                    return verdict
                continue
            # Only what is spent on this trouble: at 60 requests an hour a retry may have to
            # wait for the quota for most of an hour.
            wait = max(verdict.after or 0.0, next(waits))
            failing += self._clock() - sent_at + wait
            if failing > self._retry.transient_seconds:
                return verdict
            _LOGGER.warning(
                "%s: %s; attempt %d of a batch of %d events, next in %.1f s.",
                self._destination.host,
                verdict.why,
                part.attempts,
                part.chunk.count,
                wait,
            )
            self._lane.pause(wait, self.check)

    def _insert_ids(self, part: _Delivery, answer: Answer) -> list[str] | None:
        """The events' ids, which only an answer with failed records makes worth the work."""
        if answer.status == 200 and b"failed_records" not in answer.body:
            return None
        return [_insert_id(event) for event in part.chunk.events()]

    def _settle(
        self,
        part: _Delivery,
        outcome: Outcome,
        refused: Mapping[int, Refusal],
        reason: str,
        only: list[int] | None = None,
    ) -> None:
        """Enters a receipt and the refused events. `only`: the events that this settles."""
        settled = part.chunk.count if only is None else len(only)
        now = self._clock()
        receipt = Receipt(
            destination=self._destination.host,
            lane=self._lane_number,
            accepted=settled - len(refused),
            failed=len(refused),
            raw_bytes=part.chunk.raw_bytes,
            sent_bytes=len(part.chunk.payload),
            attempts=part.unreceipted,
            status=part.status,
            started=part.started,
            seconds=now - part.started,
        )
        latest = max(part.chunk.runs, key=lambda run: run.timestamp)
        outcome.receipts.append((receipt, latest))
        if not refused:
            return
        events = part.chunk.events()
        for index, refusal in sorted(refused.items()):
            origin = part.chunk.origin(index)
            failure = FailedRecord(
                reason=reason,
                message=refusal.message,
                field=refusal.field,
                destination=self._destination.host,
                event_json=_TOKEN.sub(b"", events[index]).decode(),
                file=origin.file or None,
                row=origin.row if origin.row >= 0 else None,
                http_status=part.status or None,
                attempts=part.attempts,
            )
            outcome.failed.append((failure, origin))

    def _give_up(self, part: _Delivery, outcome: Outcome, verdict: Retry) -> None:
        message = (
            f"Given up after {part.attempts} attempts; the last one: {verdict.why}. Mixpanel may "
            "hold the event; sending it again with the same $insert_id is safe."
        )
        every = dict.fromkeys(range(part.chunk.count), Refusal(None, message))
        self._settle(part, outcome, every, "gave_up")
        in_a_row = self._lane.gave_up()
        if in_a_row >= self._retry.breaker:
            raise DestinationError(
                f"{self._destination.host} took none of the last {in_a_row} batches (last: "
                f"{verdict.why}). The job is stopped; run it again when the endpoint is well: "
                "events that arrived keep their $insert_id and are not doubled."
            )


def _weight(chunk: EventChunk) -> Weight:
    return Weight(chunk.count, chunk.raw_bytes)


def _insert_id(event: bytes) -> str:
    match = _INSERT_ID.search(event)
    return match[1].decode() if match else ""
