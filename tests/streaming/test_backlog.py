"""A stream whose quota is used up: bundles stay short, what waits is in the state and fills up."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import orjson
import pytest
from apache_beam.coders.coders import GlobalWindowCoder
from apache_beam.transforms.window import GlobalWindow

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.stages import send, send_steps
from mixpanel_sink.stages.outputs import lane_key
from mixpanel_sink.write import MixpanelWrite
from tests.write.test_write import NOW_MS, write


class State:
    """One value or a bag, as a runner keeps it for a key."""

    def __init__(self, bag: bool = False) -> None:
        self.values: list[Any] = []
        self._bag = bag

    def read(self) -> Any:
        return list(self.values) if self._bag else (self.values or [None])[0]

    def add(self, value: Any) -> None:
        self.values.append(value)

    def write(self, value: Any) -> None:
        self.values = [value]

    def clear(self) -> None:
        self.values = []


class Timer:
    """What a runner knows of a timer."""

    def __init__(self) -> None:
        self.at: float | None = None

    def set(self, at: Any) -> None:
        self.at = float(at)

    def clear(self) -> None:
        self.at = None


class Stream:
    """Runs Send's own methods, bundle by bundle, and keeps what a runner would."""

    def __init__(self, sink: MixpanelWrite) -> None:
        job = dataclasses.replace(sink._job, window_coder=GlobalWindowCoder())
        self.fn = send_steps.send_chunks(job, "test", within=True)
        self.fn.setup()
        self.key = lane_key(job.targets[0].name, job.endpoint, 0)
        self.kept: dict[str, Any] = {
            "tails": State(bag=True), "size": State(), "lane": State(), "due": State(),
            "flush": Timer(), "latency": Timer(),
        }  # fmt: skip
        self.accepted = 0
        self.longest = 0.0

    def bundle(self, *chunks: EventChunk, timer: bool = False) -> None:
        begun = time.monotonic()
        self.fn.start_bundle()
        outputs = []
        if timer:
            self.kept["latency"].at = None
            outputs += list(self.fn.on_latency(self.key, **self.kept))
        for chunk in chunks:
            element = (self.key, chunk.to_bytes())
            outputs += list(self.fn.process(element, **self.kept, window=GlobalWindow()))
        outputs += list(self.fn.finish_bundle())
        self.accepted += sum(each.value.accepted for each in outputs)
        self.longest = max(self.longest, time.monotonic() - begun)

    def wait_for_timer(self) -> None:
        at = self.kept["latency"].at
        assert at is not None
        time.sleep(max(0.0, at - time.time()))
        self.bundle(timer=True)

    @property
    def waiting(self) -> int:
        return sum(EventChunk.from_bytes(each).count for each in self.kept["tails"].values)


def chunk(first: int, count: int) -> EventChunk:
    events = [
        orjson.dumps(
            {
                "event": "A",
                "properties": {"distinct_id": f"u{n}", "time": NOW_MS, "$insert_id": f"id-{n}"},
            }
        )
        for n in range(first, first + count)
    ]
    return EventChunk.of(events, [Run(count, 0, ("",))])


@pytest.fixture
def stream(mixpanel: Emulator, request: pytest.FixtureRequest) -> Any:
    quota, size = request.param
    limits = Limits(batch_events=size)
    made = Stream(write(mixpanel, quota=quota, max_latency=0.2, limits=limits))
    yield made
    made.fn.teardown()


@pytest.mark.parametrize("stream", [("2/hour", 10)], indirect=True)
def test_what_must_wait_for_an_hour_waits_in_the_state(stream: Stream) -> None:
    for number in range(12):
        stream.bundle(chunk(number * 10, 10))
    assert stream.accepted == 20
    assert stream.waiting == 100
    assert stream.longest < 10
    left = stream.kept["latency"].at - time.time()
    assert 3500 < left < 3700, "the timer is set for when the quota frees"
    assert stream.kept["flush"].at is not None, "the end of the stream flushes it"


@pytest.mark.parametrize("stream", [("2/2s", 10)], indirect=True)
def test_partial_chunks_fill_up_while_they_wait(
    stream: Stream, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sixty events, five at a time: six requests are enough."""
    mixpanel.settings(quota="2/2s")
    monkeypatch.setattr(send, "LONGEST_BUNDLE", 0.0)
    monkeypatch.setattr(send, "SHORT_WAIT", 0.0)
    for number in range(12):
        stream.bundle(chunk(number * 5, 5))
        if stream.kept["latency"].at is not None and stream.kept["latency"].at <= time.time():
            stream.bundle(timer=True)
    while stream.kept["latency"].at is not None:
        stream.wait_for_timer()
        if not stream.waiting:
            break
    assert stream.accepted == 60
    stats = mixpanel.stats()
    assert stats["events_distinct"] == 60
    assert stats["requests_by_endpoint"] == {"/import": {"200": 6}}
    assert stream.longest < 2
    assert stream.kept["flush"].at is None


@pytest.mark.parametrize("stream", [("2/3s", 10)], indirect=True)
def test_a_backlog_that_is_too_large_blocks(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send, "LONGEST_BUNDLE", 0.0)
    monkeypatch.setattr(send, "BACKLOG_BYTES", 2 * chunk(0, 10).raw_bytes)
    for number in range(5):
        stream.bundle(chunk(number * 10, 10))
    assert stream.waiting <= 20
    assert stream.longest > 2
