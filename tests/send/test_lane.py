"""A lane on a simulated clock: the quota, Retry-After, backoff, and requests in flight."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

from mixpanel_sink.send.lane import Lane, steady_clock
from mixpanel_sink.send.window import Weight
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy

ONE = Weight(1, 100)


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, condition: threading.Condition, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(clock: Clock, quota: str = "none", **options: Any) -> Lane:
    return Lane(Quota.parse(quota), clock=clock, sleep=clock.sleep, **options)


def send(lane: Lane) -> None:
    lane.start(ONE)
    lane.succeeded()
    lane.end(ONE)


def test_the_61st_request_waits_for_an_hour(clock: Clock) -> None:
    lane = make(clock, "60/hour")
    begin = clock.now
    for _ in range(60):
        send(lane)
    assert clock.now == begin
    send(lane)
    assert 3600 <= clock.now - begin < 3605
    assert lane.take_throttled_seconds() == pytest.approx(clock.now - begin)
    assert lane.take_throttled_seconds() == 0


def test_all_rates_of_a_quota_hold(clock: Clock) -> None:
    lane = make(clock, "2/s, 3/minute")
    starts = []
    for _ in range(5):
        send(lane)
        starts.append(clock.now)
    gaps = [round(start - starts[0]) for start in starts]
    assert gaps == [0, 0, 1, 60, 60]


@pytest.mark.parametrize("seconds", [3.0, 700.0])
def test_retry_after_is_honoured_by_the_whole_lane(clock: Clock, seconds: float) -> None:
    lane = make(clock)
    lane.start(ONE)
    begin = clock.now
    assert lane.throttled(seconds, sent_at=begin) == seconds
    lane.end(ONE)
    assert lane.paused_seconds() == seconds
    lane.start(ONE)
    assert clock.now - begin >= seconds


def test_without_retry_after_waits_double_and_a_success_forgets_them(clock: Clock) -> None:
    lane = make(clock, retry=RetryPolicy(first_wait=1, longest_wait=8))
    pauses = []
    for _ in range(8):
        lane.start(ONE)
        lane.throttled(None, sent_at=clock.now)
        pauses.append(lane.paused_seconds())
        lane.end(ONE)
    assert 0.5 <= pauses[0] <= 1
    assert pauses[2] > 1
    assert all(4 <= pause <= 8 for pause in pauses[4:])
    lane.start(ONE)
    lane.succeeded()
    lane.throttled(None, sent_at=clock.now)
    assert lane.paused_seconds() <= 1


def test_refusals_of_one_volley_narrow_once_and_successes_widen(clock: Clock) -> None:
    lane = make(clock, max_in_flight=8)
    volley = clock.now
    for _ in range(8):
        lane.start(ONE)
    clock.now += 1
    for _ in range(8):
        lane.throttled(1.0, sent_at=volley)
        lane.end(ONE)
    assert width(lane, clock) == 4
    for _ in range(4):
        clock.now += 1
        lane.throttled(1.0, sent_at=clock.now)
    assert width(lane, clock) == 1
    for _ in range(14):
        lane.succeeded()
    assert width(lane, clock) == 8
    lane.succeeded()
    assert width(lane, clock) == 8


class TooMany(Exception):
    pass


def width(lane: Lane, clock: Clock) -> int:
    """How many requests the lane lets be under way at once."""
    open_requests = 0
    clock.now += 10_000  # past every pause

    def check() -> None:
        nonlocal looks
        looks += 1
        if looks > 3:
            raise TooMany

    try:
        while True:
            looks = 0
            lane.start(ONE, check)
            open_requests += 1
    except TooMany:
        return open_requests
    finally:
        for _ in range(open_requests):
            lane.end(ONE, reached_server=False)


def test_throttled_time_adds_up_until_a_success(clock: Clock) -> None:
    lane = make(clock)
    seen = []
    for _ in range(3):
        lane.start(ONE)
        seen.append(lane.throttled(100.0, sent_at=clock.now))
        lane.end(ONE)
    assert seen == [pytest.approx(100), pytest.approx(200), pytest.approx(300)]
    send(lane)
    assert lane.throttled(100.0, sent_at=clock.now) == pytest.approx(100)


def test_batches_given_up_in_a_row(clock: Clock) -> None:
    lane = make(clock)
    assert [lane.gave_up(), lane.gave_up()] == [1, 2]
    lane.succeeded()
    assert lane.gave_up() == 1


def test_start_now_takes_a_free_slot_and_waits_for_none(clock: Clock) -> None:
    lane = make(clock, "2/hour")
    send(lane)
    begin = clock.now
    assert lane.start_now(ONE)
    lane.succeeded()
    lane.end(ONE)
    assert not lane.start_now(ONE)
    assert clock.now == begin
    assert lane.take_throttled_seconds() == 0
    clock.now += 3700
    assert lane.start_now(ONE)


def test_start_now_goes_before_nobody_who_waits() -> None:
    lane = Lane(Quota.none(), max_in_flight=1)
    lane.start(ONE)
    waiting = threading.Thread(target=lane.start, args=(ONE,))
    waiting.start()
    end = time.monotonic() + 20
    while not lane._waits.waiting and time.monotonic() < end:
        time.sleep(0.01)
    lane._in_flight = 0  # a slot is free, but the other thread has not been woken yet
    assert not lane.start_now(ONE)
    lane.wake()
    waiting.join(20)
    lane.end(ONE)
    assert lane.start_now(ONE)


def test_what_check_raises_ends_the_wait_and_costs_nothing(clock: Clock) -> None:
    lane = make(clock, "1/hour")
    send(lane)
    looks = iter(range(3))

    def check() -> None:
        if next(looks, None) is None:
            raise TooMany

    with pytest.raises(TooMany):
        lane.start(ONE, check)
    with pytest.raises(TooMany):
        lane.pause(1000, check)
    clock.now += 3700
    begin = clock.now
    send(lane)
    assert clock.now == begin


def test_wake_reaches_waiting_threads() -> None:
    lane = Lane(Quota.parse("1/hour"))
    send(lane)
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise TooMany

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(lane.start, ONE, check) for _ in range(2)]
        waiting += [pool.submit(lane.pause, 3600, check) for _ in range(2)]
        time.sleep(0.1)
        assert not any(future.done() for future in waiting)
        begin = time.monotonic()
        stopped.set()
        lane.wake()
        assert all(isinstance(future.exception(10), TooMany) for future in waiting)
    assert time.monotonic() - begin < 4  # before they would have looked by themselves


def test_time_in_which_several_wait_counts_once() -> None:
    lane = Lane(Quota.parse("1/0.3s"))
    begin = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(send, lane) for _ in range(5)]:
            future.result()
    passed = time.monotonic() - begin
    assert passed >= 4 * 0.3
    assert 4 * 0.3 * 0.9 <= lane.take_throttled_seconds() <= passed


def test_many_threads_keep_the_quota_and_nobody_is_left_behind() -> None:
    lane = Lane(Quota.parse("20/0.4s"), max_in_flight=8)
    stamps: list[float] = []
    under_way = most = 0
    lock = threading.Lock()

    def one(seed: int) -> None:
        nonlocal under_way, most
        rng = random.Random(seed)
        lane.start(ONE)
        with lock:
            stamps.append(steady_clock())
            under_way += 1
            most = max(most, under_way)
        time.sleep(rng.random() * 0.01)
        with lock:
            under_way -= 1
        if rng.random() < 0.3:
            lane.throttled(rng.choice([None, 0.0, 0.01]), sent_at=stamps[0])
        else:
            lane.succeeded()
        lane.end(ONE)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(one, range(80)))
    stamps.sort()
    assert len(stamps) == 80
    assert all(late - early > 0.4 for early, late in zip(stamps, stamps[20:], strict=False))
    assert 1 < most <= 8


def test_a_request_of_a_preflight_counts_once(clock: Clock) -> None:
    lane = make(clock, "10/minute")
    lane.remember(clock.now)
    lane.remember(clock.now)
    (((entry,),),) = orjson.loads(lane.snapshot())["by"].values()
    assert entry[2] == 1


def test_the_title_says_who_and_how_much() -> None:
    assert Lane(Quota.page(), name="shop lane 0 at api-eu.mixpanel.com").title == (
        "shop lane 0 at api-eu.mixpanel.com (quota 60/hour)"
    )
