"""The export is asked for by days of the project's time zone, in few queries."""

from __future__ import annotations

import datetime
import subprocess
import sys

import pytest

from mixpanel_sink import SettingError
from mixpanel_sink.inspect.verify.findings import Days
from mixpanel_sink.read.raw_export import spans

FIRST = datetime.date(2023, 12, 30)


@pytest.mark.parametrize(
    ("days", "queries"), [(1, 1), (50, 50), (51, 26), (400, 50), (3650, 50), (49, 49)]
)
def test_many_days_in_few_queries(days: int, queries: int) -> None:
    last = FIRST + datetime.timedelta(days - 1)
    found = list(spans(FIRST, last, 50))
    assert len(found) == queries
    assert (found[0][0], found[-1][1]) == (FIRST, last)
    every = [
        start + datetime.timedelta(i) for start, end in found for i in range((end - start).days + 1)
    ]
    assert every == [FIRST + datetime.timedelta(i) for i in range(days)]


@pytest.mark.parametrize(
    ("zone", "hour", "day"),
    [
        ("UTC", 0, 1),
        ("UTC", -1, 31),
        ("America/New_York", 4, 31),
        ("America/New_York", 5, 1),
        ("Asia/Kathmandu", -5, 1),  # 5:45 ahead
        ("Asia/Kathmandu", -6, 31),
    ],
)
def test_days_of_a_zone(zone: str, hour: int, day: int) -> None:
    midnight = 1_704_067_200_000  # 2024-01-01T00:00:00Z
    assert Days(zone).of(midnight + hour * 3_600_000).day == day


def test_an_unknown_zone() -> None:
    with pytest.raises(SettingError, match="'Mars' is unknown"):
        Days("Mars")


def test_the_proof_of_tables_does_not_even_load_the_encoders() -> None:
    """By way of other modules either: to import them costs a quarter of a second."""
    look = (
        "import sys, mixpanel_sink.jobs.verify\n"
        "print(*(name for name in sys.modules if name.startswith("
        "('mixpanel_sink.encode', 'mixpanel_sink.stages'))))"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert not found.stdout.split()
