"""Kills the pipeline at random moments, and runs the same command again.

    python -m tests.jobs.kills --kills 20

`test_kills.py` does the same a few times. Each seed says when the kill comes; afterwards every
event must be stored once, and the second run's accounting must be true. Of profile updates that
add, with a checkpoint, none may be applied twice.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.emulator.testing import Emulator

ROWS = 24_000
BATCHES = ROWS // 2000
MOST_IN_FLIGHT = 6
"""Three a window, of which two may be under way."""
MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"
PROFILES = "distinct_id: user\nadd: [one]\n"


@dataclasses.dataclass(frozen=True)
class Killed:
    """What one kill left.

    Attributes:
        requests: before the kill.
        more: requests of the second run.
        known: events or updates that the second run knew from the checkpoint.
        doubtful: updates that it did not send again, as they may have been applied.
    """

    seed: int
    requests: int
    more: int
    known: int
    doubtful: int = 0


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
            "one": [1] * ROWS,
        }
    )
    pq.write_table(table, folder / "events.parquet", row_group_size=10_000)
    (folder / "mapping.yaml").write_text(MAPPING)
    (folder / "profiles.yaml").write_text(PROFILES)


def command(folder: pathlib.Path, url: str, *more: str) -> list[str]:
    """The pipeline, as a person starts it."""
    return [
        *(sys.executable, "-m", "pipelines.parquet_to_mixpanel"),
        f"--input={folder}/events.parquet",
        f"--endpoint={url}",
        "--quota=3/0.3s",  # else all are under way at once, and there is one moment to be killed
        "--progress=none",
        *more,
    ]


EVENTS = ("--mapping={folder}/mapping.yaml", "--api-secret=env:KILL_SECRET")
UPDATES = (
    "--mapping={folder}/profiles.yaml",
    "--endpoint-kind=engage",
    "--project-token=env:KILL_TOKEN",
    "--lanes=3",
    "--failed-output={folder}/failed",
)


def kill_once(seed: int, checkpoint: bool) -> Killed:
    """One kill of an import of events, and one run after it.

    Raises:
        AssertionError: what is wrong, with the seed.
    """
    with tempfile.TemporaryDirectory() as name, Emulator(latency_ms=60) as mixpanel:
        folder = pathlib.Path(name)
        more = [f"--checkpoint={folder}/checkpoint"] if checkpoint else []
        killed, out = _kill_and_repeat(seed, folder, mixpanel, [*EVENTS, *more])
        assert f"{ROWS:,} read = {ROWS:,} accepted + 0 failed" in out, (seed, out)
        stats = mixpanel.stats()
        assert stats["events_distinct"] == ROWS, (seed, stats)
        numbers = {event["properties"]["n"] for event in _all_events(mixpanel)}
        assert numbers == set(range(ROWS)), seed
        if checkpoint:
            # At most what was under way at the kill is sent again: no batch that was known.
            assert killed.more == BATCHES - killed.known // 2000, killed
            assert killed.known >= (killed.requests - MOST_IN_FLIGHT) * 2000, killed
        return killed


def kill_updates_once(seed: int) -> Killed:
    """The same for updates that add to profiles, with a checkpoint."""
    with tempfile.TemporaryDirectory() as name, Emulator(latency_ms=60) as mixpanel:
        folder = pathlib.Path(name)
        more = f"--checkpoint={folder}/checkpoint"
        killed, out = _kill_and_repeat(seed, folder, mixpanel, [*UPDATES, more])
        doubtful: collections.Counter[str] = collections.Counter()
        for path in folder.glob("failed*.jsonl"):
            for line in path.read_text().splitlines():
                failure = json.loads(line)
                assert failure["reason"] == "ambiguous", (seed, failure)
                doubtful[failure["event"]["$distinct_id"]] += 1
        failed = doubtful.total()
        assert f"{ROWS:,} read = {ROWS - failed:,} accepted + {failed:,} failed" in out, (seed, out)
        wanted = collections.Counter(f"u{n % 997}" for n in range(ROWS))
        stored = {p["$distinct_id"]: p["properties"] for p in mixpanel.profiles(10_000)}
        for user, most in wanted.items():
            added = stored.get(user, {}).get("one", 0)
            assert most - doubtful[user] <= added <= most, (seed, user, added)
        return dataclasses.replace(killed, doubtful=failed)


def _kill_and_repeat(
    seed: int, folder: pathlib.Path, mixpanel: Emulator, more: list[str]
) -> tuple[Killed, str]:
    """Kills the command, runs it again, and gives what that said."""
    rng = random.Random(seed)
    make_input(folder)
    environment = {
        **os.environ,
        "KILL_SECRET": mixpanel.api_secret,
        "KILL_TOKEN": mixpanel.project_token,
    }
    given = command(folder, mixpanel.url, *(one.format(folder=folder) for one in more))
    process = subprocess.Popen(
        given,
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
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() != 2, (seed, "the command is wrong")
    requests = _settled(mixpanel)
    again = subprocess.run(
        given, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert again.returncode == 0, (seed, again.stderr)
    known = re.search(r"known to checkpoint +([\d,]+)$", again.stdout, re.M)
    return (
        Killed(
            seed,
            requests,
            mixpanel.stats()["requests"] - requests,
            int(known[1].replace(",", "")) if known else 0,
        ),
        again.stdout,
    )


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
        # In turn: events with a checkpoint and without, updates with one.
        if seed % 3 == 2:
            killed, doubtful = kill_updates_once(seed), ", {0.doubtful:,} updates are doubtful"
        else:
            killed, doubtful = kill_once(seed, checkpoint=seed % 3 == 0), ""
        print(
            f"seed {seed}: killed after {killed.requests} requests; the second run sent "
            f"{killed.more}, knew {killed.known:,}{doubtful.format(killed)}; nothing is lost, "
            "nothing doubled",
            flush=True,
        )
    print(f"{own.kills} kills: nothing lost, nothing doubled.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
