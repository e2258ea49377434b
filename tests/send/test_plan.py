"""What is done about each class of response, as a table; nothing is sent."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from mixpanel_sink.api.endpoints import ENGAGE, IMPORT, Endpoint
from mixpanel_sink.api.failed_records import Refusal
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import (
    ProjectRefused,
    RequestContext,
    ResponseClass,
    Retry,
    Settled,
    TooLarge,
    Unclear,
)
from mixpanel_sink.errors import AuthenticationError, DestinationError
from mixpanel_sink.send.part import Part
from mixpanel_sink.send.plan import (
    NO_SERVER_SECONDS,
    SMALL_BYTES,
    SPLITS,
    SPLITS_OF_NOTHING,
    Accept,
    Action,
    Again,
    Facts,
    Fail,
    GiveUp,
    RetryBudget,
    Split,
    Stop,
    after_giving_up,
    after_pause,
    plan,
)
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.settings.job import OnAmbiguous
from mixpanel_sink.settings.retry import RetryPolicy
from tests.send.chunks import chunk_of

RETRY = RetryPolicy(transient_seconds=100, throttled_seconds=1000, longest_wait=60, breaker=3)
EVENTS = [b'{"event":"E","properties":{"distinct_id":"u%d"}}' % n for n in range(3)]
ADD = b'{"$distinct_id":"u","$add":{"n":1}}'
SET = b'{"$distinct_id":"u","$set":{"n":1}}'
NAMED = {1: Refusal("f", "bad")}
OLD = RetryBudget(5.0, 7.0)


def part(*records: bytes, **given: Any) -> Part:
    return Part(chunk_of(*(records or EVENTS)), 0.0, **given)


def policy(
    endpoint: Endpoint = IMPORT, on_ambiguous: OnAmbiguous = "fail", stops_job: bool = True
) -> SendPolicy:
    where = RequestContext(Destination.of("eu"), "API secret", endpoint)
    return SendPolicy("shop", where, 0, RETRY, on_ambiguous, stops_job)


def facts(**given: Any) -> Facts:
    return Facts(**{"budget": OLD, "seconds": 1.0, "backoff": 2.0, **given})


FAILED = Retry("503: down")
THROTTLED = Retry("429: slow", throttled=True, unsure=False)
NO_SERVER = Retry("the connection was refused", unsure=False, no_server=True)
REFUSED = ProjectRefused(AuthenticationError("wrong secret."))

TABLE: dict[str, tuple[ResponseClass, Part, Facts, Action | type[Action]]] = {
    "accepted": (Settled(), part(), facts(), Accept({})),
    "accepted but for one": (Settled(NAMED), part(), facts(), Accept(NAMED)),
    "refused project": (
        REFUSED, part(), facts(), Stop
    ),
    "an error passes": (FAILED, part(), facts(), Again(2.0, RetryBudget(8.0, 7.0))),
    "the server asks for more than the backoff": (
        Retry("503", after=9.0), part(), facts(), Again(9.0, RetryBudget(15.0, 7.0))
    ),
    "the server asks for less": (
        Retry("503", after=1.0), part(), facts(), Again(2.0, RetryBudget(8.0, 7.0))
    ),
    "a long pause counts as such": (
        Retry("503", after=61.0), part(), facts(), Again(61.0, RetryBudget(6.0, 68.0))
    ),
    "errors for too long": (FAILED, part(), facts(budget=RetryBudget(98.0)), GiveUp),
    "errors for just not too long": (
        FAILED, part(), facts(budget=RetryBudget(97.0)), Again(2.0, RetryBudget(100.0))
    ),
    "pauses for too long": (
        Retry("503", after=61.0), part(), facts(budget=RetryBudget(0.0, 940.0)), GiveUp
    ),
    "a 429": (THROTTLED, part(), facts(throttled=1000.0), Again(0.0, OLD)),
    "nothing but 429s": (THROTTLED, part(), facts(throttled=1000.1), GiveUp),
    "no server yet": (
        NO_SERVER, part(), facts(proven=False), Again(2.0, RetryBudget(8.0, 7.0))
    ),
    "no server at all": (
        NO_SERVER, part(), facts(proven=False, budget=RetryBudget(NO_SERVER_SECONDS)), Stop
    ),
    "no server any more": (
        NO_SERVER, part(), facts(budget=RetryBudget(50.0)), Again(2.0, RetryBudget(53.0))
    ),
    "an unclear response": (Unclear("?", again=True), part(), facts(), Again(0.0, OLD, True)),
    "an unclear response of one": (
        Unclear("?", again=True), part(EVENTS[0]), facts(), Again(0.0, OLD, True)
    ),
    "unclear again": (
        Unclear("?", again=True), part(asked_again=True), facts(), Split(False)
    ),
    "unclear, and would be again": (Unclear("?"), part(), facts(), Split(False)),
    "unclear, but some are named": (Unclear("?", NAMED), part(), facts(), Fail(NAMED)),
    "one is refused": (
        Unclear("?"), part(EVENTS[0]), facts(), Fail({0: Refusal(None, "?")})
    ),
    "one is refused, and named": (
        Unclear("?", {0: Refusal("f", "bad")}), part(EVENTS[0]), facts(),
        Fail({0: Refusal(None, "?")})
    ),
    "nothing is accepted": (
        Unclear("?"), part(), facts(proven=False, splits=SPLITS - SPLITS_OF_NOTHING), Stop
    ),
    "nothing is accepted yet": (
        Unclear("?"), part(), facts(proven=False, splits=SPLITS - SPLITS_OF_NOTHING + 2),
        Split(False)
    ),
    "the last split": (Unclear("?"), part(), facts(splits=2), Split(False)),
    "no splits left": (Unclear("?"), part(), facts(splits=0), GiveUp),
    "one needs no splits": (
        Unclear("?"), part(EVENTS[0]), facts(splits=0), Fail({0: Refusal(None, "?")})
    ),
    "too large": (TooLarge("413"), part(), facts(), Split(True)),
    "too large, and no splits left": (TooLarge("413"), part(), facts(splits=0), Split(True)),
    "one is too large": (
        TooLarge("413"), part(EVENTS[0]), facts(),
        Fail({0: Refusal(None, "413")}, "event_too_large", True)
    ),
    "even a small one is too large": (
        TooLarge("413"), part(EVENTS[0]), facts(proven=False), Stop
    ),
    "a large one may be too large": (
        TooLarge("413"), part(b'"%s"' % (b"x" * SMALL_BYTES)), facts(proven=False),
        Fail({0: Refusal(None, "413")}, "event_too_large", True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_what_is_done(name: str) -> None:
    response, one, known, wanted = TABLE[name]
    got = plan(response, one, policy(), known)
    assert isinstance(got, wanted) if isinstance(wanted, type) else got == wanted


def test_each_class_and_each_action_is_in_the_table() -> None:
    kinds = {type(response) for response, *_ in TABLE.values()}
    assert kinds == {Settled, Retry, TooLarge, Unclear, ProjectRefused}
    actions = {
        type(plan(response, one, policy(), known)) for response, one, known, _ in TABLE.values()
    }
    assert actions == {Accept, Fail, Again, Split, GiveUp, Stop}


RESPONSES = [
    Settled(), Settled(NAMED), FAILED, Retry("x", after=61.0), Retry("x", unsure=False), THROTTLED,
    NO_SERVER, TooLarge("413"), Unclear("?"), Unclear("?", NAMED), Unclear("?", again=True),
    Unclear("?", NAMED, again=True, some=True), REFUSED,
]  # fmt: skip
KNOWN = [
    facts(proven=proven, splits=splits, budget=budget, throttled=throttled)
    for proven in (True, False)
    for splits in (SPLITS, 2, 0)
    for budget in (RetryBudget(), RetryBudget(99.0), RetryBudget(0.0, 999.0))
    for throttled in (0.0, 2000.0)
]
PARTS = [
    *(part(*records, asked_again=again) for records in (EVENTS, EVENTS[:2]) for again in (0, 1)),
    part(SET, ADD), part(SET, ADD, ADD), part(ADD, ADD), part(SET, SET),
]  # fmt: skip
SINGLE = [part(EVENTS[0]), part(ADD), part(SET), part(ADD, asked_again=True)]


@pytest.mark.parametrize("response", RESPONSES, ids=repr)
@pytest.mark.parametrize("endpoint", [IMPORT, ENGAGE], ids=lambda e: e.name)
@pytest.mark.parametrize("on_ambiguous", ["fail", "retry"])
def test_every_combination_ends_and_loses_nothing(
    response: ResponseClass, endpoint: Endpoint, on_ambiguous: OnAmbiguous
) -> None:
    settings = policy(endpoint, on_ambiguous)
    for one, known in itertools.product(PARTS + SINGLE, KNOWN):
        if one.chunk.count <= max(getattr(response, "refused", {}), default=0):
            continue
        got = plan(response, one, settings, known)
        everything = set(range(one.chunk.count))
        if isinstance(got, Accept):
            assert isinstance(response, Settled)
        elif isinstance(got, Fail):
            assert got.refused  # something is settled, and what is left is sent again
            assert set(got.refused) <= everything
        elif isinstance(got, Split):
            assert one.chunk.count > 1
            assert got.too_large == isinstance(response, TooLarge)
            assert got.too_large or known.splits > 0
        elif isinstance(got, Again):
            # It costs something, so that it ends.
            assert got.wait > 0 or got.unclear > one.asked_again or isinstance(response, Retry)
            assert not got.budget.used_up(RETRY)
        elif isinstance(got, GiveUp):
            assert got.outage == isinstance(response, Retry)
        else:
            assert "The job is stopped." in str(got.error)
        if isinstance(got, Again | Split) and endpoint is ENGAGE and on_ambiguous == "fail":
            named = response.refused if isinstance(response, Unclear) else {}
            maybe_applied = (
                response.unsure
                if isinstance(response, Retry)
                else isinstance(response, Unclear) and one.chunk.count > 1
            )
            unnamed = [e for i, e in enumerate(one.chunk.events()) if i not in named]
            assert not maybe_applied or ADD not in unnamed


class TestUpdatesThatMustNotBeSentTwice:
    def test_only_they_fail(self) -> None:
        got = plan(FAILED, part(SET, ADD, SET), policy(ENGAGE), facts())
        assert isinstance(got, Fail)
        assert {index: each.reason for index, each in got.refused.items()} == {1: "ambiguous"}
        assert "503: down" in got.refused[1].message

    def test_those_that_are_named_have_their_own_reason(self) -> None:
        got = plan(Unclear("?", NAMED), part(ADD, ADD, SET), policy(ENGAGE), facts())
        assert isinstance(got, Fail)
        assert got.refused == {0: got.refused[0], 1: NAMED[1]}
        assert got.refused[0].reason == "ambiguous"

    @pytest.mark.parametrize("response", [THROTTLED, Retry("x", unsure=False), TooLarge("413")])
    def test_where_nothing_was_applied_they_are_sent_again(self, response: ResponseClass) -> None:
        got = plan(response, part(ADD, ADD), policy(ENGAGE), facts())
        assert isinstance(got, Again | Split)

    def test_one_that_was_refused_was_not_applied(self) -> None:
        got = plan(Unclear("?"), part(ADD), policy(ENGAGE), facts())
        assert got == Fail({0: Refusal(None, "?")})

    def test_whoever_wants_them_repeated_gets_that(self) -> None:
        got = plan(FAILED, part(SET, ADD), policy(ENGAGE, "retry"), facts())
        assert isinstance(got, Again)


class TestStopping:
    def test_it_keeps_the_kind_of_error(self) -> None:
        got = plan(REFUSED, part(), policy(), facts())
        assert isinstance(got, Stop)
        assert isinstance(got.error, AuthenticationError)
        assert str(got.error) == "wrong secret. The job is stopped."

    def test_one_of_several_projects_does_not_stop_the_job(self) -> None:
        got = plan(REFUSED, part(), policy(stops_job=False), facts())
        assert isinstance(got, Stop)
        assert "job is stopped" not in str(got.error)
        assert "Nothing more is sent to this project; the others" in str(got.error)

    @pytest.mark.parametrize(("batches", "stops"), [(1, False), (2, False), (3, True), (4, True)])
    def test_after_so_many_batches(self, batches: int, stops: bool) -> None:
        got = after_giving_up(batches, "503", policy())
        assert (got is not None) is stops
        if got is not None:
            assert isinstance(got.error, DestinationError)
            assert "what has arrived is not doubled" in str(got.error)

    @pytest.mark.parametrize(("seconds", "stops"), [(0.0, False), (1000.0, False), (1000.1, True)])
    def test_after_so_long_a_pause(self, seconds: float, stops: bool) -> None:
        assert (after_pause(seconds, policy(ENGAGE)) is not None) is stops

    def test_where_nothing_listens_it_asks_for_the_server_and_the_port(self) -> None:
        got = plan(NO_SERVER, part(), policy(), facts(proven=False, budget=RetryBudget(50.0)))
        assert isinstance(got, Stop)
        assert "the connection was refused" in str(got.error)
        assert "port" in str(got.error)


def test_giving_up_says_how_to_go_on() -> None:
    events = plan(FAILED, part(attempts=4), policy(), facts(budget=RetryBudget(500.0)))
    assert isinstance(events, GiveUp)
    assert "after 4 attempts" in events.message
    assert "same $insert_id is safe" in events.message
    again = policy(ENGAGE, "retry")
    updates = plan(Unclear("?"), part(ADD, ADD), again, dataclasses.replace(facts(), splits=0))
    assert isinstance(updates, GiveUp)
    assert "look at the profile" in updates.message
