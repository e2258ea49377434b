"""A worker is killed while it sends: a clear end or a complete one, never a false success."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import time

from mixpanel_sink.emulator.testing import Emulator
from tests.pipelines.kills import ROWS, command, make_input

TWO_PROCESSES = (
    "--runner=DirectRunner",
    "--direct_num_workers=2",
    "--direct_running_mode=multi_processing",
)


def workers(parent: int) -> list[int]:
    """Descendants that run a Beam worker."""
    found = []
    for task in pathlib.Path(f"/proc/{parent}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            line = pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
            found += [child] if b"sdk_worker" in line else []
            found += workers(child)
    return found


def test_a_killed_worker_is_no_success(tmp_path: pathlib.Path) -> None:
    make_input(tmp_path)
    with Emulator(latency_ms=300) as mixpanel:
        process = subprocess.Popen(
            command(tmp_path, mixpanel.url, *TWO_PROCESSES),
            env={**os.environ, "KILL_SECRET": mixpanel.api_secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + 60
            while mixpanel.stats()["requests"] < 1 and time.monotonic() < end:
                time.sleep(0.02)
            victims = workers(process.pid)
            assert victims
            for victim in victims:
                os.kill(victim, signal.SIGKILL)
            out, err = process.communicate(timeout=100)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        stored = mixpanel.stats()["events_distinct"]
        if process.returncode == 0:
            assert stored == ROWS
            assert f"{ROWS:,} read = {ROWS:,} accepted" in out
        else:
            assert process.returncode == 1
            assert "Error: the runner failed" in err
            assert "To go on, run the same command again" in err
