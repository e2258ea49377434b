"""Time and memory of the sink as the input grows.

python -m benchmarks.scaling --events 500000,1000000,2000000,4000000,8000000 --repeats 3
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks import data, paths, plot, registry, report, runs
from benchmarks.runs import Run
from benchmarks.serving import Server

HEAD = ("events", "seconds", "events/s", "CPU-s", "events per CPU-s", "peak MB", "requests")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--events", default="500000,1000000,2000000,4000000,8000000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contestant", choices=registry.BY_NAME, default="sink")
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    parser.add_argument("--plot", type=Path, default=paths.RESULTS.with_name("scaling.svg"))
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.events.split(","))

    found: dict[int, list[Run]] = {size: [] for size in sizes}
    for turn in range(options.repeats):
        for size in sizes:
            with Server() as server:
                contestant = registry.BY_NAME[options.contestant]
                command = contestant.command(data.parquet_file(size), server.url)
                run = runs.run(command, size, server)
            if run.failure:
                print(f"{size:,} events: {run.failure}", file=sys.stderr)
                return 1
            print(f"{size:,} {turn + 1}/{options.repeats}: {run.cost}", file=sys.stderr)
            found[size].append(run)

    rows, seconds, memory = [], [], []
    for size in sizes:
        wall = statistics.median(run.cost.wall for run in found[size])
        cpu = statistics.median(run.cost.cpu for run in found[size])
        peak = max(run.cost.peak_memory for run in found[size]) / 1e6
        requests = max(run.stats.requests for run in found[size])
        numbers = (size / wall, cpu, size / cpu, peak, requests)
        formats = ("{:,.0f}", "{:.1f}", "{:,.0f}", "{:,.0f}", "{:,}")
        texts = [form.format(number) for form, number in zip(formats, numbers, strict=True)]
        rows.append([f"{size:,}", f"{wall:.1f}", *texts])
        seconds.append((size / 1e6, wall))
        memory.append((size / 1e6, peak))
    options.plot.write_text(
        plot.picture(
            [
                plot.chart("Seconds", "million events", seconds, "{:.1f}"),
                plot.chart("Peak memory, MB", "million events", memory, "{:.0f}", plot.WIDTH),
            ]
        )
    )
    text = "\n\n".join(
        [
            f"## Scaling: {contestant.title}",
            report.context(),
            report.table(HEAD, rows),
            f"![Seconds and peak memory over millions of events]({options.plot.name})",
        ]
    )
    report.put(options.out, "scaling", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
