"""Accepted events are counted by name and day."""

from __future__ import annotations

import datetime

import pytest

from mixpanel_sink.send.tally import Tally

DAY = "2024-05-01"


@pytest.mark.parametrize(
    "event",
    [
        b'{"event":"A","properties":{"distinct_id":"u","time":1714521600000}}',
        b'{"event":"A","properties":{"distinct_id":"u","time":1714521600}}',
        b'{"event":"A","properties":{"a":{"time":5},"time":1714521600000}}',  # raw: keys sorted
        b'{"event":"A","properties":{"a\\"time":5,"time":1714521600000}}',
        b'{"event":"A","properties":{"time":1714521600000,"z":[{"time":5}]}}',
    ],
)
def test_the_day_is_the_one_of_the_event(event: bytes) -> None:
    tally = Tally()
    tally.begin_breakdown()
    tally.add_events([event])
    assert tally.breakdown() == {("A", DAY): 1}


def test_an_event_without_a_time_is_of_the_day_on_which_it_is_sent() -> None:
    tally = Tally()
    tally.begin_breakdown()
    days = [datetime.datetime.now(datetime.timezone.utc).date()]
    tally.add_events([b'{"event":"A","properties":{"distinct_id":"u"}}'])
    days.append(datetime.datetime.now(datetime.timezone.utc).date())
    ((_, day),) = tally.breakdown()
    assert day in map(str, days)
