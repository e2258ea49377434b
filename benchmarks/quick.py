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


def take_turns(data_set: sets.DataSet, turns: int) -> tuple[list[runs.Run], list[runs.Run]]:
    """Runs of the sink and of the loop on one input."""
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
    return found["sink"], found["loop"]


def ratios_of(sink: list[runs.Run], loop: list[runs.Run]) -> dict[str, float]:
    """The sink's rates as shares of the loop's, by wall time and by CPU time."""
    return {
        "wall": runs.median(sink, "rate") / runs.median(loop, "rate"),
        "cpu": runs.median(sink, "per_cpu") / runs.median(loop, "per_cpu"),
    }


def peak_mb(found: list[runs.Run]) -> float:
    """The largest peak of the runs."""
    return max(run.cost.peak_memory for run in found) / 1e6


def compile_package() -> None:
    """Compiles the package as pip does, whatever PYTHONDONTWRITEBYTECODE says here."""
    compileall.compile_dir(paths.REPOSITORY / "mixpanel_sink", quiet=1)


def slower(now: Ratios, before: Ratios) -> list[str]:
    """What is clearly below its recorded ratio, one text each."""
    return [
        f"{name}: {kind} {ratio:.2f}, recorded {old:.2f}"
        for name, each in now.items()
        for kind, ratio in each.items()
        if (old := before.get(name, {}).get(kind)) is not None and ratio < SLOWER * old
    ]


def main() -> int:
    """The command; 1 if a ratio is clearly below the recorded one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the ratios down")
    parser.add_argument("--turns", type=int, default=TURNS)
    parser.add_argument("--recorded", type=Path, default=RECORDED)
    options = parser.parse_args()
    before: Ratios = json.loads(options.recorded.read_text()) if options.recorded.exists() else {}
    compile_package()
    now: Ratios = {}
    rows = []
    for data_set in sets.ALL:
        name = data_set.name
        sink, loop = take_turns(data_set, options.turns)
        now[name] = ratios_of(sink, loop)
        row = [name, f"{data_set.rows:,}"]
        for kind, ratio in now[name].items():
            old = before.get(name, {}).get(kind)
            row += [f"{ratio:.2f}", "" if old is None else f"{old:.2f}"]
        rows.append([*row, f"{peak_mb(sink):,.0f}", str(sink[0].stats.requests)])
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
