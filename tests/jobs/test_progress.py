"""Progress: what is said, how it looks, and how long the rest takes under the quota."""

from __future__ import annotations

import datetime
import io
import random

import pytest
from rich.console import Console

from mixpanel_sink.jobs.progress import amounts, bar, duration, line, outlook
from mixpanel_sink.jobs.watch import Standing, seconds_left
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.waits import Throttled
from mixpanel_sink.send.window import Weight
from mixpanel_sink.settings.quota import Quota

NOON = datetime.datetime(2026, 5, 4, 12, 0, 0).timestamp()
TODAY = datetime.date(2026, 5, 4)


def lane_after(quota: str, requests: int, events: int, elapsed: float) -> Lane:
    """A lane that has sent so many requests at once, so many seconds ago."""
    now = 1000.0
    lane = Lane(Quota.parse(quota), clock=lambda: now)
    for _ in range(requests):
        lane.start(Weight(events // requests, 300 * events // requests))
        lane.end(Weight(events // requests, 300 * events // requests))
    now += elapsed
    return lane


@pytest.mark.parametrize(
    ("counts", "total", "quota", "elapsed", "left"),
    [
        ({}, 100, "none", 1.0, None),
        ({"events_accepted": 50}, None, "none", 1.0, None),
        ({"events_accepted": 50, "requests": 1}, 100, "none", 10.0, 10.0),
        ({"events_accepted": 50, "records_failed": 50, "requests": 1}, 100, "none", 10.0, 0.0),
        # 60 requests went at once; of 130 the last ten go in the third hour.
        ({"events_accepted": 120_000, "requests": 60}, 260_000, "60/hour", 10.0, 7190.0),
        ({"events_accepted": 120_000, "requests": 60}, 240_000, "60/hour", 1810.0, 1810.0),
        # Half of the requests fail, so that the rest needs twice as many.
        ({"events_accepted": 60_000, "requests": 60}, 180_000, "60/hour", 10.0, 7190.0),
        ({"events_accepted": 30_000, "requests": 15}, 90_000, "30000 events/s", 0.5, 1.5),
        # A part of the rest fails before it is sent, and one was left out.
        (
            {"events_accepted": 60_000, "records_failed": 59_999, "records_left_out": 1,
             "requests": 30}, 360_000, "30/hour", 100.0, 7100.0,
        ),
    ],
)  # fmt: skip
def test_seconds_left(
    counts: dict[str, int], total: int | None, quota: str, elapsed: float, left: float | None
) -> None:
    requests, events = counts.get("requests", 0), counts.get("events_accepted", 0)
    lane = lane_after(quota, requests, events, elapsed)
    got = seconds_left(Standing(counts, total, elapsed), [lane])
    assert got == (None if left is None else pytest.approx(left, rel=0.01, abs=2.0))


def test_waiting_for_the_quota_says_nothing_of_the_rate() -> None:
    now = 0.0

    def sleep(_: object, seconds: float) -> None:
        nonlocal now
        now += seconds

    lane = Lane(Quota.parse("2/minute"), clock=lambda: now, sleep=sleep)
    for _ in range(3):
        lane.start(Weight(2000, 1))
        now += 0.5
        lane.end(Weight(2000, 1))
    assert lane.held_seconds() == pytest.approx(60, abs=0.5)
    counts = {"events_accepted": 6000, "requests": 3}
    # One of the first two is older than a minute: the next may go at once, at full speed.
    left = seconds_left(Standing(counts, 8000, now), [lane])
    assert left == pytest.approx(0.5, abs=0.1)


def test_start_up_says_nothing_of_the_rate() -> None:
    now = Standing({"events_accepted": 20_000, "requests": 10}, 30_000, 12.0)
    assert seconds_left(now, [], (2000, 10.2)) == pytest.approx(1.0)
    # At the first look nothing else is known: rather too long than no time at all.
    assert seconds_left(now, [], (20_000, 12.0)) == pytest.approx(6.0)


def test_one_line() -> None:
    counts = {"events_accepted": 12_000, "records_failed": 3, "requests": 6}
    assert line(Standing(counts, 20_000, 6.0, 3700.0)) == (
        "12,000 of 20,000 accepted, 3 failed, 6 requests, 2,000 a second, about 1 h 1 min left"
    )
    assert line(Standing({}, None, 1.0)) == "0 accepted, 0 failed, 0 requests, 0 a second"
    assert amounts(Standing({"requests": 1})) == "0 accepted, 0 failed, 1 request"


@pytest.mark.parametrize(
    ("cause", "until", "said"),
    [
        ("the quota is used up", 1770.0, "the quota is used up until 12:29:30 (29 min)"),
        ("Mixpanel asked to wait", 86_400.0, "Mixpanel asked to wait until 05 May 12:00 (1 d 0 h)"),
        ("backing off after HTTP 500", 4.0, "backing off after HTTP 500 until 12:00:04 (4 s)"),
    ],
)  # fmt: skip
def test_it_says_why_it_waits_and_until_when(cause: str, until: float, said: str) -> None:
    held = Throttled("lane", cause, NOON + until, until)
    assert outlook(Standing({}, held=held), TODAY) == said


def test_workers_elsewhere_are_not_shown_as_idle() -> None:
    assert line(Standing({}, 10, known=False)).startswith("The workers run in processes of their")


@pytest.mark.parametrize("seed", range(4))
def test_the_bar_fits_80_columns_in_two_lines(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(50):
        total = rng.choice([None, 0, rng.randrange(10 ** rng.randrange(1, 9))])
        counts = {
            "events_accepted": rng.randrange((total or 0) + 1),
            "records_failed": rng.randrange(10 ** rng.randrange(1, 6)),
            "requests": rng.randrange(10 ** rng.randrange(1, 6)),
        }
        wait = rng.uniform(0.1, 200_000)
        held = Throttled("x", "Mixpanel asked to wait", NOON + wait, wait)
        now = Standing(
            counts, total, rng.uniform(0, 1e6), rng.uniform(0, 1e6), rng.choice([None, held])
        )
        shown = rendered(now)
        assert len(shown) == 2
        assert all(len(each) <= 80 for each in shown)
        assert amounts(now) in shown[0]
        assert outlook(now) == shown[1].strip()


def test_all_is_only_what_is_all() -> None:
    assert " 99%  9,999 of 10,000" in rendered(Standing({"events_accepted": 9_999}, 10_000))[0]
    assert "100%  3 of 3" in rendered(Standing({"events_accepted": 3}, 3))[0]


def rendered(now: Standing) -> list[str]:
    """What a terminal of 80 columns shows."""
    file = io.StringIO()
    Console(file=file, width=80, force_terminal=False).print(bar(now, 80))
    return [each.rstrip() for each in file.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5 s"), (61, "1 min"), (3700, "1 h 1 min"), (100_000, "1 d 3 h")]
)
def test_durations(seconds: int, said: str) -> None:
    assert duration(seconds) == said
