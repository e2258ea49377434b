"""Brings a chunk to its end: every event of it accepted, or failed with a reason.

Plain objects that the Send DoFn calls. A `BatchSender` posts, reads the verdict,
waits, retries and splits; it runs on a pool of threads, one batch at a time on each.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mixpanel_sink.api import identity
from mixpanel_sink.api.client import Answer, IngestionClient
from mixpanel_sink.api.responses import Asked, Refusal, Retry, Settled, TooLarge, Unclear, judge
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.log import Log
from mixpanel_sink.errors import CheckpointError, DestinationError, MixpanelSinkError
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.send.lane import Lane, steady_clock
from mixpanel_sink.send.window import Weight
from mixpanel_sink.settings.job import OnAmbiguous
from mixpanel_sink.settings.retry import RetryPolicy

_LOGGER = logging.getLogger(__name__)
_SPLITS = 48
"""Extra requests that finding unnamed bad events in one batch may cost: two of them at
eleven halvings each. Beyond, what is left of the batch is given up."""
_SPLITS_OF_NONE = 28
"""Those of an endpoint that has taken nothing yet. One bad event, however it lies, is found by
then: it is not about single events."""
_SMALL = 100_000
"""An endpoint that calls one event of so few bytes too large is not Mixpanel's."""
_INSERT_ID = re.compile(rb'"\$insert_id":"([A-Za-z0-9-]{1,36})"(?:,"token":"[^"]*")?\}\}\Z')
_TOKEN = re.compile(rb',"\$?token":"[^"]*"(?=\}\}?\Z)')


@dataclasses.dataclass
class Outcome:
    """What became of a chunk, with the origin of each result."""

    receipts: list[tuple[Receipt, Run]] = dataclasses.field(default_factory=list)
    failed: list[tuple[FailedRecord, Run]] = dataclasses.field(default_factory=list)
    statuses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    seconds: list[float] = dataclasses.field(default_factory=list)
    """How long each single request took."""


@dataclasses.dataclass
class _Trouble:
    """Seconds that a chunk has lost so far, all its parts together.

    Attributes:
        failing: in failed requests and in the backoff after them.
        asked: in long pauses that the server asked for.
    """

    failing: float = 0.0
    asked: float = 0.0


@dataclasses.dataclass
class _Delivery:
    """One part of a chunk on its way."""

    chunk: EventChunk
    started: float
    trouble: _Trouble = dataclasses.field(default_factory=_Trouble)
    attempts: int = 0
    """Requests that carried its events."""
    unreceipted: int = 0
    """Those of them that no receipt counts yet."""
    status: int = 0
    unclear: int = 0


@dataclasses.dataclass(frozen=True)
class Terms:
    """How a lane's chunks are sent.

    Attributes:
        name: of the project, in results.
        asked: the host, endpoint and kind of credentials.
        lane: its number, in receipts.
        retry: when to give up.
        on_ambiguous: see `OnAmbiguous`.
        stops_job: whether a project that refuses everything stops the job. Else its records
            fail, and those of other projects go on.
    """

    name: str
    asked: Asked
    lane: int = 0
    retry: RetryPolicy = dataclasses.field(default_factory=RetryPolicy)
    on_ambiguous: OnAmbiguous = "fail"
    stops_job: bool = True


