"""Simulated days of imports, with kill -9 at random moments, changed and late files, 413 and 429.

    python -m tests.jobs.days --seeds 500 --days 30

Every day new files come, some of them late, and some files change; the command runs, is killed or
not, and runs again until it ends. Afterwards every row must be stored once, and no more may have
been sent than the files need, what was in flight at a kill, and what the faults cost.
`test_days.py` does a little of it. Each run is a process of its own, forked from one that has
imported everything, so that a day costs a second or two.

    python -m tests.jobs.days --seeds 1 --first-seed 3 --transcript docs/decisions/incremental.md

puts what the days of the first seed cost into a page.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import pathlib
import random
import signal
import sys
import tempfile
import time

import pyarrow as pa
import pyarrow.parquet as pq

from mixpanel_sink.emulator.testing import Emulator

BATCH = 2000
MOST_AGAIN = 8
"""Requests that a kill may cost: six in flight, and the partial batches of two bundles."""
MAPPING = (
    "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\ninsert_id: n\n"
    "include_mapped: true\n"
)
BEGIN, END = "<!-- days: begin -->", "<!-- days: end -->"
"""Around the transcript in a page."""
MOMENTS = ("plan-", "accepted-", "files-", "requests", "soon")
FAULTS = (
    {"kind": "rate_limit", "retry_after": "0", "skip": 1},
    {"kind": "too_large", "skip": 1},
)


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["mixpanel_sink.jobs.import_files"])
_Process = multiprocessing.context.ForkServerProcess


def _import(arguments: list[str], secret: str, said: str) -> None:
    """The command, in a process that is about to be killed or not."""
    from mixpanel_sink.jobs import import_files

    out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.environ["DAYS_SECRET"] = secret
    code = import_files.main(arguments)
    sys.stdout.flush()
    os._exit(code)


@dataclasses.dataclass
class Day:
    """What one day cost.

    Attributes:
        new, changed: files.
        rows: of them.
        kills: of the command.
        requests: that were made.
        fewest: requests that would do.
    """

    number: int
    new: int = 0
    changed: int = 0
    rows: int = 0
    kills: int = 0
    requests: int = 0
    fewest: int = 0
    faults: int = 0


class World:
    """A folder that gets files, and a project that gets events."""

    def __init__(self, seed: int, folder: pathlib.Path, mixpanel: Emulator) -> None:
        self.rng = random.Random(seed)
        self.seed = seed
        self.folder = folder
        self.mixpanel = mixpanel
        self.files: dict[str, tuple[int, int]] = {}
        """First number and rows by path."""
        self.next = 0
        self.at = int(time.time() * 1000) - 86_400_000
        (folder / "mapping.yaml").write_text(MAPPING)

    def day(self, number: int) -> Day:
        """New, late and changed files, and the command until it has ended."""
        day = Day(number)
        old = sorted(self.files)
        for _ in range(self.rng.randint(1, 3)):
            late = self.rng.random() < 0.3
            self._write(f"{number - late * self.rng.randint(1, 3):03}/{len(self.files)}", day)
            day.new += 1
        if old and self.rng.random() < 0.3:
            path = self.rng.choice(old)
            self._write(path, day, grow=self.files[path])
            day.changed += 1
        if self.rng.random() < 0.3:
            fault = self.rng.choice(FAULTS)
            self.mixpanel.faults([fault])
            day.faults = 3
        before = self.mixpanel.stats()["requests"]
        while self.rng.random() < 0.6 and self._killed():
            day.kills += 1
        done = self._run()
        assert done[0] == 0, (self.seed, number, *done)
        day.requests = self.mixpanel.stats()["requests"] - before
        day.fewest = math.ceil(day.rows / BATCH)
        self.mixpanel.faults([])
        self._check(day)
        return day

    def _write(self, name: str, day: Day, grow: tuple[int, int] | None = None) -> None:
        path = self.folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        first, more = self.next, self.rng.randint(1, 3 * BATCH)
        numbers = [*range(first, first + more)]
        if grow is not None:  # with the rows that it had
            numbers = [*range(grow[0], sum(grow)), *numbers]
        self.next += more
        count = len(numbers)
        table = pa.table(
            {
                "name": ["Visit"] * count,
                "user": [f"u{n % 97}" for n in numbers],
                "at": [self.at] * count,
                "n": numbers,
            }
        )
        pq.write_table(table, path, row_group_size=BATCH)
        self.files[name] = (first, more) if grow is None else grow
        day.rows += count

    def _command(self) -> list[str]:
        return [
            f"--input={self.folder}/in",
            f"--mapping={self.folder}/mapping.yaml",
            f"--checkpoint={self.folder}/checkpoint",
            f"--failed-output={self.folder}/failed",
            f"--endpoint={self.mixpanel.url}",
            "--api-secret=env:DAYS_SECRET",
            "--quota=3/0.3s",  # else all are under way at once
            "--on-changed=import",
            "--progress=none",
            "--first-wait=0.01",
        ]

    def _start(self) -> _Process:
        given = (self._command(), self.mixpanel.api_secret, f"{self.folder}/said")
        process = _FORKS.Process(target=_import, args=given)
        process.start()
        return process

    def _run(self) -> tuple[int | None, str]:
        """The exit code, and what was said."""
        process = self._start()
        process.join(600)
        return process.exitcode, (self.folder / "said").read_text()

    def _killed(self) -> bool:
        """Starts the command and kills it at a moment; whether it had not ended before."""
        moment = self.rng.choice(MOMENTS)
        target = self.mixpanel.stats()["requests"] + self.rng.randint(1, 4)
        spread = self.rng.uniform(0, 0.05)
        seen = set(self._names())
        process = self._start()
        while process.is_alive():
            new = [name for name in self._names() if name not in seen]
            if moment == "requests" and self.mixpanel.stats()["requests"] >= target:
                break
            if any(name.startswith(moment) for name in new) or (moment == "soon" and new):
                break
            time.sleep(0.005)
        time.sleep(spread)
        process.kill()
        process.join()
        said = (self.folder / "said").read_text()
        assert process.exitcode in (0, -signal.SIGKILL), (self.seed, process.exitcode, said)
        self._settle()
        return process.exitcode != 0

    def _names(self) -> list[str]:
        try:
            return os.listdir(self.folder / "checkpoint")
        except FileNotFoundError:
            return []

    def _settle(self) -> None:
        """Waits until requests that were under way at the kill have been taken."""
        before = -1
        while (requests := self.mixpanel.stats()["requests"]) != before:
            before = requests
            time.sleep(0.15)

    def _check(self, day: Day) -> None:
        stats = self.mixpanel.stats()
        assert stats["events_distinct"] == self.next, (self.seed, day, stats)
        most = day.fewest + 1 + MOST_AGAIN * day.kills + day.faults
        assert day.requests <= most, (self.seed, day, most)
        left = [name for name in self._names() if name.startswith(("plan-", "accepted-", "lease"))]
        assert left == [], (self.seed, day, left)


def simulate(seed: int, days: int) -> list[Day]:
    """Days in a world of their own.

    Raises:
        AssertionError: what is wrong, with the seed.
    """
    with tempfile.TemporaryDirectory() as name, Emulator(quota="none", latency_ms=30) as mixpanel:
        world = World(seed, pathlib.Path(name), mixpanel)
        done = [world.day(number) for number in range(days)]
        found: list[int] = []
        while page := mixpanel.events(10_000, len(found)):
            found += [event["properties"]["n"] for event in page]
        assert sorted(set(found)) == list(range(world.next)), seed
        manifest = json.loads((world.folder / "checkpoint/manifest.json").read_text())
        assert sum(each["rows"] for each in manifest["segments"]) >= len(world.files)
        return done


def table(days: list[Day]) -> str:
    """What each day cost."""
    lines = ["day  new  changed    rows  kills  faults  requests  fewest"]
    lines += [
        f"{day.number:3}  {day.new:3}  {day.changed:7}  {day.rows:6,}  {day.kills:5}  "
        f"{bool(day.faults):6}  {day.requests:8}  {day.fewest:6}"
        for day in days
    ]
    return "\n".join(lines)


def put(page: pathlib.Path, transcript: str) -> None:
    """Puts a transcript where the page has one."""
    before, _, rest = page.read_text().partition(f"{BEGIN}\n")
    _, _, after = rest.partition(f"{END}\n")
    assert after, f"{page} has no place for a transcript"
    page.write_text(f"{before}{BEGIN}\n```\n{transcript}\n```\n{END}\n{after}")


def main() -> int:
    """Many seeds; a table of the first, a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--transcript", type=pathlib.Path, metavar="PAGE")
    own = parser.parse_args()
    for seed in range(own.first_seed, own.first_seed + own.seeds):
        days = simulate(seed, own.days)
        total, fewest = sum(d.requests for d in days), sum(d.fewest for d in days)
        kills = sum(d.kills for d in days)
        said = (
            f"seed {seed}: {own.days} days, {kills} kills, {total} requests where {fewest} are the "
            "fewest; nothing lost, nothing stored twice"
        )
        if seed == own.first_seed:
            print(table(days))
            if own.transcript is not None:
                put(own.transcript, f"{table(days)}\n{said}")
        print(said, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
