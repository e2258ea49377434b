"""The gate with a rate limiter: what happens while it is asked."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import RequestContext
from mixpanel_sink.errors import DestinationError, MixpanelSinkError
from mixpanel_sink.send.gate import Gate, weight
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from tests.send.chunks import chunk_of

CHUNK = chunk_of(b"{}")
RETRY = RetryPolicy(throttled_seconds=10, first_wait=0.01, longest_wait=0.02)


class Limiter:
    def __init__(self, allow: Callable[[], bool]) -> None:
        self.allow = allow


def gate(lane: Lane, allow: Callable[[], bool]) -> Gate:
    where = RequestContext(Destination.of(), "API secret")
    return Gate(lane, SendPolicy("shop", where, retry=RETRY, rate_limiter=Limiter(allow)))


def test_a_retry_after_that_comes_meanwhile_is_obeyed() -> None:
    lane = Lane(Quota.none())

    def allow() -> bool:
        lane.hold_off(0.5)
        return True

    began = time.monotonic()
    gate(lane, allow).start(CHUNK)
    assert time.monotonic() - began >= 0.5


def test_one_that_is_too_long_stops_and_leaves_nothing_open() -> None:
    lane = Lane(Quota.parse("1/hour"))

    def allow() -> bool:
        lane.hold_off(1000)
        return True

    with pytest.raises(DestinationError, match="asks to wait for"):
        gate(lane, allow).start(CHUNK)
    assert lane._in_flight == 0


def test_a_failing_limiter_costs_no_quota() -> None:
    lane = Lane(Quota.parse("1/hour"))

    def allow() -> bool:
        raise OSError("gone")

    with pytest.raises(MixpanelSinkError, match="rate limiter failed"):
        gate(lane, allow).start(CHUNK)
    assert lane.start_now(weight(CHUNK))


def test_a_stop_ends_the_asking() -> None:
    lane = Lane(Quota.none())

    def allow() -> bool:
        one.stop(KeyError("bundle failed"))
        return False

    one = gate(lane, allow)
    with pytest.raises(KeyError):
        one.start(CHUNK)
    assert lane._in_flight == 0


def test_time_spent_asking_is_throttled_time() -> None:
    lane = Lane(Quota.none())
    answers = iter([False] * 20 + [True])
    gate(lane, lambda: next(answers)).start(CHUNK)
    assert lane.take_throttled_seconds() > 0.1


def test_nothing_goes_at_once_past_a_limiter() -> None:
    assert not gate(Lane(Quota.none()), lambda: True).start_now(CHUNK)
