"""Pipelines put together at random, in process: the emulator holds what a model says.

A failure names its seed; `SEEDS=47 pytest tests/runners/test_any_pipeline.py` runs that one again,
and `SEEDS=0:1000` a thousand.
"""

from __future__ import annotations

import os
import random
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.transforms.window import FixedWindows, GlobalWindows, Sessions, SlidingWindows

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.results import FailedRecord
from tests.running import IN_PROCESS, Kept
from tests.write.test_write import record, stamped, write

_first, _, _last = os.environ.get("SEEDS", "0:40").partition(":")
SEEDS = range(int(_first), int(_last or int(_first) + 1))
GROUPS = 10
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
    found = element["id"] if isinstance(element, dict) else element.id
    return int(found[3:]) % parts


def same(element: Any) -> Any:
    return element


def compose(seed: int, mixpanel: Emulator) -> None:
    """Builds one pipeline, runs it, and compares."""
    rng = random.Random(seed)
    count, parts = rng.choice([0, 1, 7, 25, 60]), rng.randint(1, 3)
    bad = {n for n in range(count) if rng.random() < rng.choice([0.0, 0.1, 1.0])}
    records = [record(n, **({"user": "null"} if n in bad else {})) for n in range(count)]
    if rng.random() < 0.3:
        records = [beam.Row(**each) for each in records]
    times = [rng.randint(0, 300) for _ in records]
    windows, shuffled = rng.choice(list(WINDOWS)), rng.random() < 0.4
    said = f"seed {seed}: {count} records, {len(bad)} bad, {parts} sinks, {windows}, {shuffled=}"
    print(said)

    failed, accounted, grouped = Kept(), Kept(), Kept()
    with beam.Pipeline(IN_PROCESS) as pipeline:
        elements = pipeline | beam.Create(stamped(*zip(times, records, strict=True)))
        if shuffled:
            elements |= beam.Reshuffle()
        elements |= beam.Map(same)
        elements |= beam.WindowInto(WINDOWS[windows])
        for part, each in enumerate(elements | beam.Partition(branch_of, parts)):
            size = rng.choice([1, 3, 10, 2000])
            sink = write(
                mixpanel,
                limits=Limits(batch_events=size),
                lanes=rng.randint(1, 3),
                max_in_flight=rng.choice([1, 16]),
                quota=rng.choice(["none", "1000/s"]) if parts == 1 else "none",
            )
            result = each | f"Sink {part}" >> sink
            _ = result.failed | f"Failed {part}" >> beam.Map(failed)
            _ = result.totals | f"Totals {part}" >> beam.Map(accounted)
            keyed = result.failed | f"Key {part}" >> beam.Map(number_of)
            groups = keyed | f"Group {part}" >> beam.GroupByKey()
            _ = groups | f"Grouped {part}" >> beam.Map(grouped)

    good = {f"id-{n}" for n in range(count) if n not in bad}
    ids = mixpanel.insert_ids()
    assert (len(ids), set(ids)) == (len(good), good), said
    assert {number_of(each)[1] for each in failed.values} == bad, said
    assert {n for _, numbers in grouped.values for n in numbers} == bad, said
    totals = accounted.values
    assert (len(totals), sum(each.read for each in totals)) == (parts, count), said
    assert sum(each.accepted for each in totals) == len(good), said
    assert sum(each.failed for each in totals) == len(bad), said


@pytest.mark.parametrize("group", range(GROUPS))
def test_the_emulator_holds_what_the_model_says(mixpanel: Emulator, group: int) -> None:
    for seed in SEEDS[group::GROUPS]:
        mixpanel.reset()
        compose(seed, mixpanel)
