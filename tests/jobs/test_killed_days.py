"""Thirty simulated days with kills between any two steps; `python -m tests.jobs.killed_days` has
many more."""

from __future__ import annotations

import pytest

from tests.jobs.killed_days import simulate


@pytest.mark.parametrize("seed", range(20))
def test_thirty_days_with_kills_lose_nothing_and_send_nothing_twice(seed: int) -> None:
    days = simulate(seed, 30)
    print(f"seed {seed}: {sum(day.kills for day in days)} kills")
    assert sum(day.kills for day in days) > 5, "it must be killed to show anything"
