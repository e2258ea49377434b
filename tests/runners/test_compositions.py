"""The sink inside pipelines of all shapes, on every runner: what arrives is what a model says."""

# ruff: noqa: B008  (Beam declares state and timers as argument defaults)

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.timeutil import TimeDomain
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec, TimerSpec, on_timer

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.settings.credentials import ProjectToken
from mixpanel_sink.settings.profile_mapping import ProfileMapping
from mixpanel_sink.write_profiles import WriteProfilesToMixpanel
from tests.runners.matrix import IN_ONE_PROCESS, Runner
from tests.running import FAST
from tests.write.test_write import record, write

TEN = Limits(batch_events=10)
RECORDS = [record(n) for n in range(25)]


def by_number(element: dict[str, Any], parts: int) -> int:
    return int(element["id"][3:]) % parts


def profiles(mixpanel: Emulator, **options: Any) -> WriteProfilesToMixpanel:
    mapping = ProfileMapping(distinct_id="user", set=["name"])
    given: dict[str, Any] = {"endpoint": mixpanel.url, "retry": FAST, "quota": "none", **options}
    return WriteProfilesToMixpanel(mapping, ProjectToken("env:TEST_TOKEN"), **given)


def two_of_one_collection(records: Any, mixpanel: Emulator) -> list[Any]:
    a, b = records | beam.Partition(by_number, 2)
    return [a | "a" >> write(mixpanel), b | "b" >> write(mixpanel)]


def two_hosts(records: Any, mixpanel: Emulator) -> list[Any]:
    other = mixpanel.url.replace("127.0.0.1", "localhost")
    a, b = records | beam.Partition(by_number, 2)
    return [a | "a" >> write(mixpanel), b | "b" >> write(mixpanel, endpoint=other)]


def behind_a_shuffle(records: Any, mixpanel: Emulator) -> list[Any]:
    a, b = records | beam.Reshuffle() | beam.Partition(by_number, 2)
    return [a | "a" >> write(mixpanel, limits=TEN), b | "b" >> write(mixpanel, limits=TEN)]


def events_and_profiles(records: Any, mixpanel: Emulator) -> list[Any]:
    return [
        records | "Events" >> write(mixpanel),
        records | "Profiles" >> profiles(mixpanel),
    ]


class Counting(beam.DoFn):
    """A user's own DoFn, with state and a timer of the plainest name."""

    COUNT = ReadModifyWriteStateSpec("count", VarIntCoder())
    FLUSH = TimerSpec("flush", TimeDomain.WATERMARK)

    def process(
        self, element: Any, count=beam.DoFn.StateParam(COUNT), flush=beam.DoFn.TimerParam(FLUSH),
        window=beam.DoFn.WindowParam,
    ) -> None:  # fmt: skip
        count.write((count.read() or 0) + 1)
        flush.set(window.max_timestamp())

    @on_timer(FLUSH)
    def on_flush(
        self, key=beam.DoFn.KeyParam, count=beam.DoFn.StateParam(COUNT)
    ) -> Iterator[tuple[str, int]]:
        yield key, count.read() or 0
        count.clear()


def keyed(element: dict[str, Any]) -> tuple[str, int]:
    return f"key-{by_number(element, 3)}", 1


def count_beside(records: Any, runner: Runner) -> None:
    """Counts records by a user's timers, beside a sink; see `counted`."""
    runner.keep("counted", records | beam.Map(keyed) | beam.ParDo(Counting()))


def counted(runner: Runner) -> int:
    """How many there were. (A combine in the pipeline may give fewer: in one of a hundred, also
    without a sink, Prism lets a timer fire before the last element is there, and drops what comes
    from its second time as late.)"""
    return sum(count for _, count in (each.value for each in runner.read("counted")))


def many_lanes(records: Any, mixpanel: Emulator) -> list[Any]:
    return [records | write(mixpanel, lanes=200, limits=Limits(batch_events=1))]


COMPOSITIONS: dict[str, Callable[[Any, Emulator], list[Any]]] = {
    each.__name__.replace("_", " "): each
    for each in (
        two_of_one_collection,
        two_hosts,
        behind_a_shuffle,
        events_and_profiles,
        many_lanes,
    )
}


# Several processes at once are what test_everything_at_once runs on, and what a shuffle feeds.
@pytest.mark.parametrize(
    ("runner", "composition"),
    [
        *((runner, name) for name in COMPOSITIONS for runner in ("direct", "prism")),
        ("processes", "behind a shuffle"),
    ],
    indirect=["runner"],
)
def test_every_record_arrives_once(mixpanel: Emulator, runner: Runner, composition: str) -> None:
    def build(pipeline: Any) -> None:
        COMPOSITIONS[composition](pipeline | beam.Create(RECORDS), mixpanel)

    runner.build_and_run(build)
    assert sorted(mixpanel.insert_ids()) == sorted(each["id"] for each in RECORDS)
    if composition == "events and profiles":
        assert len(mixpanel.profiles(1000)) == len(RECORDS)


@pytest.mark.parametrize("runner", ["direct", "prism"], indirect=True)
def test_a_users_timer_beside_it(mixpanel: Emulator, runner: Runner) -> None:
    def build(pipeline: Any) -> None:
        records = pipeline | beam.Create(RECORDS)
        count_beside(records, runner)
        _ = records | write(mixpanel)

    runner.build_and_run(build)
    assert sorted(mixpanel.insert_ids()) == sorted(each["id"] for each in RECORDS)
    assert counted(runner) == len(RECORDS)


@IN_ONE_PROCESS
def test_beam_may_check_types_while_the_pipeline_runs(mixpanel: Emulator, runner: Runner) -> None:
    def build(pipeline: Any) -> None:
        events_and_profiles(pipeline | beam.Create([*RECORDS, record(99, user="null")]), mixpanel)

    runner.build_and_run(build, "--runtime_type_check")
    assert sorted(mixpanel.insert_ids()) == sorted(each["id"] for each in RECORDS)


def test_two_sinks_on_one_project_share_its_quota(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.settings(quota="10/2s")

    def build(pipeline: Any) -> None:
        records = pipeline | beam.Create([record(n) for n in range(200)])
        for number, part in enumerate(records | beam.Partition(by_number, 2)):
            sink = write(mixpanel, quota="10/2s", limits=TEN, max_in_flight=16 + number)
            _ = part | f"Sink {number}" >> sink

    runner.build_and_run(build)
    stats = mixpanel.stats()
    assert stats["events_distinct"] == 200
    assert stats["max_attempts_in_window"] <= 10
    assert stats["requests_by_endpoint"] == {"/import": {"200": 20}}
