"""Runs a command and tells what it and all its descendants cost.

    python -m benchmarks.measure --out report.json --timeout 600 -- COMMAND ...

A process of its own, so that it can adopt and wait for every descendant (Linux's child
subreaper): CPU seconds then come from wait4, whole and exact. Memory is sampled.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import paths

SAMPLE_SECONDS = 0.02
_PR_SET_CHILD_SUBREAPER = 36
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a command cost.

    Attributes:
        exit_code: negative for a signal.
        timed_out: whether it was killed for its time.
        wall: seconds from its start to its end, its own start-up included.
        cpu: seconds, user and system, of it and every descendant.
        peak_memory: bytes; the largest sum over its processes at one moment. Resident
            memory of one process; of several, proportional (PSS), so that what they
            share counts once.
        other_cpu: seconds that others used meanwhile (the counting server too).
        steal: seconds that the hypervisor took.
    """

    exit_code: int
    timed_out: bool
    wall: float
    cpu: float
    peak_memory: int
    other_cpu: float
    steal: float


def run(
    command: Sequence[str], log: Path, env: dict[str, str] | None = None, timeout: float = 1800
) -> Cost:
    """Runs a command from the repository's folder; its output goes to `log`."""
    report = log.with_suffix(".json")
    report.unlink(missing_ok=True)
    arguments = ["--out", str(report), "--timeout", str(timeout), "--", *command]
    with log.open("wb") as out:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.measure", *arguments],
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            cwd=paths.REPOSITORY,
            check=True,
        )
    return Cost(**json.loads(report.read_text()))


def measure(command: Sequence[str], timeout: float) -> Cost:
    """As `run`, in this process, which must have no other children."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    busy, steal = _machine()
    own = time.process_time()
    start = time.monotonic()
    process = subprocess.Popen(command, start_new_session=True)
    sampler = _Sampler()
    sampler.start()
    late = threading.Event()

    def kill() -> None:
        late.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout, kill)
    timer.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    sampler.stop()
    cpu = usage.ru_utime + usage.ru_stime + _reap()
    busy_after, steal_after = _machine()
    own = time.process_time() - own
    return Cost(
        exit_code=process.returncode,
        timed_out=late.is_set(),
        wall=wall,
        cpu=cpu,
        peak_memory=sampler.peak,
        other_cpu=max(0.0, busy_after - busy - cpu - own),
        steal=steal_after - steal,
    )


class _Sampler(threading.Thread):
    """Looks at the memory of all descendants again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, _memory(_descendants(os.getpid())))

    def stop(self) -> None:
        self._done.set()
        self.join()


def resident_of_tree(pid: int) -> int:
    """Memory of a process and all its descendants now, in bytes."""
    return _memory([pid, *_descendants(pid)])


def _memory(pids: Sequence[int]) -> int:
    return sum(_resident(pid) for pid in pids) if len(pids) < 2 else sum(map(_shared_out, pids))


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


def _shared_out(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found


def _reap() -> float:
    """Ends what the command left behind; gives its CPU seconds."""
    cpu = 0.0
    for pid in _descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return cpu
        cpu += usage.ru_utime + usage.ru_stime


def _machine() -> tuple[float, float]:
    """Busy and stolen seconds of all cores since the machine started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, soft, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + soft) / _TICK, steal / _TICK


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--timeout", type=float, default=1800, help="seconds")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    cost = measure(options.command, options.timeout)
    options.out.write_text(json.dumps(dataclasses.asdict(cost)))


if __name__ == "__main__":
    main()
