"""What is done about a response: the one place that decides it, without any I/O.

`deliver.py` brings the response, `sender.py` carries the plan out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from mixpanel_sink.api.failed_records import Refusal
from mixpanel_sink.api.responses import (
    ProjectRefused,
    ResponseClass,
    Retry,
    Settled,
    TooLarge,
    Unclear,
)
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.send import messages
from mixpanel_sink.send.part import Part
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.settings.retry import RetryPolicy

SPLITS = 48
"""Extra requests that finding unnamed bad events in one batch may cost: two of them at
eleven halvings each. Beyond, what is left of the batch is given up."""
SPLITS_OF_NOTHING = 28
"""The same while the endpoint has accepted nothing yet. They suffice to find one bad event
anywhere, so the endpoint must be refusing all of them."""
SMALL_BYTES = 100_000
"""An endpoint that calls one event of so few bytes too large is not Mixpanel's."""
NO_SERVER_SECONDS = 10.0
"""How long a server on this machine may take to start."""


@dataclasses.dataclass(frozen=True)
class RetryBudget:
    """Seconds that a batch has lost so far, all its parts together.

    Attributes:
        failing: in failed requests and in the backoff after them. Not what is spent on waiting
            for the quota: at 60 requests an hour a retry may have to wait for most of an hour.
        paused: in long pauses that the server asked for.
    """

    failing: float = 0.0
    paused: float = 0.0

    def after(
        self, seconds: float, backoff: float, asked: float | None, retry: RetryPolicy
    ) -> tuple[float, RetryBudget]:
        """How long to wait after a failed request of so many seconds, and the budget then.

        A pause that the server asks for and that is longer than ours is obeyed as a 429's is:
        maintenance is no reason to give up.
        """
        if asked is not None and asked > retry.longest_wait:
            return asked, RetryBudget(self.failing + seconds, self.paused + asked)
        wait = max(backoff, asked or 0.0)
        return wait, RetryBudget(self.failing + seconds + wait, self.paused)

    def used_up(self, retry: RetryPolicy) -> bool:
        """Whether the batch is to be given up."""
        return self.failing > retry.transient_seconds or self.paused > retry.throttled_seconds


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known besides the response.

    Attributes:
        proven: whether the endpoint has accepted a request with these credentials.
        splits: how many extra requests may still be spent on finding bad records.
        budget: what the batch has lost before this request.
        seconds: how long this request took.
        backoff: seconds to wait before the next one, where the server does not say.
        throttled: for how many seconds the lane has now seen nothing but 429s.
    """

    proven: bool = True
    splits: int = SPLITS
    budget: RetryBudget = dataclasses.field(default_factory=RetryBudget)
    seconds: float = 0.0
    backoff: float = 0.0
    throttled: float = 0.0


@dataclasses.dataclass(frozen=True)
class Accept:
    """The part is settled: Mixpanel holds all records but the refused ones."""

    refused: Mapping[int, Refusal]


@dataclasses.dataclass(frozen=True)
class Fail:
    """These records fail; what is left of the part is sent again without them.

    Attributes:
        refused: by index.
        reason: of the failed records, unless a refusal has one of its own.
        alone_too_large: a 413 was about this one record, and not about the size of the batches
            that held it.
    """

    refused: Mapping[int, Refusal]
    reason: str = "refused"
    alone_too_large: bool = False


@dataclasses.dataclass(frozen=True)
class Again:
    """The part is sent once more, after `wait` seconds.

    Attributes:
        budget: what the batch has lost then.
        unclear: whether that is because the response was unclear, which is done once only.
    """

    wait: float
    budget: RetryBudget
    unclear: bool = False


@dataclasses.dataclass(frozen=True)
class Split:
    """The part is sent in halves: for its size, or to find the bad records in it."""

    too_large: bool


@dataclasses.dataclass(frozen=True)
class GiveUp:
    """The records of the part fail for now.

    Attributes:
        message: of the failed records.
        why: the last response.
        outage: whether the endpoint did not serve the request. Else it did, and refused: that
            counts as an outage only if nothing else of the batch was accepted.
    """

    message: str
    why: str
    outage: bool


@dataclasses.dataclass(frozen=True)
class Stop:
    """Nothing more is sent to the project."""

    error: DestinationError


Action = Accept | Fail | Again | Split | GiveUp | Stop


def plan(response: ResponseClass, part: Part, policy: SendPolicy, facts: Facts) -> Action:
    """Decides what is done about a response to a part."""
    if isinstance(response, ProjectRefused):
        return stop(response.error, policy)
    if isinstance(response, Settled):
        return Accept(response.refused)
    if doubtful := _doubtful(response, part, policy):
        # Never sent again, nor are those that Mixpanel named; the others are.
        return Fail({**_named(response), **doubtful})
    if isinstance(response, Retry):
        return _after_retry(response, part, policy, facts)
    if isinstance(response, Unclear) and response.again and not part.asked_again:
        # Ids make it safe, and it may be a passing fault.
        return Again(0.0, facts.budget, unclear=True)
    if part.chunk.count == 1:
        return _after_single(response, part, policy, facts)
    if isinstance(response, TooLarge):
        return Split(too_large=True)
    if response.refused:
        return Fail(response.refused)
    if facts.splits <= SPLITS - SPLITS_OF_NOTHING and not facts.proven:
        return stop(messages.nothing_accepted(response.why, policy), policy)
    if facts.splits > 0:
        return Split(too_large=False)
    text = messages.undecided(response.why, policy.endpoint)
    return GiveUp(text, response.why, outage=False)


def stop(error: DestinationError | str, policy: SendPolicy, when: str | None = None) -> Stop:
    """Stops sending to the project. The message says what that means for the job, and when to run
    it again, if the error is a passing one."""
    kind = type(error) if isinstance(error, DestinationError) else DestinationError
    return Stop(kind(f"{error} {messages.consequence(policy, when)}"))


def after_giving_up(batches: int, why: str, policy: SendPolicy) -> Stop | None:
    """Whether so many batches in a row, of which nothing was accepted, are too many."""
    if batches < policy.retry.breaker:
        return None
    return stop(messages.outage(batches, why, policy), policy, "when the endpoint has recovered")


def after_pause(seconds: float, policy: SendPolicy) -> Stop | None:
    """Whether a pause of so many seconds, which the server asks for, is too long."""
    if seconds <= policy.retry.throttled_seconds:
        return None
    return stop(messages.long_pause(seconds, policy), policy, "then")


def unsafe_to_repeat(part: Part, why: str, policy: SendPolicy) -> dict[int, Refusal]:
    """Records that must not be sent again, now that Mixpanel may have applied them."""
    if policy.endpoint.repeats_safely or policy.on_ambiguous == "retry":
        return {}
    refusal = Refusal(None, messages.ambiguous(why), "ambiguous")
    return {
        index: refusal
        for index, record in enumerate(part.chunk.events())
        if not policy.endpoint.repeatable(record)
    }


def _doubtful(response: ResponseClass, part: Part, policy: SendPolicy) -> dict[int, Refusal]:
    """Updates that Mixpanel may have applied, and would apply once more."""
    if isinstance(response, Retry):
        unsure = response.unsure
    else:  # a single refused update was not applied; of many, who knows which
        unsure = isinstance(response, Unclear) and part.chunk.count > 1
    if not unsure:
        return {}
    why = response.why if isinstance(response, Retry | Unclear) else ""
    found = unsafe_to_repeat(part, why, policy)
    return {index: each for index, each in found.items() if index not in _named(response)}


def _after_retry(response: Retry, part: Part, policy: SendPolicy, facts: Facts) -> Action:
    retry = policy.retry
    given_up = GiveUp(
        messages.gave_up(part.attempts, response.why, policy.endpoint), response.why, outage=True
    )
    if response.throttled:  # the lane waits
        return given_up if facts.throttled > retry.throttled_seconds else Again(0.0, facts.budget)
    wait, budget = facts.budget.after(facts.seconds, facts.backoff, response.after, retry)
    if response.no_server and not facts.proven and budget.failing > NO_SERVER_SECONDS:
        return stop(messages.no_server(response.why), policy)
    return given_up if budget.used_up(retry) else Again(wait, budget)


def _after_single(
    response: TooLarge | Unclear, part: Part, policy: SendPolicy, facts: Facts
) -> Action:
    """One record, refused by itself."""
    refused = {0: Refusal(None, response.why)}
    if isinstance(response, Unclear):
        return Fail(refused)
    size = part.chunk.raw_bytes
    if not facts.proven and size <= SMALL_BYTES:
        return stop(messages.nothing_fits(size, response.why, policy), policy)
    return Fail(refused, "event_too_large", alone_too_large=True)


def _named(response: ResponseClass) -> Mapping[int, Refusal]:
    return response.refused if isinstance(response, Unclear) else {}
