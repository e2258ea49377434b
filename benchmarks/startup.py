"""What it costs to start: a small import beside the naive pipeline, and the commands without Beam.

    python -m benchmarks.startup --repeats 3

Contestants and commands take turns; the figures are medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import data, measure, registry, report, runs
from benchmarks.install import NotInstalled
from benchmarks.mappings import mapping_file
from benchmarks.quick import compile_package, peak_mb
from benchmarks.serving import Server

EVENTS = 2000
CHECKED = 10_000
CONTESTANTS = ("sink", "sink_two_processes", "sink_prism", "naive", "plain_loop")
HEAD = ("2,000 events", "seconds", "CPU-s", "peak MB")
COMMANDS_HEAD = ("command", "seconds", "CPU-s", "peak MB")


def imports(repeats: int) -> dict[str, list[runs.Run]]:
    """Runs of an import of 2,000 events, by contestant."""
    parquet = data.parquet_file(EVENTS)
    found: dict[str, list[runs.Run]] = {}
    for _ in range(repeats):
        for name in CONTESTANTS:
            with Server() as server:
                try:
                    command = registry.BY_NAME[name].command(parquet, server.url)
                except NotInstalled:
                    continue
                run = runs.run(command, EVENTS, server)
            if run.failure:
                raise SystemExit(f"{name}: {run.failure}")
            found.setdefault(name, []).append(run)
    return found


def commands(repeats: int) -> dict[str, list[measure.Cost]]:
    """What --help, init and check of 10,000 rows cost."""
    parquet = str(data.parquet_file(CHECKED))
    check = ["check", parquet, "--mapping", str(mapping_file()), "--quota", "none"]
    words = {"--help": ["--help"], "init": ["init", parquet, "-o"], "check": check}
    costs: dict[str, list[measure.Cost]] = {name: [] for name in words}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        log = Path(folder) / "run.log"
        for turn in range(repeats):
            words["init"][3:] = [f"{folder}/{turn}.yaml"]
            for name, arguments in words.items():
                cost = measure.run([sys.executable, "-m", "mixpanel_sink.cli", *arguments], log)
                if cost.exit_code:
                    raise SystemExit(f"mixpanel-sink {name}: {log.read_text()}")
                costs[name].append(cost)
    return costs


def imports_table(found: Mapping[str, Sequence[runs.Run]]) -> str:
    """The imports in Markdown."""
    rows = [
        [
            registry.BY_NAME[name].title,
            f"{runs.median(of, 'wall'):.2f}",
            f"{runs.median(of, 'cpu'):.2f}",
            f"{peak_mb(list(of)):,.0f}",
        ]
        for name, of in found.items()
    ]
    return report.table(HEAD, rows)


def commands_table(costs: Mapping[str, Sequence[measure.Cost]]) -> str:
    """The commands in Markdown."""
    rows = [
        [
            f"`mixpanel-sink {name}`",
            f"{statistics.median(cost.wall for cost in of):.2f}",
            f"{statistics.median(cost.cpu for cost in of):.2f}",
            f"{max(cost.peak_memory for cost in of) / 1e6:,.0f}",
        ]
        for name, of in costs.items()
    ]
    return report.table(COMMANDS_HEAD, rows)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    compile_package()
    print(imports_table(imports(options.repeats)))
    print()
    print(commands_table(commands(options.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
