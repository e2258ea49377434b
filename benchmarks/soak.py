"""Millions of events through faults, with memory over time: is any lost or doubled?

python -m benchmarks.soak --events 10000000 --fault-rate 0.05

The emulator injects faults into that share of the requests: it answers 429s and 5xx, resets
connections before and after it has stored a batch, cuts answers short, miscounts. In the end it
must hold every row of the file once; rows are told apart by their position ids.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data, mappings, paths, report
from benchmarks.measure import resident_of_tree
from mixpanel_sink.emulator.testing import Emulator

FAULTS: list[dict[str, Any]] = [
    {"kind": "rate_limit", "retry_after": "1"},
    {"kind": "rate_limit"},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 502, "body": "<html>bad gateway</html>"},
    {"kind": "status", "status": 503, "headers": {"Retry-After": "1"}},
    {"kind": "status", "status": 504, "stored": True},
    {"kind": "reset"},
    {"kind": "reset", "stored": True},
    {"kind": "truncate"},
    {"kind": "garbage"},
    {"kind": "short_count", "drop": 3},
]


class Sampler(threading.Thread):
    """Memory of a process and its descendants, once a second, in bytes."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._ended = threading.Event()
        self.samples: list[int] = []

    def run(self) -> None:
        while not self._ended.wait(1.0):
            self.samples.append(resident_of_tree(self._pid))

    def stop(self) -> None:
        self._ended.set()
        self.join()


def rows_stored(mixpanel: Emulator, events: int) -> tuple[int, int]:
    """How many rows are missing, and how many are stored more than once."""
    times = np.zeros(events, dtype=np.uint8)
    for insert_id in mixpanel.iter_insert_ids():
        times[int(insert_id.rpartition("-")[2])] += 1
    return int((times == 0).sum()), int((times > 1).sum())


def main() -> int:
    """The command: exit code 0 only if nothing is lost and nothing doubled."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--fault-rate", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=paths.RESULTS)
    own = parser.parse_args()
    parquet = data.parquet_file(own.events)
    with Emulator(variant="reference") as mixpanel:
        mixpanel.faults({"seed": own.seed, "rate": own.fault_rate, "kinds": FAULTS})
        started = time.monotonic()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "pipelines.parquet_to_mixpanel"),
                f"--input={parquet}",
                f"--mapping={mappings.mapping_file()}",
                "--api_secret=env:SOAK_SECRET",
                f"--endpoint={mixpanel.url}",
                "--quota=none",
            ],
            env={**os.environ, "SOAK_SECRET": mixpanel.api_secret},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        sampler = Sampler(process.pid)
        sampler.start()
        said, _ = process.communicate()
        sampler.stop()
        seconds = time.monotonic() - started
        stats = mixpanel.stats()
        lost, doubled = rows_stored(mixpanel, own.events)
        faulty = stats["requests"] - stats["requests_by_endpoint"]["/import"]["200"]
    print(said)
    quarters = np.array_split(np.array(sampler.samples or [0]) / 1e6, 4)
    text = "\n\n".join(
        [
            f"## Soak: {own.events:,} events, faults in {own.fault_rate:.0%} of the requests",
            report.context(),
            report.table(
                ("", "value"),
                [
                    ["events lost", f"{lost:,}"],
                    ["events doubled", f"{doubled:,}"],
                    ["duplicates that arrived and were told apart", f"{stats['duplicates']:,}"],
                    ["requests", f"{stats['requests']:,}"],
                    ["requests that did not get a 200", f"{faulty:,}"],
                    ["seconds", f"{seconds:,.0f}"],
                    *(
                        [f"most memory in the {name} quarter, MB", f"{part.max():,.0f}"]
                        for name, part in zip(
                            ("first", "second", "third", "last"), quarters, strict=True
                        )
                        if len(part)
                    ),
                ],
            ),
        ]
    )
    report.put(own.out, "soak", text)
    print(text)
    return int(process.returncode != 0 or lost > 0 or doubled > 0)


if __name__ == "__main__":
    sys.exit(main())
