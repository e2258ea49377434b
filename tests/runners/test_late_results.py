"""Failed records and receipts are not late for what follows the write, in windows of any kind."""

from __future__ import annotations

import json
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.io import fileio
from apache_beam.testing.test_stream import TestStream as Script
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, GlobalWindows, Sessions, SlidingWindows
from apache_beam.utils.timestamp import Duration

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.results import FailedRecord
from tests.runners.matrix import Runner
from tests.write.test_write import record, stamped, write

KINDS: dict[str, Any] = {
    "global": beam.WindowInto(GlobalWindows()),
    "fixed": beam.WindowInto(FixedWindows(60)),
    "sliding": beam.WindowInto(SlidingWindows(60, 30)),
    "sessions": beam.WindowInto(Sessions(30)),
    "late data": beam.WindowInto(
        FixedWindows(60),
        trigger=AfterWatermark(late=AfterCount(1)),
        accumulation_mode=AccumulationMode.ACCUMULATING,
        allowed_lateness=Duration(seconds=300),
    ),
}
REFUSE = [{"kind": "failed_records", "records": [{"index": 0, "message": "odd"}], "times": 99}]


def same(element: Any) -> Any:
    return element


def by_reason(failed: FailedRecord) -> tuple[str, str]:
    return failed.reason, failed.event["properties"]["$insert_id"]  # type: ignore[index]


def by_lane(receipt: Any) -> tuple[int, int]:
    return receipt.lane, receipt.accepted


def listed(group: Any) -> tuple[Any, list[Any]]:
    return group[0], sorted(group[1])


@pytest.mark.parametrize(
    ("runner", "kind"),
    [
        *((runner, kind) for kind in KINDS for runner in ("direct", "prism")),
        ("processes", "fixed"),
    ],
    indirect=["runner"],
)
def test_a_batch_groups_and_writes_them(mixpanel: Emulator, runner: Runner, kind: str) -> None:
    mixpanel.faults(REFUSE)
    source = stamped(*((at, record(at)) for at in (5, 70, 75, 500)))
    out = runner.folder / "failed"

    def build(pipeline: Any) -> None:
        records = pipeline | beam.Create(source) | beam.Map(same) | KINDS[kind]
        result = records | write(mixpanel)
        grouped = result.failed | beam.Map(by_reason) | beam.GroupByKey() | beam.Map(listed)
        runner.keep("grouped", grouped)
        lanes = result.receipts | "Lanes" >> beam.Map(by_lane) | "Group" >> beam.GroupByKey()
        runner.keep("lanes", lanes | "List" >> beam.Map(listed))
        lines = result.failed | "JSON" >> beam.Map(FailedRecord.to_json)
        _ = lines | fileio.WriteToFiles(str(out), sink=lambda _: fileio.TextSink())

    runner.build_and_run(build)
    grouped = {each for out in runner.read("grouped") for each in out.value[1]}
    (refused,) = grouped
    assert refused in {f"id-{at}" for at in (5, 70, 75, 500)}
    assert {tuple(out.value[1]) for out in runner.read("lanes")} == {(3,)}
    files = [each for each in out.rglob("*") if each.is_file()]
    lines = [json.loads(line) for each in files for line in each.read_text().splitlines()]
    assert {line["event"]["properties"]["$insert_id"] for line in lines} == {refused}


@pytest.mark.parametrize("runner", ["prism"], indirect=True)
@pytest.mark.parametrize("kind", ["fixed", "sessions"])
def test_a_stream_groups_them(mixpanel: Emulator, runner: Runner, kind: str) -> None:
    """The element that sets the timer is later than one that follows."""
    mixpanel.faults(
        [
            {
                "kind": "failed_records",
                "records": [{"index": 0, "message": "odd"}, {"index": 1, "message": "odd"}],
            }
        ]
    )
    stream = (
        Script()
        .add_elements(stamped((45, record(45))))
        .add_elements(stamped((2, record(2))))
        .advance_watermark_to(100)
        .advance_processing_time(2_000_000_000)  # past the clock's time, from 1970 on
        .advance_watermark_to(1000)
        .advance_processing_time(100)
        .advance_watermark_to_infinity()
    )

    def build(pipeline: Any) -> None:
        result = pipeline | stream | KINDS[kind] | write(mixpanel, max_latency=60)
        grouped = result.failed | beam.Map(by_reason) | beam.GroupByKey() | beam.Map(listed)
        runner.keep("grouped", grouped)

    runner.build_and_run(build, streaming=True)
    grouped = [each for out in runner.read("grouped") for each in out.value[1]]
    assert sorted(grouped) == ["id-2", "id-45"]
