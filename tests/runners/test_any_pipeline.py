"""Pipelines put together at random: the emulator holds what a model says.

Each seed makes one composition: a source, windows, a shuffle or none, and up to three sinks, events
or profiles. `BESIDE` of them stand in one pipeline, which costs less and tests them beside each
other; every fifth pipeline runs on Prism. A failure names its seed: `SEEDS=47 pytest
tests/runners/test_any_pipeline.py` runs that composition again, alone, on the same runner, and
`SEEDS=0:1000` (`make pipelines`) a thousand.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.transforms.window import FixedWindows, GlobalWindows, Sessions, SlidingWindows

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.results import FailedRecord, Totals, WriteResult
from tests.runners.matrix import Runner
from tests.running import Kept
from tests.write.test_write import record, stamped, write

_first, _, _last = os.environ.get("SEEDS", "0:100").partition(":")
SEEDS = range(int(_first), int(_last or int(_first) + 1))
BESIDE = 5
PIPELINES = [
    (group, list(seeds)) for group, seeds in itertools.groupby(SEEDS, lambda n: n // BESIDE)
]
MOST = 1000
"""More records than a composition has: its ids begin at the seed times this."""
WINDOWS = {
    "global": GlobalWindows(),
    "fixed": FixedWindows(60),
    "sliding": SlidingWindows(60, 30),
    "sessions": Sessions(30),
}


def number_of(failed: FailedRecord) -> tuple[str, int]:
    made = failed.record or failed.event["properties"]  # type: ignore[index]
    return failed.reason, int((made.get("id") or made["$insert_id"])[3:])


def branch_of(element: Any, parts: int) -> int:
    if isinstance(element, pa.Table):
        return len(element) % parts
    found = element["id"] if isinstance(element, dict) else element.id
    return int(found[3:]) % parts


def same(element: Any) -> Any:
    return element


def as_tables(rng: random.Random, records: list[Any]) -> list[Any]:
    """The records in tables of different lengths."""
    tables = []
    while records:
        count = rng.randint(1, 20)
        tables.append(pa.Table.from_pylist(records[:count]))
        records = records[count:]
    return tables


@dataclasses.dataclass
class Composition:
    """One seed's part of a pipeline, and what it should lead to."""

    seed: int

    def __post_init__(self) -> None:
        self._rng = rng = random.Random(self.seed)
        first, count = self.seed * MOST, rng.choice([0, 1, 7, 25, 60])
        odds = rng.choice([0.0, 0.0, 0.1, 1.0])
        self.numbers = range(first, first + count)
        self.bad = {n for n in self.numbers if rng.random() < odds}
        self.good = {f"id-{n}" for n in self.numbers if n not in self.bad}
        self.kind = rng.choice(["dicts", "dicts", "rows", "tables"])
        self.windows, self.shuffled = rng.choice(list(WINDOWS)), rng.random() < 0.4
        self.parts = rng.randint(1, 3)
        self.failed, self.totals, self.grouped = Kept(), Kept(), Kept()

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {len(self.numbers)} {self.kind}, {len(self.bad)} bad, "
            f"{self.parts} sinks, {self.windows}, shuffled: {self.shuffled}"
        )

    def build(self, pipeline: Any, mixpanel: Emulator, quota: str) -> dict[int, Any]:
        kept = {}
        rng = self._rng
        elements: list[Any] = [
            record(n, **({"user": "null"} if n in self.bad else {})) for n in self.numbers
        ]
        if self.kind == "rows":
            elements = [beam.Row(**each) for each in elements]
        elif self.kind == "tables":
            elements = as_tables(rng, elements)
        timed = stamped(*((rng.randint(0, 300), each) for each in elements))
        moving = pipeline | beam.Create(timed)
        if self.shuffled:
            moving |= beam.Reshuffle()
        moving |= beam.Map(same)
        moving |= beam.WindowInto(WINDOWS[self.windows])
        for part, each in enumerate(moving | beam.Partition(branch_of, self.parts)):
            sink = write(
                mixpanel,
                limits=Limits(batch_events=rng.choice([1, 3, 10, 2000])),
                lanes=rng.randint(1, 3),
                max_in_flight=rng.choice([1, 16]),
                quota=quota,
            )
            kept[part] = self._keep(part, each | f"Sink {part}" >> sink)
        return kept

    def _keep(self, part: int, result: WriteResult) -> Any:
        _ = result.failed | f"Failed {part}" >> beam.Map(self.failed)
        _ = result.totals | f"Totals {part}" >> beam.Map(self.totals)
        keyed = result.failed | f"Key {part}" >> beam.Map(number_of)
        groups = keyed | f"Group {part}" >> beam.GroupByKey()
        return groups | f"Grouped {part}" >> beam.Map(self.grouped)

    def check(self, ids: list[str]) -> None:
        """Compares, once the pipeline has run, with the ids that the emulator was sent."""
        mine = [each for each in ids if int(each[3:]) in self.numbers]
        assert (len(mine), set(mine)) == (len(self.good), self.good), self
        assert {number_of(each)[1] for each in self.failed.values} == self.bad, self
        assert {n for _, numbers in self.grouped.values for n in numbers} == self.bad, self
        totals: list[Totals] = self.totals.values
        assert (len(totals), sum(each.read for each in totals)) == (
            self.parts,
            len(self.numbers),
        ), self
        assert sum(each.accepted for each in totals) == len(self.good), self
        assert sum(each.failed for each in totals) == len(self.bad), self


@pytest.mark.parametrize(
    ("runner", "group", "seeds"),
    [
        pytest.param("prism" if group % 5 == 4 else "direct", group, seeds, id=f"seeds {seeds[0]}")
        for group, seeds in PIPELINES
    ],
    indirect=["runner"],
)
def test_the_emulator_holds_what_the_model_says(
    mixpanel: Emulator, runner: Runner, group: int, seeds: list[int]
) -> None:
    compositions = [Composition(seed) for seed in seeds]
    # One quota: sinks of one project share it.
    quota = random.Random(group).choice(["none", "5000/s"])
    print(f"{runner.name}, quota {quota}:", *compositions, sep="\n  ")

    class Scope(beam.PTransform):
        def __init__(self, each: Composition) -> None:
            super().__init__(label=f"Seed {each.seed}")
            self.each = each

        def expand(self, begin: Any) -> Any:
            return self.each.build(begin.pipeline, mixpanel, quota)

    def build(pipeline: Any) -> None:
        for each in compositions:
            _ = pipeline | Scope(each)

    runner.build_and_run(build)
    ids = mixpanel.insert_ids()
    for each in compositions:
        each.check(ids)
    assert mixpanel.stats()["events_distinct"] == sum(len(each.good) for each in compositions)
