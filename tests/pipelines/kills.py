"""Kills the pipeline at random moments, and runs the same command again.

    python -m tests.pipelines.kills --kills 20

`test_kills.py` does the same three times. Each seed says when the kill comes; afterwards every
event must be stored once, and the second run's books must be true.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.emulator.testing import Emulator

ROWS = 40_000
BATCHES = ROWS // 2000
MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"


@dataclasses.dataclass(frozen=True)
class Killed:
    """What one kill left.

    Attributes:
        requests: before the kill.
        more: requests of the second run.
        known: events that the second run knew from the checkpoint.
    """

    seed: int
    requests: int
    more: int
    known: int


def make_input(folder: pathlib.Path) -> None:
    """A file of `ROWS` rows, and its mapping."""
    now = int(time.time() * 1000) - 86_400_000
    numbers = pa.array(range(ROWS))
    table = pa.table(
        {
            "name": ["Visit"] * ROWS,
            "user": [f"u{n % 997}" for n in range(ROWS)],
            "at": [now] * ROWS,
            "n": numbers,
        }
    )
    pq.write_table(table, folder / "events.parquet", row_group_size=10_000)
    (folder / "mapping.yaml").write_text(MAPPING)


def command(folder: pathlib.Path, url: str, *more: str) -> list[str]:
    """The pipeline, as a person starts it."""
    return [
        *(sys.executable, "-m", "pipelines.parquet_to_mixpanel"),
        f"--input={folder}/events.parquet",
        f"--mapping={folder}/mapping.yaml",
        f"--endpoint={url}",
        "--api_secret=env:KILL_SECRET",
        "--quota=none",
        "--progress=none",
        *more,
    ]


def kill_once(seed: int, checkpoint: bool) -> Killed:
    """One kill and one run after it; fails with the seed if anything is wrong."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name, Emulator(latency_ms=60) as mixpanel:
        folder = pathlib.Path(name)
        make_input(folder)
        more = [f"--checkpoint={folder}/checkpoint"] if checkpoint else []
        environment = {**os.environ, "KILL_SECRET": mixpanel.api_secret}
        process = subprocess.Popen(
            command(folder, mixpanel.url, *more),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Counted in requests and not in seconds: machines differ, and the start takes longest.
        target, spread = rng.randrange(0, BATCHES), rng.uniform(0, 0.1)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if mixpanel.stats()["requests"] >= target:
                time.sleep(spread)
                break
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        requests = _settled(mixpanel)
        again = subprocess.run(
            command(folder, mixpanel.url, *more),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        stats = mixpanel.stats()
        assert again.returncode == 0, (seed, again.stderr)
        assert f"{ROWS:,} read = {ROWS:,} accepted + 0 failed" in again.stdout, (seed, again.stdout)
        assert stats["events_distinct"] == ROWS, (seed, stats)
        numbers = {event["properties"]["n"] for event in _all_events(mixpanel)}
        assert numbers == set(range(ROWS)), seed
        after = stats["requests"] - requests
        known = next(
            (
                int(line.split()[-1].replace(",", ""))
                for line in again.stdout.splitlines()
                if "known to checkpoint" in line
            ),
            0,
        )
        if checkpoint:
            # At most what was under way at the kill is sent again: no batch that was known.
            assert after == BATCHES - known // 2000, (seed, after, known)
        return Killed(seed, requests, after, known)


def _settled(mixpanel: Emulator) -> int:
    """Requests, once those that were under way have been taken."""
    before = -1
    while (requests := mixpanel.stats()["requests"]) != before:
        before = requests
        time.sleep(0.5)
    return requests


def _all_events(mixpanel: Emulator) -> list[dict[str, dict[str, int]]]:
    found: list[dict[str, dict[str, int]]] = []
    while page := mixpanel.events(10_000, len(found)):
        found += page
    return found


def main() -> int:
    """Many kills, one line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    own = parser.parse_args()
    for seed in range(own.first_seed, own.first_seed + own.kills):
        killed = kill_once(seed, checkpoint=seed % 2 == 0)
        print(
            f"seed {seed}: killed after {killed.requests} requests; the second run sent "
            f"{killed.more}, knew {killed.known:,} events, and all {ROWS:,} are stored once",
            flush=True,
        )
    print(f"{own.kills} kills: nothing lost, nothing doubled.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
