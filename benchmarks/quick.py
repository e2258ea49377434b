"""Whether the sink has become slower: under three minutes, as ratios to a loop without Beam.

    python -m benchmarks.quick            compares with the recorded ratios
    python -m benchmarks.quick --record   and records these

The sink and the loop take turns on each input of `benchmarks.sets`. A ratio is the sink's events a
second, or events a CPU-second, divided by the loop's; machines and their noise cancel out in it,
as far as they do.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import sys
from pathlib import Path

from benchmarks import paths, report, runs, sets
from benchmarks.registry import module
from benchmarks.serving import Server

RECORDED = paths.REPOSITORY / "benchmarks" / "quick.json"
TURNS = 2
SLOWER = 0.85
"""What counts as slower: below this share of the recorded ratio."""
Ratios = dict[str, dict[str, float]]
"""By input and kind: "wall" or "cpu"."""
HEAD = ("input", "events", "x loop", "recorded", "x loop, CPU", "recorded", "peak MB", "requests")


def ratios(data_set: sets.DataSet, turns: int) -> tuple[dict[str, float], list[str]]:
    """The ratios of one input, and the cells of its row."""
    path = data_set.file()
    mapping = paths.CACHE / "sets.yaml"
    mapping.write_text(sets.MAPPING)
    commands = {
        "sink": [*module("sink")(path), "--mapping", str(mapping)],
        "loop": module("set_loop")(path),
    }
    found: dict[str, list[runs.Run]] = {name: [] for name in commands}
    for _ in range(turns):
        for name, command in commands.items():
            with Server() as server:
                run = runs.run([*command, "--endpoint", server.url], data_set.rows, server)
            if run.failure:
                raise SystemExit(f"{data_set.name}, {name}: {run.failure}")
            found[name].append(run)
    sink, loop = found["sink"], found["loop"]
    made = {
        "wall": _median(sink, "rate") / _median(loop, "rate"),
        "cpu": _median(sink, "per_cpu") / _median(loop, "per_cpu"),
    }
    peak = max(run.cost.peak_memory for run in sink) / 1e6
    cells = [f"{data_set.rows:,}", f"{peak:,.0f}", str(sink[0].stats.requests)]
    return made, cells


def slower(now: Ratios, before: Ratios) -> list[str]:
    """What is clearly below its recorded ratio, one text each."""
    return [
        f"{name}: {kind} {ratio:.2f}, recorded {old:.2f}"
        for name, each in now.items()
        for kind, ratio in each.items()
        if (old := before.get(name, {}).get(kind)) is not None and ratio < SLOWER * old
    ]


def _median(found: list[runs.Run], name: str) -> float:
    return statistics.median(getattr(run, name) for run in found)


def main() -> int:
    """The command; 1 if a ratio is clearly below the recorded one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the ratios down")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    options = parser.parse_args()
    before: Ratios = json.loads(options.recorded.read_text()) if options.recorded.exists() else {}
    # As pip does with what it installs, whatever PYTHONDONTWRITEBYTECODE says here.
    compileall.compile_dir(paths.REPOSITORY / "mixpanel_sink", quiet=1)
    now: Ratios = {}
    rows = []
    for data_set in sets.ALL:
        name = data_set.name
        now[name], (events, peak, requests) = ratios(data_set, options.turns)
        row = [name, events]
        for kind, ratio in now[name].items():
            old = before.get(name, {}).get(kind)
            row += [f"{ratio:.2f}", "" if old is None else f"{old:.2f}"]
        rows.append([*row, peak, requests])
    print(report.table(HEAD, rows))
    if options.record:
        rounded = {name: {k: round(v, 3) for k, v in each.items()} for name, each in now.items()}
        options.recorded.write_text(json.dumps(rounded, indent=2) + "\n")
    elif worse := slower(now, before):
        print("Slower than recorded: " + "; ".join(worse))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
