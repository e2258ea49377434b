"""What a stream promises: latency, windows, late data, one quota, draining, small state.

Time is the test's: a script of elements, watermarks and hours that pass.
"""

from __future__ import annotations

import time
import types
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct import clock as direct_clock
from apache_beam.testing.test_pipeline import TestPipeline as Checked
from apache_beam.testing.test_stream import TestStream as Script
from apache_beam.transforms.trigger import AccumulationMode, AfterWatermark
from apache_beam.transforms.window import FixedWindows, IntervalWindow, TimestampedValue
from apache_beam.utils.timestamp import Duration

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.stages import streaming
from mixpanel_sink.stages.send import SendChunks
from tests.write.test_write import Kept, record, write

LATENCY = 5
START = 1_704_067_200


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script's clock, by which Send sets its timers too."""
    clocks: list[Any] = []
    begin = direct_clock.TestClock.__init__

    def noted(self: Any, *given: Any) -> None:
        begin(self, *given)
        clocks.append(self)

    def now() -> float:
        return float(clocks[-1].time())

    monkeypatch.setattr(direct_clock.TestClock, "__init__", noted)
    monkeypatch.setattr(
        streaming, "time", types.SimpleNamespace(time=now, monotonic=time.monotonic)
    )
    return now


def stream(script: Any, sink: Any, *before: Any) -> tuple[Kept, Kept]:
    """Runs a script; gives the receipts and the failed records, with their windows."""
    receipts, failed = Kept(), Kept()
    with Checked(options=PipelineOptions(streaming=True)) as pipeline:
        records = pipeline | script
        for number, transform in enumerate(before):
            records |= f"Before {number}" >> transform
        result = records | sink
        _ = result.receipts | "Keep receipts" >> beam.Map(receipts)
        _ = result.failed | "Keep failed" >> beam.Map(failed)
    return receipts, failed


def rounds(count: int, size: int = 3, step: int = 1000) -> Any:
    """So many rounds of a few elements each, in windows of their own, with time between."""
    script = Script().advance_processing_time(START)
    for number in range(count):
        first = number * size
        script.add_elements(
            [TimestampedValue(record(n), number * 10) for n in range(first, first + size)]
        )
        script.advance_processing_time(step).advance_watermark_to(number * 10 + 9)
    return script.advance_watermark_to_infinity()


