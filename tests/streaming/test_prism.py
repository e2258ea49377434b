"""A source without an end, in real time, on Prism: the benchmark's own run, but short."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from benchmarks import stream_restart
from benchmarks.streaming import Waits, main
from tests.prism import PRISM


@pytest.fixture
def prism() -> str:
    if PRISM is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Prism is not installed")
    return PRISM


def test_every_event_lands_and_they_go_together(prism: str) -> None:
    # In a process of its own: Beam keeps the first Prism, and runs all that follows on it.
    command = [sys.executable, "-m", "benchmarks.streaming", "--seconds=5", "--rate=10"]
    done = subprocess.run(
        [*command, "--max-latency=1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PRISM": prism},
    )
    said = re.search(r"^(\d+) events, (\d+) requests, max_latency 1", done.stdout, re.MULTILINE)
    assert said is not None, done.stderr
    assert int(said[1]) == 50
    assert 1 < int(said[2]) < 25, "not all at the end, and not one for each"


def test_what_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits([0.5] * 90 + [1.2] * 5 + [9.0] * 5, 7)
    assert waits.share(1) == 0.9
    assert waits.percentile(50) == 0.5
    assert waits.percentile(95) == 1.2
    monkeypatch.setattr("benchmarks.streaming.measure", lambda *_: waits)
    assert main(["--max-latency=1", "--request=0.5"]) == 0
    assert main(["--max-latency=1", "--request=0.1"]) == 1
    assert "95.0% within 1.5 s" in capsys.readouterr().out


def test_a_stream_that_starts_again_has_the_same_events() -> None:
    given = [list(stream_restart.event(100.0 + n / 4, 100.0, 4, 3)) for n in range(5)]
    assert [[each["id"] for each in events] for events in given] == [
        ["id-0"], ["id-1"], ["id-2"], [], [],
    ]  # fmt: skip


@pytest.mark.parametrize(("stored", "longest", "code"), [(100, 31, 0), (99, 1, 1), (100, 61, 1)])
def test_what_is_said_of_a_restart(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stored: int,
    longest: float,
    code: int,
) -> None:
    found = stream_restart.Stream(100, stored, 15, 10, longest, 6)
    monkeypatch.setattr("benchmarks.stream_restart.measure", lambda *_: found)
    assert stream_restart.main(["--events=100"]) == code
    assert f"{stored} of 100 events stored, 15 requests" in capsys.readouterr().out
