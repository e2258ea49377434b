"""What a checkpoint of many files costs at launch: its manifest is read, and a listing compared.

python -m benchmarks.manifest --files 1000000 --runs 100
"""

from __future__ import annotations

import argparse
import concurrent.futures
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks import paths, report
from mixpanel_sink.checkpoint import commit, lease, manifest
from mixpanel_sink.checkpoint.commit import OpenRun
from mixpanel_sink.checkpoint.counts import FileCount, FileCounts
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.manifest import Manifest, RunNote
from mixpanel_sink.checkpoint.plan import Plan, compare
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.read.listing import File, Listing

GOAL_SECONDS = 10
GOAL_BYTES = 500_000_000
_NEW = 3


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.manifest", description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = open_folder(name)
        # In a process of its own: its memory is not the launcher's.
        with concurrent.futures.ProcessPoolExecutor(1) as pool:
            filling, longest = pool.submit(fill, name, options.files, options.runs).result()
        stored = sum(path.stat().st_size for path in Path(name).iterdir())
        count = len(list(Path(name).iterdir()))
        listing = Listing.of(listed(0, options.files + _NEW)).in_order()
        before = peak()
        started, used = time.monotonic(), time.process_time()
        plan = launch(folder, listing)
        seconds, used = time.monotonic() - started, time.process_time() - used
        assert (len(plan.new), plan.known) == (_NEW, options.files), plan
    rows = [
        ["files", f"{options.files:,}"],
        ["runs before", f"{options.runs:,}"],
        ["launch beyond the listing, seconds", f"{seconds:.1f}"],
        ["the same, CPU seconds", f"{used:.1f}"],
        ["peak memory before the launch, with the listing, MB", f"{before / 1e6:.0f}"],
        ["peak memory after it, MB", f"{peak() / 1e6:.0f}"],
        ["files in the checkpoint", f"{count}"],
        ["bytes in the checkpoint, MB", f"{stored / 1e6:.1f}"],
        ["all runs' commits, CPU seconds", f"{filling:.1f}"],
        ["the longest commit, CPU seconds", f"{longest:.1f}"],
    ]
    text = "\n\n".join(
        [
            "## A checkpoint of many files",
            report.context(),
            report.table(("", "figure"), rows),
            f"The goals are {GOAL_SECONDS} s and {GOAL_BYTES / 1e6:.0f} MB.",
        ]
    )
    report.put(options.out, "manifest", text)
    print(text)
    return 0


def listed(first: int, count: int) -> Iterator[File]:
    """Files as a listing has them, in folders of days."""
    for number in range(first, first + count):
        day = number // 1000
        yield File(
            f"gs://bucket/events/day={day:05}/part-{number:07}-c000.snappy.parquet",
            100_000 + number % 977,
            1.7e9 + number,
        )


def fill(path: str, files: int, runs: int) -> tuple[float, float]:
    """Commits so many runs; gives CPU seconds: all, and those of the longest commit."""
    folder = open_folder(path)
    longest = total = 0.0
    for number in range(runs):
        first, end = files * number // runs, files * (number + 1) // runs
        token = f"run{number}"
        lease.acquire(folder, token)
        mine = list(listed(first, end - first))
        manifest.write_plan(folder, token, mine)
        run = OpenRun(folder.path, RunNote(token), keeps_failed=True, planned=True)
        commit.begin(folder, Manifest.load(folder), run, {"event": "name"})
        marks = (np.arange(first, end).astype("<u8").tobytes(),)
        counts = {
            path: FileCount(read=2000, listed=1, mark=marks[0][8 * n : 8 * n + 8])
            for n, (path, _, _) in enumerate(mine)
        }
        started = time.process_time()
        commit.commit(run, FileCounts.merged([FileCounts.of(counts)]))
        used = time.process_time() - started
        longest, total = max(longest, used), total + used
        lease.release(folder, token)
    return total, longest


def launch(folder: Folder, listing: Sequence[File]) -> Plan:
    """What an import does before it builds its graph."""
    known = Manifest.load(folder)
    files = known.files(folder, ["size", "changed"])
    return compare(listing, files, lambda: known.files(folder), lambda path: b"")


def peak() -> int:
    """Of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    sys.exit(main())
