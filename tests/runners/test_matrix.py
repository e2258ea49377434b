"""Windows, faults and failing jobs on every runner that a machine can hold.

(`tests/pipelines/test_runners.py` has the command line, the quota and the failed output on them.)
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.pipelines.test_runners import RUNNERS
from tests.prism import prism_or_skip
from tests.runners.windowed import START

COUNT = 100
BAD = [number for number in range(COUNT) if number % 10 == 7]


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "prism":
        prism_or_skip()
    return RUNNERS[request.param]


class Ran:
    def __init__(self, done: subprocess.CompletedProcess[str], folder: pathlib.Path) -> None:
        self.code, self.err = done.returncode, done.stderr
        self.failed = self._noted(folder / "failed")
        self.receipts = self._noted(folder / "receipts")

    def _noted(self, path: pathlib.Path) -> list[tuple[dict[str, Any], float, float]]:
        if not path.exists():
            return []
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()]  # type: ignore[misc]


def run(
    mixpanel: Emulator, folder: pathlib.Path, runner: list[str], windows: str, poison: str = "no"
) -> Ran:
    command = [sys.executable, "-m", "tests.runners.windowed", mixpanel.url, windows, str(folder)]
    done = subprocess.run(
        [*command, str(COUNT), poison, *runner],
        env={**os.environ, "MATRIX_SECRET": mixpanel.api_secret},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return Ran(done, folder)


@pytest.mark.parametrize("windows", ["fixed", "sliding", "sessions"])
def test_results_keep_windows_and_timestamps(
    mixpanel: Emulator, tmp_path: pathlib.Path, runner: list[str], windows: str
) -> None:
    ran = run(mixpanel, tmp_path, runner, windows)
    assert ran.code == 0, ran.err[-3000:]
    assert mixpanel.stats()["events_distinct"] == COUNT - len(BAD)
    assert mixpanel.stats()["requests"] == 9
    ends: dict[int, list[float]] = {number: [] for number in BAD}
    for failed, at, end in ran.failed:
        number = int(failed["insert_id"].removeprefix("id-"))
        assert at == START + number
        ends[number].append(end - START)
    for number, found in ends.items():
        last = {
            "fixed": [number - number % 10 + 10],
            "sliding": [number - number % 10 + 10, number - number % 10 + 20],
            "sessions": [COUNT - 1 + 5],
        }[windows]
        if windows != "sessions":
            assert sorted(found) == pytest.approx(last, abs=0.01), number
        else:  # a session merges where something groups by it, which nothing here does
            assert len(found) == 1
    assert sum(receipt["accepted"] for receipt, _, _ in ran.receipts) >= COUNT - len(BAD)


def test_faults_cost_nothing(mixpanel: Emulator, tmp_path: pathlib.Path, runner: list[str]) -> None:
    mixpanel.faults(
        [
            {"kind": "rate_limit", "retry_after": "1", "skip": 1},
            {"kind": "status", "status": 503, "times": 2},
            {"kind": "reset", "stored": True},
            {"kind": "truncate"},
        ]
    )
    ran = run(mixpanel, tmp_path, runner, "global")
    assert ran.code == 0, ran.err[-3000:]
    assert mixpanel.remaining_faults() == []
    assert mixpanel.stats()["events_distinct"] == COUNT - len(BAD)
    assert sum(receipt["accepted"] for receipt, _, _ in ran.receipts) == COUNT - len(BAD)
    assert len(ran.failed) == len(BAD)


def test_a_bundle_that_fails_is_no_success_and_doubles_nothing(
    mixpanel: Emulator, tmp_path: pathlib.Path, runner: list[str]
) -> None:
    broken = run(mixpanel, tmp_path, runner, "global", "poison")
    assert broken.code != 0
    assert "poisoned" in broken.err
    mended = tmp_path / "mended"
    mended.mkdir()
    ran = run(mixpanel, mended, runner, "global")
    assert ran.code == 0, ran.err[-3000:]
    assert mixpanel.stats()["events_distinct"] == COUNT - len(BAD)
