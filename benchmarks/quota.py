"""How well the sink keeps to a quota, and how much of it it uses, seen by the server.

python -m benchmarks.quota --quotas 100/10,60/6 --windows 3

600 a minute and 60 an hour are scaled down. The server refuses (429) what is above.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from benchmarks import data, paths, registry, report, runs
from benchmarks.serving import Server, Stats

BATCH_EVENTS = 2000
HEAD = (
    "quota",
    "worker processes",
    "lanes",
    "requests",
    "most in any window",
    "used",
    "late a slot, ms",
    "429s",
)
_CONTESTANTS = {1: "sink", 2: "sink_two_processes"}


def most_in_window(arrivals: Sequence[float], window: float) -> int:
    """The largest number of arrivals within any half-open window of that many seconds."""
    ends = (bisect_left(arrivals, start + window) for start in arrivals)
    return max((end - index for index, end in enumerate(ends)), default=0)


def reuse_seconds(arrivals: Sequence[float], amount: int) -> float | None:
    """How long after a request, in the mean, comes the one that takes its slot again.

    At best as long as the window. None if no slot was used twice.
    """
    gaps = [again - first for first, again in zip(arrivals, arrivals[amount:], strict=False)]
    return statistics.fmean(gaps) if gaps else None


def row(stats: Stats, amount: int, window: float, processes: int, lanes: int) -> list[str]:
    """What the server saw, as a row of the table."""
    arrivals = sorted(stats.arrivals)
    reuse = reuse_seconds(arrivals, amount)
    return [
        f"{amount} in {window:g} s",
        str(processes),
        str(lanes),
        f"{stats.requests:,}",
        str(most_in_window(arrivals, window)),
        "" if reuse is None else f"{window / reuse:.1%}",
        "" if reuse is None else f"{(reuse - window) * 1000:.0f}",
        str(stats.status_429),
    ]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quota", description=__doc__)
    parser.add_argument("--quotas", default="100/10,60/6", help="requests/seconds, ...")
    parser.add_argument("--windows", type=int, default=3, help="times the quota to send")
    parser.add_argument("--processes", default="1,2", help="of 1 and 2")
    parser.add_argument("--lanes", default="1,4")
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    options = parser.parse_args()
    processes = [int(number) for number in options.processes.split(",")]
    lanes = [int(number) for number in options.lanes.split(",")]

    rows, failures = [], []
    for quota, workers, keys in itertools.product(options.quotas.split(","), processes, lanes):
        amount, window = (float(part) for part in quota.split("/"))
        events = int(amount) * BATCH_EVENTS * options.windows
        with Server(f"--quota={quota}") as server:
            contestant = registry.BY_NAME[_CONTESTANTS[workers]]
            command = contestant.command(data.parquet_file(events), server.url)
            more = [f"--quota={int(amount)}/{window:g}s", f"--lanes={keys}"]
            run = runs.run([*command, *more], events, server)
        rows.append(row(run.stats, int(amount), window, workers, keys))
        print(" | ".join(rows[-1]), run.failure, file=sys.stderr)
        if run.failure:
            failures.append(f"- {quota}, {workers} processes, {keys} lanes: {run.failure}.")
    text = "\n\n".join(
        [
            "## Quota, as the server sees it",
            report.context(),
            report.table(HEAD, rows),
            *(["\n".join(failures)] if failures else []),
            "Used: in steady state, the window over the mean time after which a request's slot "
            "is used again. Late: that time less the window; it is the same for longer windows, "
            "so that the share used of 60 an hour is nearer to 100 %.",
        ]
    )
    report.put(options.out, "quota", text)
    print(text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