class TestLatency:
    def test_each_round_goes_out_once_its_time_is_up(self, mixpanel: Emulator) -> None:
        """No event waits for the next round, and none goes alone."""
        receipts, _ = stream(rounds(20), write(mixpanel, max_latency=LATENCY))
        assert [receipt.accepted for receipt in receipts.values] == [3] * 20
        assert mixpanel.stats()["requests"] == 20

    def test_no_event_waits_longer_and_those_that_wait_go_together(
        self, mixpanel: Emulator, clock: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[tuple[float, int]] = []
        submit = SendChunks._submit

        def noted(self: Any, state: Any, chunk: Any) -> None:
            sent.append((clock() - START, chunk.count))
            submit(self, state, chunk)

        monkeypatch.setattr(SendChunks, "_submit", noted)
        arrivals = [0, 1, 4, 6, 7, 20, 31, 32, 33, 34, 35, 36, 40]
        script = Script().advance_processing_time(START)
        for second in range(60):
            script.add_elements([record(n) for n, at in enumerate(arrivals) if at == second])
            script.advance_processing_time(1)
        receipts, _ = stream(
            script.advance_watermark_to_infinity(), write(mixpanel, max_latency=LATENCY)
        )
        assert [count for _, count in sent] == [3, 2, 1, 5, 2]
        assert [receipt.accepted for receipt in receipts.values] == [3, 2, 1, 5, 2]
        departures = [at for at, count in sent for _ in range(count)]
        waits = [left - came for came, left in zip(arrivals, departures, strict=True)]
        assert max(waits) <= LATENCY + 1, "a step of the script's clock is a second"

    def test_full_batches_do_not_wait(self, mixpanel: Emulator) -> None:
        script = Script().add_elements([record(n) for n in range(25)])
        script.advance_watermark_to(10).advance_watermark_to_infinity()
        limits = Limits(batch_events=10)
        receipts, _ = stream(script, write(mixpanel, max_latency=3600, limits=limits))
        assert sorted(receipt.accepted for receipt in receipts.values) == [5, 10, 10]

    def test_the_end_of_the_stream_flushes_what_waits(self, mixpanel: Emulator) -> None:
        """A drain ends the watermark long before max_latency is over."""
        script = Script().add_elements([record(n) for n in range(7)])
        receipts, _ = stream(
            script.advance_watermark_to_infinity(), write(mixpanel, max_latency=10**9)
        )
        assert [receipt.accepted for receipt in receipts.values] == [7]


class TestWindows:
    def test_results_are_in_the_windows_of_their_records(self, mixpanel: Emulator) -> None:
        receipts, _ = stream(
            rounds(6), write(mixpanel, max_latency=LATENCY), beam.WindowInto(FixedWindows(10))
        )
        windows = [window for _, _, window in receipts.rows[receipts.key]]
        assert windows == [IntervalWindow(n * 10, n * 10 + 10) for n in range(6)]
        assert mixpanel.stats()["events_distinct"] == 18

    def test_late_data_are_sent_and_failures_keep_their_window(self, mixpanel: Emulator) -> None:
        script = (
            Script()
            .advance_processing_time(START)
            .add_elements([TimestampedValue(record(0), 5)])
            .advance_watermark_to(100)
            .advance_processing_time(1000)
            .add_elements(
                [
                    TimestampedValue(record(1), 6),
                    TimestampedValue(record(2, user="null"), 7),
                    TimestampedValue(record(3), 105),
                ]
            )
            .advance_processing_time(1000)
            .advance_watermark_to_infinity()
        )
        windowed = beam.WindowInto(
            FixedWindows(10),
            trigger=AfterWatermark(),
            accumulation_mode=AccumulationMode.DISCARDING,
            allowed_lateness=Duration(seconds=1000),
        )
        receipts, failed = stream(script, write(mixpanel, max_latency=LATENCY), windowed)
        assert sorted(mixpanel.insert_ids()) == ["id-0", "id-1", "id-3"]
        assert [receipt.accepted for receipt in receipts.values] == [1, 2]
        ((failure, at, window),) = failed.rows[failed.key]
        assert (failure.reason, at, window) == ("distinct_id_reserved", 7, IntervalWindow(0, 10))

    @pytest.mark.parametrize("windows", [None, FixedWindows(10)])
    def test_the_quota_is_one_across_windows(self, mixpanel: Emulator, windows: Any) -> None:
        mixpanel.settings(quota="3/1s")
        before = [beam.WindowInto(windows)] if windows else []
        started = time.monotonic()
        stream(rounds(9), write(mixpanel, max_latency=LATENCY, quota="3/1s"), *before)
        stats = mixpanel.stats()
        assert stats["requests_by_endpoint"] == {"/import": {"200": 9}}, "no 429"
        assert stats["max_attempts_in_window"] <= 3
        assert time.monotonic() - started >= 2, "nine requests, three a second"


def test_state_does_not_grow(mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the size of all that the one key holds, after each chunk of many windows."""
    sizes: list[int] = []
    take = SendChunks._take

    def measured(self: Any, state: Any, chunk: Any, data: bytes) -> None:
        take(self, state, chunk, data)
        chunks, lane = sum(map(len, state.tails.read())), len(state.lane.read() or b"")
        sizes.append(chunks + lane + len(str(state.size.read())))

    monkeypatch.setattr(SendChunks, "_take", measured)
    # Two requests a window: more than a lane remembers one by one (256).
    stream(
        rounds(180),
        write(mixpanel, max_latency=LATENCY, quota="100000/hour", limits=Limits(batch_events=2)),
        beam.WindowInto(FixedWindows(10)),
    )
    stats = mixpanel.stats()
    assert (stats["events_distinct"], stats["requests"]) == (540, 360)
    early, late = max(sizes[-100:-60]), max(sizes[-40:])
    assert late <= early * 1.02, (early, late)
    assert late < 20_000
