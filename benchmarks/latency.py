"""What a slow server costs the sink's throughput; no quota.

python -m benchmarks.latency --events 4000000 --latency-ms 200 --repeats 3
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from benchmarks import data, paths, registry, report, runs
from benchmarks.serving import Server


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--latency-ms", type=float, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    options = parser.parse_args()

    parquet = data.parquet_file(options.events)
    rates: dict[float, list[float]] = {0.0: [], options.latency_ms: []}
    for _ in range(options.repeats):
        for latency, found in rates.items():
            with Server(f"--latency-ms={latency}") as server:
                command = registry.BY_NAME["sink"].command(parquet, server.url)
                run = runs.run(command, options.events, server)
            if run.failure:
                print(f"{latency:g} ms: {run.failure}", file=sys.stderr)
                return 1
            print(f"{latency:g} ms: {run.rate:,.0f} events/s", file=sys.stderr)
            found.append(run.rate)

    medians = {latency: statistics.median(found) for latency, found in rates.items()}
    rows = [
        [f"{latency:g} ms", f"{rate:,.0f}", f"{rate / medians[0.0]:.2f}"]
        for latency, rate in medians.items()
    ]
    text = "\n\n".join(
        [
            f"## A slow server: {options.events:,} events, median of {options.repeats}",
            report.context(),
            report.table(("the server's latency", "events/s", "ratio"), rows),
        ]
    )
    report.put(options.out, "latency", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
