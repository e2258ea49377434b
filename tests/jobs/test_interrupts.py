"""Ctrl-C and SIGTERM in the middle of a run."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.jobs.kills import EVENTS, command, make_input


@pytest.mark.parametrize(
    ("quota", "number", "code"),
    [("3/0.3s", signal.SIGINT, 130), ("2/hour", signal.SIGTERM, 143)],
)
def test_ctrl_c_says_what_was_sent_and_how_to_go_on(
    tmp_path: pathlib.Path, quota: str, number: signal.Signals, code: int
) -> None:
    make_input(tmp_path)
    lease = tmp_path / "checkpoint/lease.json"
    with Emulator(latency_ms=60) as mixpanel:
        events = [each.format(folder=tmp_path) for each in EVENTS]
        run = subprocess.Popen(
            [
                *command(tmp_path, mixpanel.url, *events),
                f"--quota={quota}",
                f"--checkpoint={lease.parent}",
            ],
            env={**os.environ, "KILL_SECRET": mixpanel.api_secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + 60
        while mixpanel.stats()["requests"] < 2 and time.monotonic() < end:
            time.sleep(0.02)
        assert lease.exists()
        run.send_signal(number)
        _, said = run.communicate(timeout=60)
        held = mixpanel.stats()
    assert run.returncode == code, said
    assert not lease.exists()  # given back, so that the next run need not wait
    found = re.search(
        r"Interrupted\. Mixpanel has accepted ([\d,]+) so far, in (\d+) requests?\."
        r"(?: (\d+) requests? had not been answered yet\.)? To go on",
        said,
    )
    assert found, said
    accepted, requests, unanswered = (
        int((text or "0").replace(",", "")) for text in found.groups()
    )
    # What goes on after the message is what it says is on its way, and what the quota lets go.
    assert accepted <= held["events_accepted"]
    if quota == "2/hour":
        assert requests <= held["requests"] == 2 <= requests + unanswered
        assert accepted == 2000 * requests
    assert "To go on, run the same command again" in said
