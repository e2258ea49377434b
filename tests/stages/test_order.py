"""Updates keep their order where a runner begins with the rest of a bundle too early."""

from __future__ import annotations

from typing import Any

import orjson
from apache_beam.transforms.window import GlobalWindow

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.emulator.testing import Emulator
from tests.conftest import TOKEN
from tests.streaming.test_backlog import Stream
from tests.write.test_write_profiles import kept, profiles


def updates(first: int) -> EventChunk:
    made = [
        orjson.dumps({"$distinct_id": "u", "$set": {"n": n}, "$token": TOKEN})
        for n in range(first, first + 10)
    ]
    return EventChunk.of(made, [Run(len(made), 0, ("",))])


def test_two_parts_of_a_bundle_that_run_at_once(mixpanel: Emulator) -> None:
    """As Prism does it: both have the same key, and the second begins when the first has taken its
    elements and still sends."""
    mixpanel.settings(latency_ms=50)
    sink = profiles(mixpanel, lanes=1, quota="none", max_latency=60, limits=Limits(batch_events=10))
    before = Stream(sink)
    before.bundle(updates(-10))  # the endpoint has taken a first request
    parts = [Stream(sink), Stream(sink)]
    chunks = [updates(10 * number) for number in range(8)]
    outputs: list[Any] = []
    for part, mine in zip(parts, (chunks[:5], chunks[5:]), strict=True):
        part.fn.start_bundle()
        for chunk in mine:
            element = (part.key, chunk.to_bytes())
            outputs += part.fn.process(element, **part.kept, window=GlobalWindow())
    for part in reversed(parts):
        outputs += part.fn.finish_bundle()
    for part in [before, *parts]:
        part.fn.teardown()
    assert kept(mixpanel)["u"] == {"n": 79}
    assert sum(each.value.accepted for each in outputs) == 80
    assert mixpanel.stats()["requests"] == 9
