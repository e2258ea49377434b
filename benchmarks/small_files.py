"""What many small files cost: an import of a folder, beside the same rows in one file.

    python -m benchmarks.small_files --files 2000 --rows 100

Both take turns; the figures are medians of the import's CPU time, start included.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import paths, report, runs
from benchmarks.registry import module
from benchmarks.serving import Server

MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: s}\ninsert_id: key\n"
HEAD = ("files", "rows in each", "seconds", "CPU-s", "ms of CPU a file", "peak MB", "requests")


def folder(files: int, rows: int) -> Path:
    """A folder of so many files; made once."""
    made = paths.CACHE / f"small-{files}-{rows}"
    if made.exists():
        return made
    unfinished = made.with_suffix(".part")
    unfinished.mkdir(parents=True, exist_ok=True)
    for file in range(files):
        first = file * rows
        table = pa.table(
            {
                "name": ["Visit"] * rows,
                "user": [f"user-{row % 997}" for row in range(rows)],
                "at": [1_767_225_600 + first + row for row in range(rows)],
                "key": [f"{file}-{row}" for row in range(rows)],
            }
        )
        pq.write_table(table, unfinished / f"part-{file:05d}.parquet")
    unfinished.rename(made)
    return made


def imported(path: Path, events: int) -> runs.Run:
    """One import."""
    mapping = paths.CACHE / "small.yaml"
    mapping.write_text(MAPPING)
    with Server() as server:
        command = [*module("sink")(path), "--mapping", str(mapping), "--endpoint", server.url]
        run = runs.run(command, events, server)
    if run.failure:
        raise SystemExit(run.failure)
    return run


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_files", description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--turns", type=int, default=2)
    options = parser.parse_args()
    events = options.files * options.rows
    shapes = ((1, events), (options.files, options.rows))
    found: dict[tuple[int, int], list[runs.Run]] = {shape: [] for shape in shapes}
    for _ in range(options.turns):
        for shape in shapes:
            found[shape].append(imported(folder(*shape), events))
    rows = []
    for (files, each), of_shape in found.items():
        cpu = runs.median(of_shape, "cpu")
        more = (cpu - runs.median(found[shapes[0]], "cpu")) / max(1, files - 1) * 1e3
        peak = max(run.cost.peak_memory for run in of_shape) / 1e6
        row = [f"{files:,}", f"{each:,}", f"{runs.median(of_shape, 'wall'):.1f}", f"{cpu:.1f}"]
        rows.append([*row, f"{more:.1f}", f"{peak:.0f}", str(of_shape[0].stats.requests)])
    print(report.table(HEAD, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
