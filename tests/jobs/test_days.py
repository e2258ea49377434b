"""A few simulated days with kills; `python -m tests.jobs.days` has many."""

from __future__ import annotations

from tests.jobs.days import simulate


def test_days_with_kills_lose_nothing_and_send_nothing_twice() -> None:
    for day in simulate(seed=3, days=3):
        print(day)
