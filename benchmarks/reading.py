"""How much of a dict pipeline's time is Beam's: reading alone, the sink, the naive pipeline.

python -m benchmarks.reading --events 1000000 --repeats 3
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks import data, paths, registry, report, runs
from benchmarks.serving import Server

READING = registry.Contestant(
    "read_dicts", "ReadFromParquet, nothing sent", registry.module("read_dicts")
)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reading", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    options = parser.parse_args()

    parquet = data.parquet_file(options.events)
    names = ("sink_dicts", "sink_map_records", "naive")
    running = (READING, *(registry.BY_NAME[name] for name in names))
    seconds: dict[str, list[float]] = {contestant.title: [] for contestant in running}
    with Server() as server:
        for _ in range(options.repeats):
            for contestant in running:
                sent = 0 if contestant is READING else options.events
                run = runs.run(contestant.command(parquet, server.url), sent, server)
                if run.failure:
                    print(f"{contestant.name}: {run.failure}", file=sys.stderr)
                    return 1
                seconds[contestant.title].append(run.cost.wall)

    medians = {title: statistics.median(found) for title, found in seconds.items()}
    naive = medians[registry.BY_NAME["naive"].title]
    rows = [[title, f"{wall:.1f}", f"{naive / wall:.2f}"] for title, wall in medians.items()]
    text = "\n\n".join(
        [
            f"## Dicts, and reading alone: {options.events:,} events, median of {options.repeats}",
            report.context(),
            report.table(("pipeline", "seconds", "x naive"), rows),
            "The first row is the most that any sink behind Beam's own source can reach.",
        ]
    )
    report.put(options.out, "reading", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
