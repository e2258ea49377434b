"""Runs the contestants in turns and writes the table.

python -m benchmarks --events 500000,4000000 --repeats 3 --out benchmarks/RESULTS.md
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import data, formats, goals, paths, quick, registry, report, runs, sets, startup
from benchmarks.install import NotInstalled
from benchmarks.registry import Contestant
from benchmarks.runs import Run
from benchmarks.serving import Server

LONG_SECONDS = 20
"""Who takes longer than this runs twice at most: small noise matters less there ..."""
VERY_LONG_SECONDS = 60
"""... and who takes longer than this runs once."""
FORMATS_EVENTS = 300_000
HEAD = (
    "contestant",
    "runs",
    "events/s",
    "x naive",
    "x best loop",
    "seconds",
    "CPU-s",
    "events per CPU-s",
    "peak MB",
    "requests",
    "server CPU-s",
    "noise",
)
INPUTS_HEAD = (
    "input",
    "events",
    "events/s",
    "the loop's",
    "ratio",
    "events per CPU-s",
    "the loop's",
    "ratio",
    "peak MB",
    "the loop's",
)


def compete(
    contestants: Sequence[Contestant], events: int, repeats: int, timeout: float
) -> tuple[dict[str, list[Run]], dict[str, str]]:
    """Runs all of them, one after another, `repeats` times over (long ones twice).

    Returns:
        The runs that count, and why the others have none, by name.
    """
    parquet = data.parquet_file(events)
    results: dict[str, list[Run]] = {}
    reasons: dict[str, str] = {}
    for turn in range(repeats):
        for contestant in contestants:
            if contestant.name in reasons:
                continue
            before = results.get(contestant.name, [])
            quickest = min((run.cost.wall for run in before), default=0.0)
            if quickest > (LONG_SECONDS if turn >= 2 else VERY_LONG_SECONDS):
                continue
            # The server is new each time: the memory of one run is not the next one's.
            with Server() as server:
                try:
                    command = contestant.command(parquet, server.url)
                except NotInstalled as error:
                    reasons[contestant.name] = f"not installed: {error}"
                    continue
                run = runs.run(command, events, server, timeout=timeout)
            said = run.failure or f"{run.rate:,.0f} events/s, {run.cost.cpu:.2f} CPU-s"
            print(f"{events:,} {turn + 1}/{repeats} {contestant.name}: {said}", file=sys.stderr)
            if run.failure:
                reasons[contestant.name] = run.failure
                results.pop(contestant.name, None)
            else:
                results.setdefault(contestant.name, []).append(run)
    return results, reasons


def table(
    contestants: Sequence[Contestant], results: dict[str, list[Run]], reasons: dict[str, str]
) -> str:
    """The medians in Markdown, and below them who has no figure and why."""

    def median(name: str, of: Callable[[Run], float]) -> float | None:
        found = results.get(name)
        return statistics.median(of(run) for run in found) if found else None

    rows = []
    for contestant in contestants:
        name = contestant.name
        if not (found := results.get(name)):
            continue
        rate = statistics.median(run.rate for run in found)
        cpu = statistics.median(run.cost.cpu for run in found)
        requests = sorted({run.stats.requests for run in found})
        rows.append(
            [
                contestant.title,
                str(len(found)),
                f"{rate:,.0f}",
                _ratio(rate, median("naive", lambda run: run.rate)),
                _ratio(rate, median("best_loop", lambda run: run.rate)),
                f"{statistics.median(run.cost.wall for run in found):.1f}",
                f"{cpu:.1f}",
                f"{found[0].events / cpu:,.0f}",
                f"{max(run.cost.peak_memory for run in found) / 1e6:,.0f}",
                " to ".join(f"{number:,}" for number in dict.fromkeys([requests[0], requests[-1]])),
                f"{statistics.median(run.stats.cpu for run in found):.1f}",
                f"{max(run.noise for run in found):.0%}",
            ]
        )
    missing = [f"- {c.title}: {reasons[c.name]}." for c in contestants if c.name in reasons]
    return "\n\n".join(filter(None, [report.table(HEAD, rows), "\n".join(missing)]))


def _ratio(rate: float, other: float | None) -> str:
    return "" if other is None else f"{rate / other:.2f}"


def others(
    found: dict[int, dict[str, list[Run]]], most: int, repeats: int
) -> tuple[goals.Figures, list[str]]:
    """Measures the three inputs, starts and formats, of `most` events at most; gives the figures
    of all, and the tables of these."""
    inputs = {}
    for data_set in sets.ALL:
        smaller = dataclasses.replace(data_set, rows=min(data_set.rows, most))
        inputs[data_set.name] = quick.take_turns(smaller, repeats)
        print(f"input {data_set.name}: done", file=sys.stderr)
    starts, commands = startup.imports(repeats), startup.commands(repeats)
    of_formats = formats.beyond_start(min(FORMATS_EVENTS, most), repeats)
    figures = goals.Figures(found, inputs, starts, commands, of_formats)
    return figures, [
        "### Three inputs, medians",
        _inputs_table(inputs),
        "### Starts, medians",
        startup.imports_table(starts),
        startup.commands_table(commands),
        "### Formats, medians",
        _formats_table(of_formats),
    ]


def _inputs_table(inputs: dict[str, tuple[list[Run], list[Run]]]) -> str:
    rows = []
    for name, (sink, loop) in inputs.items():
        ratios = quick.ratios_of(sink, loop)
        rows.append(
            [
                name,
                f"{sink[0].events:,}",
                *(f"{runs.median(of, 'rate'):,.0f}" for of in (sink, loop)),
                f"{ratios['wall']:.2f}",
                *(f"{runs.median(of, 'per_cpu'):,.0f}" for of in (sink, loop)),
                f"{ratios['cpu']:.2f}",
                *(f"{quick.peak_mb(of):,.0f}" for of in (sink, loop)),
            ]
        )
    return report.table(INPUTS_HEAD, rows)


def _formats_table(seconds: dict[str, float]) -> str:
    rows = [
        [name, f"{each:.2f}", f"{each / seconds['Parquet']:.1f}"] for name, each in seconds.items()
    ]
    return report.table(("an import beyond its start", "CPU-s", "x Parquet"), rows)


def _names(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in registry.BY_NAME:
            known = ", ".join(registry.BY_NAME)
            raise argparse.ArgumentTypeError(f"{name} is unknown; there are {known}")
    return names


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--events", default="500000,4000000", help="sizes, with commas between")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", type=_names, default=[], help="contestants, with commas between")
    parser.add_argument("--skip", type=_names, default=[])
    parser.add_argument(
        "--include", type=_names, default=[], help="at sizes where they are left out by default"
    )
    parser.add_argument("--timeout", type=float, default=1800, help="seconds of one run")
    parser.add_argument("--section", default="contestants", help="of the results, to replace")
    parser.add_argument(
        "--contestants-only", action="store_true", help="no inputs, starts, formats and goals"
    )
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    options = parser.parse_args()

    chosen = [c for c in registry.ALL if not options.only or c.name in options.only]
    chosen = [c for c in chosen if c.name not in options.skip]
    quick.compile_package()
    parts = [f"## {options.section.capitalize()}", report.context()]
    sizes = [int(size) for size in options.events.split(",")]
    found: dict[int, dict[str, list[Run]]] = {}
    tables = []
    for events in sizes:
        left_out: dict[str, str] = {}
        for c in chosen:
            if c.most_events and events > c.most_events and c.name not in options.include:
                left_out[c.name] = f"left out ({c.reason})"
        running = [c for c in chosen if c.name not in left_out]
        found[events], reasons = compete(running, events, options.repeats, options.timeout)
        tables += [
            f"### {events:,} events, medians",
            table(chosen, found[events], reasons | left_out),
        ]
    if not options.contestants_only:
        figures, more = others(found, max(sizes), options.repeats)
        parts += ["### Goals", goals.table(figures)]
        tables += more
    parts += tables
    parts.append(
        "Peak memory and noise are the largest of the repeats. Noise: the share of the cores' "
        "time that went to other processes or was stolen by the hypervisor."
    )
    report.put(options.out, options.section, "\n\n".join(parts))
    print("\n\n".join(parts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
