"""One run of one contestant against the server."""

from __future__ import annotations

import dataclasses
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import measure
from benchmarks.serving import Server, Stats


@dataclasses.dataclass(frozen=True)
class Run:
    """What came of it.

    Attributes:
        failure: why the run counts for nothing; "" if it does count.
        noise: share of the cores' time that neither the contestant nor the server used
            and that was not free, stolen time included; 0 to 1.
    """

    events: int
    cost: measure.Cost
    stats: Stats
    failure: str
    noise: float

    @property
    def rate(self) -> float:
        """Events a second, start-up included."""
        return self.events / self.cost.wall

    @property
    def per_cpu(self) -> float:
        """Events a CPU-second of the contestant."""
        return self.events / self.cost.cpu


def median(found: Sequence[Run], name: str) -> float:
    """The median of an attribute of runs, or of their cost."""
    return statistics.median(
        getattr(run if hasattr(run, name) else run.cost, name) for run in found
    )


def run(
    command: Sequence[str],
    events: int,
    server: Server,
    env: dict[str, str] | None = None,
    timeout: float = 1800,
) -> Run:
    """Runs a command that must deliver that many events; `timeout` in seconds."""
    server.reset()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        log = Path(folder) / "run.log"
        cost = measure.run(command, log, env, timeout)
        said = log.read_text(errors="replace")
    stats = server.stats()
    others = max(0.0, cost.other_cpu - stats.cpu) + cost.steal
    noise = others / (cost.wall * (os.cpu_count() or 1))
    return Run(events, cost, stats, _failure(cost, stats, events, said), noise)


def _failure(cost: measure.Cost, stats: Stats, events: int, said: str) -> str:
    if cost.timed_out:
        return f"not done after {cost.wall:.0f} s"
    if cost.exit_code:
        lines = said.strip().splitlines() or ["nothing said"]
        return f"exit code {cost.exit_code}: {lines[-1][:200]}"
    if stats.events != events:
        return f"delivered {stats.events:,} of {events:,} events"
    return ""
