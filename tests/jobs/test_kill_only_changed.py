"""kill -9 in the middle of a full refresh with --only-changed, then the same command again."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.emulator.testing import Emulator
from tests.conftest import TOKEN

ROWS = 12_000
BATCH = 1000


def test_a_full_refresh_that_was_killed_goes_on(mixpanel: Emulator, tmp_path: pathlib.Path) -> None:
    table = {"user": [f"u{n}" for n in range(ROWS)], "plan": ["pro"] * ROWS}
    pq.write_table(pa.table(table), tmp_path / "users.parquet")
    (tmp_path / "users.yaml").write_text("distinct_id: user\nset: [plan]\n")
    command = [
        *(sys.executable, "-m", "mixpanel_sink.cli", "import", "users.parquet"),
        *("--mapping=users.yaml", "--endpoint-kind=engage", "--project-token=env:TOKEN"),
        *(f"--endpoint={mixpanel.url}", "--only-changed", "--checkpoint=kept", "--lanes=1"),
        *(f"--batch-events={BATCH}", "--progress=none"),
    ]
    environment = {**os.environ, "TOKEN": TOKEN}
    mixpanel.settings(latency_ms=300)
    first = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while mixpanel.stats()["requests"] < 5 and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    mixpanel.settings(latency_ms=0)
    before = mixpanel.stats()["requests"]
    assert 5 <= before < ROWS // BATCH, "it was killed in the middle"
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"profiles unchanged +([\d,]+)", done.stdout)
    assert found is not None, done.stdout
    known = int(found[1].replace(",", ""))
    # All but the request that was on its way, and one whose answer was not entered yet.
    assert known >= (before - 2) * BATCH
    assert mixpanel.stats()["requests"] - before == (ROWS - known) // BATCH
    assert {each["properties"]["plan"] for each in mixpanel.profiles(10_000)} == {"pro"}
    assert len(mixpanel.profiles(10_000)) + len(mixpanel.profiles(10_000, 10_000)) == ROWS
