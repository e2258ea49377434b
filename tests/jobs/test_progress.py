"""Progress: what is said, and how long the rest takes under the quota."""

from __future__ import annotations

import pytest

from mixpanel_sink.jobs.progress import duration, line, seconds_left
from mixpanel_sink.settings.quota import Quota

PAGE = Quota.page()


@pytest.mark.parametrize(
    ("counts", "total", "quota", "elapsed", "left"),
    [
        ({}, 100, "none", 1.0, None),
        ({"events_accepted": 50}, None, "none", 1.0, None),
        ({"events_accepted": 50}, 100, "none", 10.0, 10.0),
        ({"events_accepted": 50, "records_failed": 50}, 100, "none", 10.0, 0.0),
        # 60 requests went at once; of 130 the last ten go in the third hour.
        ({"events_accepted": 120_000, "requests": 60}, 260_000, "60/hour", 10.0, 7190.0),
        # Waiting for the quota says nothing of the rate.
        (
            {"events_accepted": 120_000, "requests": 60, "cumulativeThrottlingSeconds": 1800},
            240_000, "60/hour", 1810.0, 1790.0,
        ),
        ({"events_accepted": 30_000, "requests": 15}, 90_000, "30000 events/s", 0.5, 1.5),
    ],
)  # fmt: skip
def test_seconds_left(
    counts: dict[str, int], total: int | None, quota: str, elapsed: float, left: float | None
) -> None:
    got = seconds_left(counts, total, Quota.parse(quota), elapsed)
    assert got == (None if left is None else pytest.approx(left, abs=1.0))


def test_a_line() -> None:
    counts = {"events_accepted": 12_000, "records_failed": 3, "requests": 6}
    said = line({**counts, "cumulativeThrottlingSeconds": 75}, 20_000, 3700.0, 6.0)
    assert said == (
        "12,000 of 20,000 accepted, 3 failed, 6 requests, 2,000 a second, throttled 1 min, "
        "about 1 h 1 min left"
    )
    assert line({}, None, None, 1.0) == "0 accepted, 0 failed, 0 requests, 0 a second"


@pytest.mark.parametrize(
    ("seconds", "said"), [(5, "5 s"), (61, "1 min"), (3700, "1 h 1 min"), (100_000, "1 d 3 h")]
)
def test_durations(seconds: int, said: str) -> None:
    assert duration(seconds) == said
