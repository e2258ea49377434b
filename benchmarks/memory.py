"""Peak memory for dicts of several sizes, up to the largest that Mixpanel takes.

python -m benchmarks.memory --megabytes 600
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import paths, report, runs
from benchmarks.serving import Server

SIZES = (300, 3_000, 30_000, 300_000, 900_000, 1_900_000)
"""Bytes a record."""
GOAL = 700_000_000
"""Bytes, for any size of records."""


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=600, help="in all, for each size")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    options = parser.parse_args()

    rows = []
    with Server() as server:
        for size in options.sizes:
            count = max(100, options.megabytes * 1_000_000 // size)
            module = "benchmarks.contestants.sink_large_records"
            command = [sys.executable, "-m", module, "--count", str(count), "--size", str(size)]
            run = runs.run([*command, "--endpoint", server.url], count, server)
            if run.failure:
                print(f"{size} bytes: {run.failure}", file=sys.stderr)
                return 1
            peak = run.cost.peak_memory
            row = [f"{size:,}", f"{count:,}", f"{peak / 1e6:.0f}", f"{run.cost.wall:.1f}"]
            print(*row, flush=True)
            rows.append(row)
    names = ("bytes a record", "records", "peak memory in MB", "seconds")
    text = "\n\n".join(
        [
            f"## Memory: {options.megabytes} MB of dicts of several sizes",
            report.context(),
            report.table(names, rows),
            f"The goal is {GOAL / 1e6:.0f} MB, whatever the size.",
        ]
    )
    report.put(options.out, "memory", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
