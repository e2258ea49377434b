"""The transform on every runner: windows, quota, failures, streams; within this process where the
runner can, and with worker processes of its own where it cannot."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_stream import TestStream as Script
from apache_beam.transforms.window import FixedWindows, Sessions, SlidingWindows, TimestampedValue

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.results import FailedRecord, Receipt, Totals
from mixpanel_sink.settings.retry import RetryPolicy
from tests.runners.matrix import IN_ONE_PROCESS, JobFailed, Runner
from tests.running import FAST
from tests.write.test_write import record, stamped, write

TEN = Limits(batch_events=10)
RECORDS = [record(n) for n in range(400)]


def test_the_accounting_and_both_kinds_of_failures(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.faults([{"kind": "failed_records", "records": [{"index": 0, "message": "odd"}]}])
    ran = runner.run([record(0), record(1), record(2, user="null")], write(mixpanel))
    failed = sorted((out.value for out in ran.failed), key=lambda failure: failure.reason)
    assert [value.reason for value in failed] == ["distinct_id_reserved", "refused"]
    assert failed[0].record == record(2, user="null")
    assert failed[1].event["properties"]["$insert_id"] in ("id-0", "id-1")
    assert ran.totals == [Totals(read=3, accepted=1, failed=2, requests=1)]
    assert ran.counters["failed_refused"] == ran.counters["requests"] == 1
    assert mixpanel.stats()["events_distinct"] == 1


WINDOWS = {
    "fixed": (FixedWindows(60), lambda at: {(at // 60 * 60, at // 60 * 60 + 60)}),
    "sliding": (
        SlidingWindows(60, 20),
        lambda at: {(at // 20 * 20 - 20 * k, at // 20 * 20 - 20 * k + 60) for k in range(3)},
    ),
    "sessions": (Sessions(30), lambda at: {(at, at + 30)}),
}


def test_results_keep_window_and_timestamp(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.faults(
        [{"kind": "failed_records", "records": [{"index": 0, "message": "odd"}], "times": 3}]
    )
    times = {1: 10, 2: 70, 3: 500, 4: 910}

    def build(pipeline: Any) -> None:
        for number, (kind, (windowfn, _)) in enumerate(WINDOWS.items()):
            source = stamped(*((at, record(10 * number + n)) for n, at in times.items()))
            source[1] = TimestampedValue(record(10 * number + 2, user="null"), 70)
            records = pipeline | f"Create {kind}" >> beam.Create(source)
            windowed = records | f"Map {kind}" >> beam.Map(same) | kind >> beam.WindowInto(windowfn)
            result = windowed | f"Write {kind}" >> write(mixpanel)
            runner.keep(f"failed {kind}", result.failed)
            runner.keep(f"receipts {kind}", result.receipts)
            runner.keep(f"totals {kind}", result.totals)

    runner.build_and_run(build)
    assert mixpanel.stats()["events_distinct"] == len(mixpanel.insert_ids()) == 6
    for number, (kind, (_, expected)) in enumerate(WINDOWS.items()):
        seen: dict[int, list[Any]] = {}
        for out in runner.read(f"failed {kind}", FailedRecord._make):
            about = out.value.record or {"id": out.value.event["properties"]["$insert_id"]}
            about_number = int(about["id"][3:]) - 10 * number
            assert out.at == times[about_number]
            seen.setdefault(about_number, []).append(out.window)
        assert len(seen) == 2
        for key, windows in seen.items():
            assert len(windows) == len(set(windows)), "a failed record came twice"
            assert set(windows) == expected(times[key])
        receipts = runner.read(f"receipts {kind}", Receipt._make)
        assert {out.at for out in receipts} <= {500, 910}
        (totals,) = runner.read(f"totals {kind}", Totals._make)
        assert totals.value == Totals(read=4, accepted=2, failed=2, requests=1)


def same(element: Any) -> Any:
    return element


@IN_ONE_PROCESS
def test_windows_before_a_shuffle(mixpanel: Emulator, runner: Runner) -> None:
    """A record that a shuffle has split up is several, on every runner; the accounting knows."""
    source = stamped(*((n, record(n, user="u" if n % 5 else "null")) for n in range(10)))
    ran = runner.run(
        source, write(mixpanel), beam.Map(keyed), beam.WindowInto(SlidingWindows(60, 20)),
        beam.GroupByKey(), beam.FlatMap(values),
    )  # fmt: skip
    assert ran.totals == [Totals(read=30, accepted=24, failed=6, requests=1)]
    assert mixpanel.stats()["events_distinct"] == 8


def keyed(element: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return element["id"], element


def values(group: tuple[str, Any]) -> Any:
    return group[1]


def test_the_quota_is_one_for_all_lanes(mixpanel: Emulator, runner: Runner) -> None:
    lanes = 3
    mixpanel.settings(quota="12/1s", latency_ms=5)
    sink = write(mixpanel, quota="12/1s", limits=TEN, lanes=lanes)
    ran = runner.run(RECORDS, sink, beam.Reshuffle())
    stats = mixpanel.stats()
    assert stats["max_attempts_in_window"] <= 12
    (statuses,) = stats["requests_by_endpoint"].values()
    assert set(statuses) == {"200"}
    assert 40 <= statuses["200"] < 40 + lanes
    assert stats["events_distinct"] == 400
    assert ran.totals == [Totals(read=400, accepted=400, failed=0, requests=statuses["200"])]


@IN_ONE_PROCESS
def test_the_quota_is_one_for_all_windows(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.settings(quota="10/1s")
    source = stamped(*((n * 7, each) for n, each in enumerate(RECORDS[:250])))
    sink = write(mixpanel, quota="10/1s", limits=TEN)
    runner.run(source, sink, beam.Map(same), beam.WindowInto(FixedWindows(60)))
    assert mixpanel.stats()["max_attempts_in_window"] <= 10
    assert mixpanel.stats()["requests_by_endpoint"] == {"/import": {"200": 25}}


def test_faults_delay_and_lose_nothing(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.faults(
        [
            {"kind": "rate_limit", "retry_after": "1", "times": 2, "skip": 3},
            {"kind": "status", "status": 503, "times": 3, "skip": 7},
            {"kind": "reset", "stored": True, "times": 1, "skip": 12},
        ]
    )
    ran = runner.run(RECORDS, write(mixpanel, limits=TEN), beam.Reshuffle())
    assert ran.failed == []
    assert sorted(mixpanel.insert_ids()) == sorted(each["id"] for each in RECORDS)
    assert sum(out.value.attempts - 1 for out in ran.receipts) == 6
    if runner.name != "prism":  # which may drop what a bundle adds to a new counter
        assert ran.counters["retries"] == 6
    assert ran.totals == [Totals(read=400, accepted=400, failed=0, requests=46)]


def test_an_endpoint_that_is_down_stops_the_job(mixpanel: Emulator, runner: Runner) -> None:
    mixpanel.faults([{"kind": "status", "status": 503, "times": 10_000, "skip": 5}])
    retry = RetryPolicy(transient_seconds=0.1, first_wait=0.02, longest_wait=0.05)
    with pytest.raises(JobFailed, match=r"accepted none of the last \d+ batches"):
        runner.run(RECORDS, write(mixpanel, limits=TEN, retry=retry))


def test_a_secret_that_is_not_there(
    mixpanel: Emulator, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_API_SECRET")
    with pytest.raises(JobFailed, match="the environment variable TEST_API_SECRET is not set"):
        runner.run([record(0)], write(mixpanel))
    assert mixpanel.stats()["requests"] == 0


def poison(element: dict[str, Any]) -> dict[str, Any]:
    if element["id"] == "id-390":
        raise RuntimeError("poison")
    return element


@IN_ONE_PROCESS
def test_a_bundle_that_fails_fails_the_job_and_its_repetition_doubles_nothing(
    mixpanel: Emulator, runner: Runner
) -> None:
    sink = write(mixpanel, limits=TEN, retry=FAST)
    with pytest.raises(Exception, match="poison"):
        runner.run(RECORDS, sink, beam.Map(poison))
    ran = runner.run(RECORDS, sink)
    assert ran.totals[-1].accepted == 400
    assert sorted(mixpanel.insert_ids()) == sorted(each["id"] for each in RECORDS)


@IN_ONE_PROCESS
def test_a_stream_flushes_in_time_and_once(mixpanel: Emulator, runner: Runner) -> None:
    stream = (
        Script()
        .add_elements(stamped(*((5, each) for each in RECORDS[:25])))
        .advance_processing_time(2_000_000_000)  # past the clock's time, from 1970 on
        .add_elements(stamped(*((70, each) for each in RECORDS[25:28])))
        .advance_watermark_to(200)
        .advance_processing_time(100)
        .add_elements(stamped((300, RECORDS[28])))
        .advance_watermark_to_infinity()
    )
    sink = write(mixpanel, limits=TEN, max_latency=60)
    ran = runner.run(stream, sink, beam.WindowInto(FixedWindows(60)), streaming=True)
    assert sorted(mixpanel.insert_ids()) == sorted(each["id"] for each in RECORDS[:29])
    assert sum(out.value.accepted for out in ran.receipts) == 29
    assert {out.window for out in ran.receipts} == {(0, 60), (60, 120), (300, 360)}
    assert mixpanel.stats()["requests"] == len(ran.receipts)


@IN_ONE_PROCESS
def test_the_accounting_must_balance(mixpanel: Emulator, runner: Runner) -> None:
    class Wrong(beam.PTransform):
        def expand(self, records: Any) -> Any:
            result = records | write(mixpanel, check_accounting=False)
            return result._replace(read=result.read | beam.FlatMap(lambda n: [n, n]))

    with pytest.raises(JobFailed, match="The accounting does not balance"):
        runner.run([record(0)], Wrong())


@IN_ONE_PROCESS
def test_a_write_accounts_for_its_records_by_itself(mixpanel: Emulator, runner: Runner) -> None:
    def build(pipeline: Any) -> None:
        result = pipeline | beam.Create(RECORDS[:20]) | write(mixpanel, limits=TEN)
        runner.keep("totals", result.totals)
        runner.keep("same", result | CheckAccounting())

    runner.build_and_run(build)
    (totals,) = runner.read("totals", Totals._make)
    assert totals.value == Totals(read=20, accepted=20, failed=0, requests=2)
    assert [out.value for out in runner.read("same", Totals._make)] == [totals.value]


@pytest.mark.parametrize(
    ("runner", "accepted"),
    [("direct", 0), ("direct", 1), ("prism", 0), ("prism", 1), ("processes", 1)],
    indirect=["runner"],
)
def test_a_pipeline_that_must_not_lose_a_record_fails_at_its_end(
    mixpanel: Emulator, runner: Runner, accepted: int
) -> None:
    records = [record(7, user="null"), *RECORDS[:accepted]]
    with pytest.raises(JobFailed, match=f"1 of {1 + accepted} records? failed"):
        runner.run(records, write(mixpanel, on_failure="fail"))
    assert len(mixpanel.insert_ids()) == accepted, "what is good was sent"


@IN_ONE_PROCESS
def test_without_records_none_is_lost(mixpanel: Emulator, runner: Runner) -> None:
    assert runner.run([], write(mixpanel, on_failure="fail")).totals == [Totals()]
