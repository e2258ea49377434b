"""200 random schedules of faults; `python -m tests.fault_schedules --seeds 2000` runs more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.fault_schedules import SECRET, run_schedule


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(api_secret=SECRET) as running:
        yield running


@pytest.mark.parametrize("seed", range(200))
def test_nothing_is_lost_or_doubled(emulator: Emulator, seed: int) -> None:
    run_schedule(emulator, seed)