class BatchSender:
    """Sends chunks of one lane. Thread-safe.

    It belongs to one bundle: once it is stopped, nothing more goes out through it.

    Args:
        client: posts.
        lane: allows.
        terms: how.
        clock: seconds since 1970.
        log: where settled chunks are entered, if they are.
    """

    def __init__(
        self,
        client: IngestionClient,
        lane: Lane,
        terms: Terms,
        clock: Callable[[], float] = steady_clock,
        log: Log | None = None,
    ) -> None:
        self._stopped: Exception | None = None
        self._log = log
        self._client = client
        self._lane = lane
        self._terms = terms
        self._endpoint = terms.asked.endpoint
        self._host = terms.asked.destination.host
        self._retry = terms.retry
        self._clock = clock

    def weight(self, chunk: EventChunk) -> Weight:
        """What a request for this chunk counts for."""
        return Weight(chunk.count, chunk.raw_bytes)

    def start(self, chunk: EventChunk) -> None:
        """Waits until the lane allows a request for this chunk. `send` or `cancel` must follow.

        Raises:
            Exception: what `stop` was given, or why the job must stop.
        """
        self._lane.start(self.weight(chunk), self.check)

    def start_now(self, chunk: EventChunk) -> bool:
        """As `start` if the lane allows it at once; else does nothing. Says which."""
        self.check()
        return self._lane.start_now(self.weight(chunk))

    def cancel(self, chunk: EventChunk) -> None:
        """What was started will not be sent."""
        self._lane.end(self.weight(chunk), reached_server=False)

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
                f"{self._host} asks to wait for {seconds:.0f} s, which is longer than "
                f"the {self._retry.throttled_seconds:.0f} s of RetryPolicy.throttled_seconds. The "
                f"job is stopped; run it again then: {self._again()}"
            )

    def send(self, chunk: EventChunk) -> Outcome:
        """Settles a chunk. `start` must have allowed its first request already.

        Raises:
            DestinationError: the job must stop (see `Terms.stops_job`). The sender is stopped too.
        """
        outcome = Outcome()
        part: _Delivery | None = None
        splits = _SPLITS
        refused_bytes = sys.maxsize
        undecided: Unclear | None = None
        parts = collections.deque([_Delivery(chunk, self._clock())])
        allowed = True
        begun = self._begin(chunk)
        try:
            while parts:
                part = parts.popleft()
                first, allowed = allowed, False
                most_bytes = min(self._lane.max_bytes, refused_bytes - 1)
                if part.chunk.count > 1 and part.chunk.raw_bytes > most_bytes:
                    if first:
                        self.cancel(part.chunk)
                    parts.extendleft(self._halves(part))
                    continue
                verdict = self._deliver(part, outcome, first)
                if isinstance(verdict, Settled):
                    self._settle(part, outcome, verdict.refused, "refused")
                elif doubtful := self._doubtful(part, verdict):
                    # Never sent again, as little as those that Mixpanel named; the others go on.
                    over = {**_named(verdict), **self._ambiguous(doubtful, verdict)}
                    self._settle(part, outcome, over, "refused", True)
                    rest = [i for i in range(part.chunk.count) if i not in over]
                    if rest:
                        parts.appendleft(self._part(part, part.chunk.select(rest), 0))
                elif isinstance(verdict, Retry):
                    given_up, part = part, None  # settled, also if the job or project stops here
                    self._give_up(given_up, outcome, verdict)
                elif part.chunk.count == 1:
                    self._refuse_nonsense(part, verdict)
                    reason = "refused"
                    if isinstance(verdict, TooLarge):
                        # It, and not their size, was what was wrong with the batches around it.
                        reason, refused_bytes = "event_too_large", sys.maxsize
                    self._settle(part, outcome, {0: Refusal(None, verdict.why)}, reason)
                elif isinstance(verdict, Unclear) and verdict.refused:
                    # Named ones first; the others go again without them.
                    named = verdict.refused
                    rest = [i for i in range(part.chunk.count) if i not in named]
                    self._settle(part, outcome, named, "refused", True)
                    if rest:
                        parts.appendleft(self._part(part, part.chunk.select(rest), 0))
                elif isinstance(verdict, Unclear):
                    if splits <= _SPLITS - _SPLITS_OF_NONE and not self._lane.proven:
                        raise self._takes_nothing(verdict)
                    if splits > 0:
                        splits -= 2
                        parts.extendleft(self._halves(part))
                    else:
                        undecided = verdict
                        self._settle(part, outcome, _every(part, self._why(verdict)), "gave_up")
                else:
                    refused_bytes = min(refused_bytes, part.chunk.raw_bytes)
                    parts.extendleft(self._halves(part))
            part = None  # all are settled, also if the job or project stops here
            if undecided is not None and not any(r.accepted for r, _ in outcome.receipts):
                self._count_given_up(undecided)
        except MixpanelSinkError as error:
            left = [part, *parts] if part is not None else list(parts)
            if not self.fails_alone(error):
                if isinstance(error, DestinationError):
                    self.stop(error)
                with contextlib.suppress(CheckpointError):
                    self._end(begun, chunk, outcome, left)
                raise
            self.stop(error)
            for each in left:
                self._settle(each, outcome, _every(each, str(error)), "project_refused")
        if refused_bytes < sys.maxsize:
            self._lane.learn_max_bytes(refused_bytes)
        self._end(begun, chunk, outcome)
        return outcome

    def _begin(self, chunk: EventChunk) -> Any:
        if self._log is None:
            return None
        try:
            return self._log.begin(chunk)
        except BaseException:
            self.cancel(chunk)
            raise

    def _end(
        self, begun: Any, chunk: EventChunk, outcome: Outcome, left: Iterable[_Delivery] = ()
    ) -> None:
        if self._log is not None:
            failures = [failure for failure, _ in outcome.failed]
            self._log.end(begun, chunk, failures, [each.chunk for each in left])

    def recall(self, chunk: EventChunk) -> tuple[Outcome | None, EventChunk | None]:
        """What became of a chunk's records in an earlier try or run, as far as that is known,
        and what is left to be sent."""
        if self._log is None:
            return None, chunk
        found = self._log.lookup(chunk, self._terms.on_ambiguous == "retry")
        outcome = Outcome()
        if (known := found.known) is not None:
            receipt = Receipt(
                destination=self._terms.name,
                lane=self._terms.lane,
                accepted=found.accepted,
                failed=len(found.failed),
                raw_bytes=known.raw_bytes,
                sent_bytes=0,
                attempts=0,
                status=200,
                started=self._clock(),
                seconds=0.0,
            )
            latest = max(known.runs, key=lambda run: run.timestamp)
            outcome.receipts.append((receipt, latest))
            outcome.failed += [(each, _origin_of(known, each)) for each in found.failed]
        if found.doubtful is not None:
            part = _Delivery(found.doubtful, self._clock())
            why = Retry("it was on its way when an earlier run ended")
            refused = self._ambiguous(range(part.chunk.count), why)
            self._settle(part, outcome, refused, "ambiguous")
        if found.rest is chunk:
            return None, chunk
        return outcome, found.rest

    def fails_alone(self, error: BaseException) -> bool:
        """Whether this error is the project's only, and the job goes on without it."""
        return isinstance(error, DestinationError) and not self._terms.stops_job

    def refuse(self, chunk: EventChunk, error: BaseException) -> Outcome:
        """Fails a chunk of a project that takes nothing more, without sending it."""
        outcome = Outcome()
        part = _Delivery(chunk, self._clock())
        self._settle(part, outcome, _every(part, str(error)), "project_refused")
        return outcome

    def _doubtful(self, part: _Delivery, verdict: object) -> Mapping[int, bytes]:
        """Updates that Mixpanel may have applied, and would apply once more."""
        if self._endpoint.repeats_safely or self._terms.on_ambiguous == "retry":
            return {}
        if isinstance(verdict, Retry):
            unsure = verdict.unsure
        else:  # a single refused update was not applied; of many, who knows which
            unsure = isinstance(verdict, Unclear) and part.chunk.count > 1
        return {
            index: record
            for index, record in enumerate(part.chunk.events() if unsure else ())
            if index not in _named(verdict) and not self._endpoint.repeatable(record)
        }

    def _ambiguous(self, doubtful: Iterable[int], verdict: object) -> dict[int, Refusal]:
        message = (
            "Mixpanel may or may not have applied this update "
            f"({getattr(verdict, 'why', 'no clear answer')}), and applying it twice would change "
            "the profile twice, so that it was not sent again. Look at the profile; replay the "
            'update if it is missing, or set on_ambiguous="retry".'
        )
        return dict.fromkeys(doubtful, Refusal(None, message, "ambiguous"))

    def _again(self) -> str:
        """Why running the job once more is safe, or how far."""
        if self._endpoint.repeats_safely:
            return "what arrived already is not doubled."
        return (
            "updates that set values may be sent twice; those that add, append or remove would "
            "count twice: give it only the failed ones."
        )

    def _refuse_nonsense(self, part: _Delivery, verdict: TooLarge | Unclear) -> None:
        if not isinstance(verdict, TooLarge) or self._lane.proven or part.chunk.raw_bytes > _SMALL:
            return
        raise DestinationError(
            f"{self._host} has taken nothing yet and calls even a request of "
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
        weight = self.weight(part.chunk)
        insert_ids: list[str] | None = None
        trouble, throttled = part.trouble, 0.0
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
                outcome.seconds.append(self._clock() - sent_at)
                reached = answer.reached_server
                part.attempts += 1
                part.unreceipted += 1
                part.status = answer.status
                outcome.statuses[str(answer.status) if answer.status else "none"] += 1
                if answer.untrusted and not self._lane.proven:
                    raise self._untrusted(answer)
                if insert_ids is None and answer.status in (200, 400, 422):
                    insert_ids = self._insert_ids(part, answer)
                ids = insert_ids if insert_ids is not None else [""] * part.chunk.count
                verdict = judge(answer, ids, self._terms.asked, self._clock(), self._lane.proven)
                if isinstance(verdict, Retry):
                    if verdict.throttled:
                        throttled = self._lane.throttled(verdict.after, sent_at)
                    elif verdict.after:
                        self._lane.hold_off(verdict.after)
                elif isinstance(verdict, Settled) or _some(verdict):
                    self._lane.succeeded()
                else:
                    self._lane.answered()
            except DestinationError as error:
                self.stop(error)
                raise
            finally:
                self._lane.end(weight, reached)
            if self._doubtful(part, verdict):
                return verdict
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
            # wait for the quota for most of an hour. A pause that the server asks for and that
            # is longer than ours is obeyed as a 429's is: maintenance is no reason to give up.
            wait, asked = next(waits), verdict.after or 0.0
            if asked > self._retry.longest_wait:
                trouble.asked += asked
                trouble.failing += self._clock() - sent_at
                wait = asked
            else:
                wait = max(wait, asked)
                trouble.failing += self._clock() - sent_at + wait
            if (
                trouble.failing > self._retry.transient_seconds
                or trouble.asked > self._retry.throttled_seconds
            ):
                return verdict
            _LOGGER.warning(
                "%s: %s; attempt %d of a batch of %d %s, next in %.1f s.",
                self._terms.name,
                verdict.why,
                part.attempts,
                part.chunk.count,
                self._endpoint.unit,
                wait,
            )
            self._lane.pause(wait, self.check)

    def _untrusted(self, answer: Answer) -> DestinationError:
        return DestinationError(
            f"{self._host}: {answer.error}. Check the endpoint; where a proxy signs for it, name "
            "its authority's certificates in REQUESTS_CA_BUNDLE where the workers run. Nothing was "
            "sent."
        )

    def _insert_ids(self, part: _Delivery, answer: Answer) -> list[str] | None:
        """The events' ids, which only an answer with failed records makes worth the work."""
        if self._endpoint.identity:
            return None
        if answer.status == 200 and b"failed_records" not in answer.body:
            return None
        return [_insert_id(event) for event in part.chunk.events()]

    def _settle(
        self,
        part: _Delivery,
        outcome: Outcome,
        refused: Mapping[int, Refusal],
        reason: str,
        only_these: bool = False,
    ) -> None:
        """Enters a receipt and the refused events; the others are in, unless `only_these` are
        settled."""
        settled = len(refused) if only_these else part.chunk.count
        now = self._clock()
        receipt = Receipt(
            destination=self._terms.name,
            lane=self._terms.lane,
            accepted=settled - len(refused),
            failed=len(refused),
            raw_bytes=part.chunk.raw_bytes,
            sent_bytes=len(part.chunk.payload) if self._endpoint.gzip else part.chunk.raw_bytes,
            attempts=part.unreceipted,
            status=part.status,
            started=part.started,
            seconds=now - part.started,
        )
        latest = max(part.chunk.runs, key=lambda run: run.timestamp)
        if part.unreceipted or receipt.accepted:
            outcome.receipts.append((receipt, latest))
        if not refused:
            return
        events = part.chunk.events()
        for index, refusal in sorted(refused.items()):
            origin = part.chunk.origin(index)
            failure = FailedRecord(
                reason=refusal.reason or reason,
                message=refusal.message + identity.explain(events[index], self._endpoint),
                field=refusal.field,
                destination=self._terms.name,
                event_json=_TOKEN.sub(b"", events[index]).decode(),
                file=origin.file or None,
                row=origin.row if origin.row >= 0 else None,
                http_status=part.status or None,
                attempts=part.attempts,
                insert_id=_insert_id(events[index]) or None,
            )
            outcome.failed.append((failure, origin))

    def _takes_nothing(self, verdict: Unclear) -> DestinationError:
        return DestinationError(
            f"{self._host} has taken nothing yet, whole or in parts, and does not say what is "
            f"wrong with single {self._endpoint.unit} ({verdict.why}). Check the region, the "
            "endpoint, the credentials and the mapping. The job is stopped."
        )

    def _why(self, verdict: Unclear) -> str:
        """Of a part for which no requests are left."""
        return (
            f"Given up: Mixpanel refuses some {self._endpoint.unit} of the batch ({verdict.why}) "
            f"and does not say which. It may hold this one; {self._safe()}."
        )

    def _safe(self) -> str:
        if self._endpoint.identity:
            return "look at the profile before you send it again"
        return "sending it again with the same $insert_id is safe"

    def _give_up(self, part: _Delivery, outcome: Outcome, verdict: Retry) -> None:
        message = (
            f"Given up after {part.attempts} attempts; the last one: {verdict.why}. Mixpanel may "
            f"hold it; {self._safe()}."
        )
        self._settle(part, outcome, _every(part, message), "gave_up")
        self._count_given_up(verdict)

    def _count_given_up(self, verdict: Retry | Unclear) -> None:
        """One more batch of which nothing was taken."""
        in_a_row = self._lane.gave_up()
        if in_a_row >= self._retry.breaker:
            raise DestinationError(
                f"{self._host} took none of the last {in_a_row} batches (last: {verdict.why}). "
                f"The job is stopped; run it again when the endpoint is well: {self._again()}"
            )


def _origin_of(chunk: EventChunk, failure: FailedRecord) -> Run:
    """The run that a failure of an earlier try belongs to, as far as its file and row tell."""
    for run in chunk.runs:
        if (
            failure.row is not None
            and run.file == (failure.file or "")
            and run.row <= failure.row < run.row + run.count
        ):
            return run
    return chunk.runs[0]


def _named(verdict: object) -> Mapping[int, Refusal]:
    return verdict.refused if isinstance(verdict, Unclear) else {}


def _some(verdict: object) -> bool:
    return isinstance(verdict, Unclear) and verdict.some


def _every(part: _Delivery, message: str) -> dict[int, Refusal]:
    return dict.fromkeys(range(part.chunk.count), Refusal(None, message))


def _insert_id(event: bytes) -> str:
    match = _INSERT_ID.search(event)
    return match[1].decode() if match else ""
