"""A lane's state: other workers, other clocks, failed bundles."""

from __future__ import annotations

import threading

import orjson
import pytest

from mixpanel_sink.send.lane import CLOCK_SKEW, Lane
from tests.send.test_lane import (
    ONE,
    Clock,
    clock,  # noqa: F401
    make,
    send,
)


def starts_at_once(lane: Lane, clock: Clock) -> bool:
    begin = clock.now
    send(lane)
    return clock.now == begin


def test_another_worker_continues_within_the_quota(clock: Clock) -> None:
    first = make(clock, "5/minute", process="a")
    begin = clock.now
    for _ in range(3):
        send(first)
    first.start(ONE)  # still open when the state is written
    state = first.snapshot()
    clock.now += 10
    second = make(clock, "5/minute", process="b")
    second.merge(state)
    assert starts_at_once(second, clock)
    state = second.snapshot()
    third = make(clock, "5/minute", process="c")
    third.merge(state)
    send(third)
    assert clock.now - begin >= 60
    # What was open counts from when the second worker heard of it, ten seconds later.
    assert starts_at_once(third, clock)
    assert starts_at_once(third, clock)
    assert not starts_at_once(third, clock)
    assert clock.now - begin >= 70


class Skewed(Clock):
    """Another worker's clock: the same time, `ahead` seconds ahead."""

    def __init__(self, clock: Clock, ahead: float) -> None:
        self.clock = clock
        self.ahead = ahead

    def __call__(self) -> float:
        return self.clock.now + self.ahead

    def sleep(self, condition: threading.Condition, seconds: float) -> None:
        self.clock.sleep(condition, seconds)


@pytest.mark.parametrize("ahead", [-2.0, -0.5, 0.5, 2.0])
@pytest.mark.parametrize("between", [0.0, 1.0, 7.0])
def test_a_worker_whose_clock_differs_frees_no_slot_early(
    clock: Clock, ahead: float, between: float
) -> None:
    first = make(clock, "2/10s", process="a")
    begin = clock.now
    send(first)
    send(first)
    state = first.snapshot()
    clock.now += between
    second = make(Skewed(clock, ahead), "2/10s", process="b")
    second.merge(state)
    send(second)
    assert 10 <= clock.now - begin <= 10.1 + 2 * CLOCK_SKEW


def test_the_skew_is_allowed_for_once_on_each_way(clock: Clock) -> None:
    first, second = (make(clock, "1/60s", process=name) for name in "ab")
    begin = clock.now
    send(first)
    for _ in range(20):  # bundles that send nothing
        second.merge(first.snapshot())
        second.merge(second.snapshot())
        first.merge(second.snapshot())
    send(second)
    assert 60 <= clock.now - begin <= 60.1 + CLOCK_SKEW


def test_a_clock_that_is_hours_ahead_does_not_stop_the_others(clock: Clock) -> None:
    first = make(Skewed(clock, 7200.0), "1/60s", process="a")
    send(first)
    first.throttled(100.0, sent_at=clock.now + 7200.0)
    second = make(clock, "1/60s", process="b")
    second.merge(first.snapshot())
    assert second.paused_seconds() == pytest.approx(100)
    begin = clock.now
    send(second)
    assert clock.now - begin == pytest.approx(100)


def test_a_pause_travels_with_the_state(clock: Clock) -> None:
    first = make(clock, "none", process="a")
    first.throttled(500.0, sent_at=clock.now)
    second = make(clock, "none", process="b")
    second.merge(first.snapshot())
    assert second.paused_seconds() == 500


def test_a_failed_bundle_of_the_same_worker_still_counts(clock: Clock) -> None:
    lane = make(clock, "3/hour")
    before = lane.snapshot()
    for _ in range(3):
        send(lane)
    lane.merge(before)  # the bundle's state was lost
    lane.merge(None)
    assert not starts_at_once(lane, clock)


def test_what_is_too_old_leaves_the_state(clock: Clock) -> None:
    first = make(clock, "3/minute", process="a")
    send(first)
    second = make(clock, "3/minute", process="b")
    second.merge(first.snapshot())
    assert set(orjson.loads(second.snapshot())["by"]) == {"a", "b"}
    clock.now += 100
    assert set(orjson.loads(second.snapshot())["by"]) == {"b"}


def test_of_two_states_the_newer_one_knows_more(clock: Clock) -> None:
    """Two sinks of one project share a lane, and each has a state of its own."""
    far = make(clock, "10/minute", process="far")
    send(far)
    older = far.snapshot()
    clock.now += 1
    send(far)
    newer = far.snapshot()
    for order in ([older, newer], [newer, older], [newer, older, older]):
        here = make(clock, "10/minute", process="here")
        for state in order:
            here.merge(state)
        (entries,) = orjson.loads(here.snapshot())["by"]["far"]
        assert sum(weight for _, _, weight in entries) == 2
    assert orjson.loads(older)["seen"]["far"] < orjson.loads(newer)["seen"]["far"]
