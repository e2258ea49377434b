"""The worker's line a minute: what was sent, what failed, and what it waits for."""

from __future__ import annotations

import logging
import threading

import pytest

from mixpanel_sink.report.worker_log import Progress, line
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.waits import Throttled
from mixpanel_sink.send.window import Weight
from mixpanel_sink.settings.quota import Quota

COUNTS = {
    "events_accepted": 12_000,
    "requests": 9,
    "requests_200": 7,
    "requests_429": 2,
    "records_failed": 5,
    "failed_refused": 1,
    "failed_gave_up": 4,
}


def test_the_line_says_what_is_sent_what_failed_and_what_waits() -> None:
    held = Throttled("api.mixpanel.com lane 0", "quota 60/hour", 1_800_000_000.0, 1702.4)
    assert line(COUNTS, 200.0, [held]) == (
        "This worker so far: 12,000 events accepted (200 a second lately), 9 requests (200: 7, "
        "429: 2), 5 records failed (gave_up: 4, refused: 1). api.mixpanel.com lane 0: next "
        "request at 08:00:00 UTC, in 1,702 s (quota 60/hour)."
    )


def test_before_anything_is_sent() -> None:
    assert line({}, 0.0, []) == (
        "This worker so far: 0 events accepted (0 a second lately), 0 requests, 0 records failed."
    )


def test_at_most_one_line_a_minute_and_the_rate_is_that_of_the_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "mixpanel_sink")
    now = 1000.0
    counts = {"events_accepted": 0}
    progress = Progress(lambda: counts, 60.0, lambda: now)
    for second in range(181):
        now = 1000.0 + second
        counts["events_accepted"] = 100 * min(second, 120)
        progress.say()
    rates = [message.partition("(")[2].partition(" ")[0] for message in caplog.messages]
    assert rates == ["100", "100", "0"]


def test_one_line_although_many_threads_ask(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mixpanel_sink")
    ticks = iter([0.0] + [100.0] * 8)
    progress = Progress(dict, 60.0, lambda: next(ticks))
    threads = [threading.Thread(target=progress.say) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caplog.messages) == 1


def test_a_lane_tells_what_it_waits_for() -> None:
    now = 1_800_000_000.0
    seen = []

    def sleep(_: threading.Condition, seconds: float) -> None:
        nonlocal now
        seen.append(lane.held())
        now += seconds

    lane = Lane(Quota.parse("1/minute"), name="x lane 0", clock=lambda: now, sleep=sleep)
    assert lane.held() is None
    one = Weight(1, 1)
    lane.start(one)
    lane.end(one)
    lane.start(one)
    assert seen[0] is not None
    assert (seen[0].lane, seen[0].cause) == ("x lane 0 (quota 1/minute)", "the quota is used up")
    assert seen[0].seconds == pytest.approx(60, abs=0.1)
    assert lane.held() is None
    seen.clear()
    lane.throttled(500.0, sent_at=now)
    lane.end(one)
    lane.start(one)
    assert seen[0] is not None
    assert seen[0].cause == "Mixpanel asked to wait"
    assert seen[0].seconds == pytest.approx(500)
