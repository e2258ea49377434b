"""A worker process, or the runner itself, is killed while the command runs: the job must end, with
exit code 1 and one sentence, or be complete. The same command then stores every event once."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.jobs.conftest import MAPPING
from tests.jobs.test_import_parquet import shop, write
from tests.prism import prism_or_skip
from tests.runners.matrix import RUNNERS

ROWS = 30_000
WORKER = "-m mixpanel_sink.jobs.sdk_worker"
PRISMS_WORKER = "sdk_worker"


@pytest.mark.parametrize(
    ("name", "more", "victim"),
    [
        ("processes", [], WORKER),
        ("prism", ["--experiments=use_loopback_process_worker"], PRISMS_WORKER),
        ("prism", [], "prism --job_port"),
    ],
    ids=["one of two workers", "Prism's worker", "Prism"],
)
def test_a_lost_process_is_no_false_success(
    server: Emulator, tmp_path: pathlib.Path, name: str, more: list[str], victim: str
) -> None:
    if name == "prism":
        prism_or_skip()
    server.settings(quota="4/1s", latency_ms=100)
    write(tmp_path / "a.parquet", shop(ROWS), row_group_size=1000)
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    command = [
        *(sys.executable, "-m", "pipelines.parquet_to_mixpanel"),
        f"--input={tmp_path}/a.parquet",
        f"--mapping={tmp_path}/mapping.yaml",
        "--api-secret=env:TEST_API_SECRET",
        f"--endpoint={server.url}",
        f"--failed-output={tmp_path}/failed",
        "--s3_secret_access_key=KEY-OF-S3",  # which Beam's own worker logs
    ]
    # Beam's pool of workers starts "python", whichever comes first.
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "TEST_API_SECRET": server.api_secret}
    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        subprocess.Popen(
            [*command, "--quota=4/1s", *RUNNERS[name], *more],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as job,
    ):
        try:
            _wait_for_requests(server, 3, job)
            victims = [pid for pid in _descendants(job.pid) if victim in _command(pid)]
            os.kill(victims[-1], signal.SIGKILL)
            code = job.wait(120)
        finally:
            if job.poll() is None:
                for pid in [*_descendants(job.pid), job.pid]:
                    os.kill(pid, signal.SIGKILL)
    said = log.read_text()
    assert "KEY-OF-S3" not in said
    complete = f"{ROWS:,} read = {ROWS:,} accepted + 0 failed"
    if code == 0:  # nothing was left for the lost worker to do
        assert complete in said
        assert server.stats()["events_distinct"] == ROWS
    else:
        assert code == 1, said
        assert "read = " not in said, "the accounting of a job that did not end"
        errors = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, said[-5000:]
        (error,) = errors
        assert "A worker or the runner ended before the job did" in error
        assert "To go on, run the same command again" in said

    server.settings(quota="none", latency_ms=0)
    again = subprocess.run(
        [*command, "--quota=none"], env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert complete in again.stdout
    assert server.stats()["events_distinct"] == ROWS


def _wait_for_requests(server: Emulator, number: int, job: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while server.stats()["requests"] < number:
        assert job.poll() is None, "the job ended before it could be disturbed"
        assert time.monotonic() < end, "the job sends nothing"
        time.sleep(0.05)


def _descendants(pid: int) -> Iterator[int]:
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        if parent == pid:
            yield int(entry.name)
            yield from _descendants(int(entry.name))


def _command(pid: int) -> str:
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
