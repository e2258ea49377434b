"""Simulated days of imports in one process, without a runner, killed between any two steps.

    python -m tests.jobs.killed_days --seeds 500 --days 30

The files, the checkpoint and what decides about them are the real ones; the runner and Mixpanel are
a loop and a set. A kill comes before, in the middle of or after any write, and nothing that the
process does after it has an effect. Sometimes the project takes no more, and a run gives up. So
30 days cost a second or two, where `days.py`, which kills real processes, needs some minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import io
import math
import os
import pathlib
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint import folder, journal, lease
from mixpanel_sink.checkpoint.commit import commit
from mixpanel_sink.checkpoint.counts import MARK_BYTES, FileCount, FileCounts
from mixpanel_sink.checkpoint.events import EventLog
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.manifest import Manifest, read_plan
from mixpanel_sink.checkpoint.owner import Owner, mapping_mark
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.jobs.incremental import today
from mixpanel_sink.process import forget
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.files import fingerprint_of
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.options import Settings

BATCH = 20
MAPPING = EventMapping(event="name", distinct_id="user", time="at", insert_id="n")
OWNER = Owner("", mapping_mark(MAPPING), "import", "projects")
_FEW, _MANY = 8, 30
"""Writes after which a kill comes, at most: of a short run, and of a long one."""


class Killed(BaseException):
    """kill -9."""


class Process:
    """Counts what a process writes, and ends it at one of the writes."""

    def __init__(self) -> None:
        self.left = math.inf
        self.how = "before"
        self.is_dead = False
        self.born = 0

    def start(self, left: float = math.inf, how: str = "before") -> None:
        """The next process, with the moment of its kill."""
        self.left, self.how, self.is_dead = left, how, False
        self.born += 1

    def step(self, act: Callable[[], Any], half: Callable[[], Any]) -> Any:
        """One write, or the end of the process before it, in its middle, or after it."""
        if self.is_dead:
            raise Killed
        self.left -= 1
        if self.left >= 0:
            return act()
        self.is_dead = True
        if self.how == "half":
            half()
        elif self.how == "after":
            act()
        raise Killed

    @contextlib.contextmanager
    def instead(self) -> Iterator[None]:
        """Everything that writes to a checkpoint goes through `step`."""

        def whole(owner: Any, name: str) -> Any:
            real = getattr(owner, name)

            def wrapped(*given: Any) -> Any:
                return self.step(lambda: real(*given), lambda: None)

            return mock.patch.object(owner, name, wrapped)

        append = folder.append_whole

        def appended(place: str, data: bytes) -> None:
            half = data[: len(data) // 2]
            self.step(lambda: append(place, data), lambda: append(place, half))

        with contextlib.ExitStack() as patches:
            for name in ("write", "remove"):
                patches.enter_context(whole(folder._Local, name))
            patches.enter_context(whole(journal._LocalFolder, "claim"))
            for module in (folder, journal):
                patches.enter_context(mock.patch.object(module, "append_whole", appended))
            patches.enter_context(mock.patch.object(os, "fsync"))
            # Each run is a process of its own, whose lease nobody renews after its end.
            started = lambda pid: str(self.born)  # noqa: E731
            patches.enter_context(mock.patch.object(lease, "_started", started))
            patches.enter_context(mock.patch.object(lease, "keep_alive"))
            patches.enter_context(mock.patch.object(lease.Heartbeat, "_beat"))
            yield


@dataclasses.dataclass
class Day:
    """What one day cost: kills, requests that were made, and that would do."""

    number: int
    kills: int = 0
    requests: int = 0
    fewest: int = 0


class World:
    """A folder that gets files, a checkpoint, and a project that gets events."""

    def __init__(self, seed: int, place: pathlib.Path, process: Process) -> None:
        self.rng = random.Random(seed)
        self.seed, self.place, self.process = seed, place, process
        self.files: dict[str, list[int]] = {}
        self.made = 0
        self.stored: set[int] = set()
        self.requests = self.clock = 0
        self.up = math.inf
        """Requests that are taken before the project is out of order, and a run gives up."""
        (place / "in").mkdir()

    def day(self, number: int) -> Day:
        """What happens to the files, and the import until it has come to its end."""
        day = Day(number)
        before = self.requests
        self._happens(day)
        while self.rng.random() < 0.7:
            left = self.rng.randrange(self.rng.choice((_FEW, _MANY)))
            self.process.start(left, self.rng.choice(("before", "half", "after")))
            self.up = self.rng.choice((math.inf, self.rng.randrange(6)))
            try:
                self._run()
            except Killed:
                day.kills += 1
        self.process.start()
        self.up = math.inf
        self._run()
        day.requests = self.requests - before
        self._check(day)
        return day

    def _happens(self, day: Day) -> None:
        """New files, some of them late, changed ones, renamed ones and ones that go."""
        for _ in range(self.rng.randrange(4) or not self.files):
            late = self.rng.random() < 0.3
            folder = day.number - late * self.rng.randint(1, 3)
            self._write(f"{folder:03}-{self.made:06}.csv", [], day)
        if self.files and self.rng.random() < 0.3:
            name = self.rng.choice(sorted(self.files))
            self._write(name, self.files[name], day)
        if self.files and self.rng.random() < 0.2:
            old = self.rng.choice(sorted(self.files))
            new = f"moved-{day.number:03}-{old}"
            os.rename(self.place / "in" / old, self.place / "in" / new)
            self.files[new] = self.files.pop(old)
        if len(self.files) > 5 and self.rng.random() < 0.1:
            gone = self.rng.choice([name for name in sorted(self.files) if self._is_in(name)])
            os.remove(self.place / "in" / gone)
            del self.files[gone]

    def _is_in(self, name: str) -> bool:
        return self.stored.issuperset(self.files[name])

    def _write(self, name: str, rows: list[int], day: Day) -> None:
        more = self.rng.randint(1, 3 * BATCH)
        rows = [*rows, *range(self.made, self.made + more)]
        self.made += more
        self.files[name] = rows
        day.fewest += math.ceil(len(rows) / BATCH)
        path = self.place / "in" / name
        path.write_text("n\n" + "".join(f"{n}\n" for n in rows))
        self.clock += 1
        os.utime(path, (self.clock, self.clock))

    def _run(self) -> None:
        """The command, as its launcher and its workers do it."""
        forget()
        settings = Settings(
            input=[f"{self.place}/in"],
            checkpoint=f"{self.place}/cp",
            failed_output=f"{self.place}/failed",
            on_changed="import",
        )
        source = FileSource(settings.input)
        with contextlib.redirect_stdout(io.StringIO()):
            found = today(settings, source, MAPPING, remote=False)
        try:
            if not found.is_empty:
                plan = read_plan(open_folder(found.run.path), found.run.run)
                paths = [row["path"] for row in plan.to_pylist() if row["like"] is None]
                left = self._send(found.checkpoint, paths)
                counts = {path: self._count(path, path in left) for path in paths}
                commit(found.run, FileCounts.merged([FileCounts.of(counts)]))
        finally:
            found.release()

    def _count(self, path: str, is_left: bool) -> FileCount:
        rows = len(self.files[_name(path)])
        mark = fingerprint_of(path)[:MARK_BYTES]
        return FileCount(read=rows, listed=1, open=int(is_left), mark=mark)

    def _send(self, checkpoint: Checkpoint, paths: list[str]) -> set[str]:
        """Sends what the log does not know; gives the files of which something was given up."""
        log = EventLog(checkpoint, OWNER)
        with contextlib.suppress(CheckpointError):
            lease.acquire(open_folder(checkpoint.path), "another")
            raise AssertionError((self.seed, "two runs have the lease"))
        left = set()
        for path in paths:
            rows = self.files[_name(path)]
            for start in range(0, len(rows), BATCH):
                numbers = rows[start : start + BATCH]
                runs = [Run(len(numbers), 0, ("",), path, start)]
                chunk = EventChunk.of([b'{"n":%d}' % n for n in numbers], runs)
                if log.lookup(chunk).rest is None:
                    continue
                if self.up <= 0:
                    left.add(path)
                    continue
                begun = log.begin(chunk)
                take = functools.partial(self._take, numbers)
                self.process.step(take, take)
                log.end(begun, chunk, [])
        log.flush()
        return left

    def _take(self, numbers: list[int]) -> None:
        self.up -= 1
        self.requests += 1
        self.stored.update(numbers)

    def _check(self, day: Day) -> None:
        where = (self.seed, day)
        assert self.stored == set(range(self.made)), where
        assert day.requests <= day.fewest + day.kills, where
        names = os.listdir(self.place / "cp") if (self.place / "cp").exists() else []
        left = [name for name in names if name.startswith(("plan-", "accepted-", "lease"))]
        assert left == [], (where, left)
        if names:
            known = Manifest.load(open_folder(f"{self.place}/cp"))
            assert known.open is None, where
            rows = known.files(open_folder(f"{self.place}/cp"), ["path", "size", "read"])
            reads = {
                _name(row["path"]): row["read"] for row in rows.to_pylist() if row["size"] >= 0
            }
            assert {name: reads.get(name) for name in self.files} == {
                name: len(numbers) for name, numbers in self.files.items()
            }, where


def _name(path: str) -> str:
    return os.path.basename(path)


def simulate(seed: int, days: int) -> list[Day]:
    """Days in a world of their own.

    Raises:
        AssertionError: what is wrong, with the seed.
    """
    process = Process()
    with tempfile.TemporaryDirectory() as name, process.instead():
        world = World(seed, pathlib.Path(name), process)
        return [world.day(number) for number in range(days)]


def main() -> int:
    """Many seeds, a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--days", type=int, default=30)
    own = parser.parse_args()
    for seed in range(own.first_seed, own.first_seed + own.seeds):
        days = simulate(seed, own.days)
        kills = sum(day.kills for day in days)
        requests, fewest = sum(day.requests for day in days), sum(day.fewest for day in days)
        print(
            f"seed {seed}: {own.days} days, {kills} kills, {requests} requests where {fewest} are "
            "the fewest; nothing lost, nothing stored twice",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
