"""An update of a stream's graph with state in it: today's code takes up what the old one left.

No runner that can be had here updates a running job, so each half of it is tested: that the names
by which a runner finds the state stay, and that the new code goes on from the old bytes.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import apache_beam as beam
import orjson
import pytest
from apache_beam.testing.test_stream import TestStream as Script

from mixpanel_sink import Limits, Privacy, RetryPolicy, WriteToMixpanel
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.emulator.testing import Emulator
from tests.contract import describe
from tests.streaming.test_backlog import Stream, chunk
from tests.write.test_write import write

STORED: dict[str, Any] = json.loads(describe.STORED.read_text())
SEND = "Write/Send/ParDo(SendChunksWithin)"
CHANGES: dict[str, dict[str, Any]] = {
    "quota": {"quota": "100/hour"},
    "a quota with two rates": {"quota": "reference"},
    "lanes": {"lanes": 4},
    "max_latency": {"max_latency": 60},
    "max_in_flight": {"max_in_flight": 1},
    "limits": {"limits": Limits(batch_events=100)},
    "retry": {"retry": RetryPolicy(transient_seconds=1)},
    "privacy": {"privacy": Privacy(drop=["email"])},
    "on_failure": {"on_failure": "dead_letter", "check_accounting": False},
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_option_leaves_the_names_of_state_and_timers(change: str) -> None:
    options = {"max_latency": 10, **CHANGES[change]}
    made = describe.graph(WriteToMixpanel(describe.EVENTS, describe.TOKEN, **options), True)
    assert made == STORED["graphs"]["events, streaming"]


def test_another_sink_leaves_the_names_of_the_first() -> None:
    """Whether it is added before or behind, and whatever is done to the results."""
    pipeline = beam.Pipeline()
    records = pipeline | Script()
    sinks = [WriteToMixpanel(describe.EVENTS, describe.TOKEN, max_latency=10) for _ in range(3)]
    for label, sink in zip(("Before", "Write", "Behind"), sinks, strict=True):
        result = records | label >> sink
        _ = result.failed | f"See {label}" >> beam.Map(str)
    proto = pipeline.to_runner_api()
    steps = {step.unique_name: step for step in proto.components.transforms.values()}
    for name, stored in STORED["graphs"]["events, streaming"].items():
        assert describe._step(proto, steps[name]) == stored


def test_new_code_sends_what_the_old_one_kept(mixpanel: Emulator) -> None:
    """Chunks and the lane's state as they are stored in the contract, and a partial chunk of now:
    the end of a drained or an updated stream sends all of it."""
    stream = Stream(write(mixpanel, quota="60/hour", max_latency=60))
    # Its window is in no window coder's form: the global one, in as many bytes.
    old = base64.b64decode(STORED["chunk"]).replace(b'"01"', b'""  ')
    partial = chunk(0, 7)
    for data in (old, partial.to_bytes()):
        stream.kept["tails"].add(data)
    counts = [EventChunk.from_bytes(old), partial]
    stream.kept["size"].write(
        (sum(each.count for each in counts), sum(each.raw_bytes for each in counts), 0)
    )
    stream.kept["lane"].write(orjson.dumps(STORED["lane state"]))
    stream.fn.start_bundle()
    names = ("tails", "size", "lane")
    outputs = list(stream.fn.on_flush(stream.key, **{name: stream.kept[name] for name in names}))
    outputs += stream.fn.finish_bundle()
    stream.fn.teardown()
    assert sorted(mixpanel.insert_ids()) == sorted(f"id-{n}" for n in range(7))
    # The old chunk's two events name no user and no time: Mixpanel refuses them, by their names.
    failed = [each.value.value for each in outputs if isinstance(each, beam.pvalue.TaggedOutput)]
    assert sorted(each.event["event"] for each in failed) == ["A", "B"]
    assert mixpanel.stats()["requests"] >= 1
    assert stream.kept["tails"].values == stream.kept["size"].values == []
