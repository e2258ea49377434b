"""What a running job holds of the sink: names, state, timers, coders, stored bytes.

A Dataflow job that is updated keeps its state only where these stay as they are. After a change
that is meant (docs/upgrade.md says what it costs), generate the list again:

    python -m tests.contract.describe
"""

from __future__ import annotations

import base64
import json
import pathlib
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.internal import pickler
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.testing.test_stream import TestStream

from mixpanel_sink import (
    EventMapping,
    GroupMapping,
    ProfileMapping,
    Project,
    ProjectToken,
    Quota,
    WriteGroupsToMixpanel,
    WriteProfilesToMixpanel,
    WriteToMixpanel,
)
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.results import FailedRecord, ReadCount, Receipt
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.settings.retry import RetryPolicy

STORED = pathlib.Path(__file__).parent / "stored.json"
PARDO = "beam:transform:pardo:v1"
TOKEN = ProjectToken("env:TOKEN")
EVENTS = EventMapping(event="name", distinct_id="user", time="at")
CHUNK = EventChunk.of(
    [b'{"event":"A"}', b'{"event":"B"}'],
    [
        Run(1, 1_704_067_200_000_000, ("01",), "a.parquet", 7),
        Run(1, 1_704_067_200_000_001, ("01",)),
    ],
)


def writes() -> dict[str, tuple[beam.PTransform, bool]]:
    """Each of the sink's graphs: the transform, and whether its input is unbounded."""
    quota = Quota.parse("60/hour")
    projects = {"a": Project(TOKEN), "b": Project(TOKEN, "eu")}
    return {
        "events": (WriteToMixpanel(EVENTS, TOKEN, quota=quota), False),
        "events, streaming": (WriteToMixpanel(EVENTS, TOKEN, max_latency=10), True),
        "events, several projects": (
            WriteToMixpanel(EVENTS, projects=projects, destination="project"),
            False,
        ),
        "profiles": (WriteProfilesToMixpanel(ProfileMapping(distinct_id="user"), TOKEN), False),
        "groups": (
            WriteGroupsToMixpanel(GroupMapping(group_key="company", group_id="id"), TOKEN),
            False,
        ),
    }


def graph(write: beam.PTransform, unbounded: bool) -> dict[str, Any]:
    """A graph's steps with their outputs, state and timers."""
    pipeline = beam.Pipeline()
    source = TestStream() if unbounded else beam.Create([{}])
    _ = pipeline | source | "Write" >> write
    proto = pipeline.to_runner_api()
    return {
        name: _step(proto, step)
        for name, step in sorted((t.unique_name, t) for t in proto.components.transforms.values())
        if name == "Write" or name.startswith("Write/")
    }


def _step(proto: Any, step: Any) -> dict[str, Any]:
    outputs = {
        tag: _coder(proto, proto.components.pcollections[id].coder_id)
        for tag, id in sorted(step.outputs.items())
    }
    described: dict[str, Any] = {"is": step.spec.urn, "outputs": outputs}
    if step.spec.urn == PARDO:
        payload = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
        described["made by"] = _made_by(payload.do_fn)
        described["state"] = {
            name: _state(proto, s) for name, s in sorted(payload.state_specs.items())
        }
        described["timers"] = {
            name: [
                beam_runner_api_pb2.TimeDomain.Enum.Name(spec.time_domain),
                _coder(proto, spec.timer_family_coder_id),
            ]
            for name, spec in sorted(payload.timer_family_specs.items())
        }
    return described


def _path(named: Any) -> str:
    """Where pickles find a class or function of the sink's."""
    own = named.__module__.startswith("mixpanel_sink")
    return f"{named.__module__}.{named.__qualname__}" if own else named.__name__


def _made_by(spec: Any) -> str:
    """The class or function of a step, by which workers of an updated job unpickle it."""
    if not spec.payload:  # one of Beam's own, known by name
        return str(spec.urn)
    fn = pickler.loads(spec.payload)[0]
    maker = fn.__reduce_ex__(2)[0]
    return _path(maker if maker.__module__.startswith("mixpanel_sink") else type(fn))


def _state(proto: Any, spec: Any) -> list[str]:
    kind = spec.WhichOneof("spec")
    chosen = getattr(spec, kind)
    return [kind, _coder(proto, getattr(chosen, "coder_id", "") or chosen.element_coder_id)]


def _coder(proto: Any, coder_id: str) -> str:
    coder = proto.components.coders[coder_id]
    name = coder.spec.urn.removeprefix("beam:coder:").removesuffix(":v1")
    if name == "pickled_python":
        made = pickler.loads(coder.spec.payload.partition(b"$")[2], use_zlib=True)
        kind = getattr(made, "_kind", None)
        name = _path(type(made)) + (f"[{_path(kind)}]" if kind else "")
    parts = ", ".join(_coder(proto, part) for part in coder.component_coder_ids)
    return f"{name}({parts})" if parts else name


def results() -> dict[str, list[str]]:
    """Fields in their order, by which the results' coder knows them."""
    return {kind.__name__: list(kind._fields) for kind in (FailedRecord, ReadCount, Receipt)}


def lane_state() -> dict[str, Any]:
    """A lane's state, with what differs from process to process made equal."""
    lane = Lane(Quota.parse("60/hour"), 4, "test", RetryPolicy(), lambda: 1_700_000_000.0)
    lane.remember(1_699_999_990.0)
    state = orjson.loads(lane.snapshot())
    for named in ("by", "seen"):
        state[named] = {"process": state[named].pop(state["of"])}
    return {**state, "of": "process"}


def contract() -> dict[str, Any]:
    """All of it."""
    return {
        "graphs": {name: graph(write, unbounded) for name, (write, unbounded) in writes().items()},
        "results": results(),
        "lane state": lane_state(),
        "chunk": base64.b64encode(CHUNK.to_bytes()).decode(),
    }


if __name__ == "__main__":
    STORED.write_text(json.dumps(contract(), indent=1) + "\n")
    print(f"Written: {STORED.name}. Its diff is what an update of a running job has to bear.")
