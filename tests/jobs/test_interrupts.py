"""Ctrl-C in the middle of a run."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time

import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.jobs.kills import EVENTS, command, make_input


@pytest.mark.parametrize("quota", ["3/0.3s", "2/hour"])
def test_ctrl_c_says_what_was_sent_and_how_to_go_on(tmp_path: pathlib.Path, quota: str) -> None:
    make_input(tmp_path)
    with Emulator(latency_ms=60) as mixpanel:
        events = [each.format(folder=tmp_path) for each in EVENTS]
        run = subprocess.Popen(
            [*command(tmp_path, mixpanel.url, *events), f"--quota={quota}"],
            env={**os.environ, "KILL_SECRET": mixpanel.api_secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + 60
        while mixpanel.stats()["requests"] < 2 and time.monotonic() < end:
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    assert "Interrupted. Sent so far" in said
    assert "To go on, run the same command again" in said
