"""The goals for speed and size, and what a run of `python -m benchmarks` reached of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from benchmarks import measure, report, runs
from benchmarks.quick import peak_mb, ratios_of

HEAD = ("figure", "goal", "reached", "met")
ELSEWHERE = """\
Goals that other commands measure: records of 0.9 MB (`benchmarks.memory`), the quota
(`benchmarks.simulate`, `benchmarks.quota`), `verify` (`benchmarks.verifying`), the emulator's
ingest (`benchmarks.emulator_ingest`) and its page (`benchmarks.emulator_page`)."""
Runs = Mapping[str, Sequence[runs.Run]]


@dataclasses.dataclass(frozen=True)
class Goal:
    """One figure.

    Attributes:
        figure: in words.
        goal: the number to reach.
        reached: the number that was measured.
        most: whether the goal is not to be exceeded; else it is the least.
    """

    figure: str
    goal: float
    reached: float
    most: bool = False

    def row(self) -> list[str]:
        """Of the table."""
        met = self.reached <= self.goal if self.most else self.reached >= self.goal
        bound = "at most" if self.most else "at least"
        shown = [f"{n:,.0f}" if n >= 100 else f"{n:.2f}" for n in (self.goal, self.reached)]
        return [self.figure, f"{bound} {shown[0]}", shown[1], "yes" if met else "no"]


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        contestants: runs by size and contestant.
        inputs: runs of the sink and of the loop by input.
        starts: imports of 2,000 events by contestant.
        commands: costs of --help, init and check.
        formats: CPU seconds beyond the start by format.
    """

    contestants: Mapping[int, Runs]
    inputs: Mapping[str, tuple[list[runs.Run], list[runs.Run]]]
    starts: Runs
    commands: Mapping[str, Sequence[measure.Cost]]
    formats: Mapping[str, float]

    def goals(self) -> list[Goal]:
        """All goals that can be told of."""
        return [*self._columnar(), *self._of_inputs(), *self._of_starts(), *self._others()]

    def _columnar(self) -> list[Goal]:
        goals = []
        least, largest = min(self.contestants), max(self.contestants)
        for events, goal in {largest: 0.85, least: 0.6 if least < largest else 0.85}.items():
            found = self.contestants[events]
            if {"sink", "plain_loop"} <= found.keys():
                ratios = ratios_of(list(found["sink"]), list(found["plain_loop"]))
                goals.append(Goal(f"columnar, x plain loop, {events:,}", goal, ratios["wall"]))
                if events == largest:
                    what = f"the same, events a CPU-second, {events:,}"
                    goals.append(Goal(what, 0.85, ratios["cpu"]))
        if "sink" in (found := self.contestants[largest]):
            goals.append(
                Goal(f"columnar, peak MB, {largest:,}", 400, peak_mb([*found["sink"]]), True)
            )
        return goals

    def _of_inputs(self) -> list[Goal]:
        goals = []
        for name, (sink, loop) in self.inputs.items():
            ratios = ratios_of(sink, loop)
            goals += [
                Goal(f"{name}, x loop", 0.85, ratios["wall"]),
                Goal(f"{name}, x loop, events a CPU-second", 0.85, ratios["cpu"]),
                Goal(f"{name}, peak MB", 400, peak_mb(sink), True),
            ]
        return goals

    def _of_starts(self) -> list[Goal]:
        sink, naive = self.starts["sink"], self.starts["naive"]
        goals = [
            Goal(
                f"import of 2,000 events, {what}, x naive", 1, self._share(sink, naive, name), True
            )
            for what, name in (("seconds", "wall"), ("CPU", "cpu"))
        ]
        for name, goal in {"--help": 0.4, "init": 0.8, "check": 1.0}.items():
            wall = sorted(cost.wall for cost in self.commands[name])[len(self.commands[name]) // 2]
            goals.append(Goal(f"`mixpanel-sink {name}`, seconds", goal, wall, True))
        return goals

    def _others(self) -> list[Goal]:
        goals = []
        least, largest = (self.contestants[of(self.contestants)] for of in (min, max))
        if {"sink_dicts", "naive"} <= least.keys():
            share = 1 / self._share(least["sink_dicts"], least["naive"], "wall")
            goals.append(Goal(f"dicts, x naive, {min(self.contestants):,}", 6, share))
        if {"sink_prism", "sink"} <= largest.keys():
            share = self._share(largest["sink_prism"], largest["sink"], "wall")
            what = f"Prism's seconds, x in process, {max(self.contestants):,}"
            goals.append(Goal(what, 1.4, share, True))
        for name in ("JSON lines", "CSV"):
            what = f"{name}, CPU beyond the start, x Parquet"
            share = self.formats[name] / self.formats["Parquet"]
            goals.append(Goal(what, 2.5, share, True))
        return goals

    @staticmethod
    def _share(one: Sequence[runs.Run], other: Sequence[runs.Run], name: str) -> float:
        return runs.median(one, name) / runs.median(other, name)


def table(figures: Figures) -> str:
    """The goals in Markdown."""
    rows = [goal.row() for goal in figures.goals()]
    return f"{report.table(HEAD, rows)}\n\n{ELSEWHERE}"
