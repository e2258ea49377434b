"""Records that are Mixpanel events already: the proof and the encoders agree about each."""

from __future__ import annotations

import collections
import json
import pathlib
import time
from typing import Any

import orjson
import pytest

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.inspect.verify.events import Event, exported_event
from mixpanel_sink.inspect.verify.match import match
from mixpanel_sink.inspect.verify.raw import RawExpectation
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.json_lines import JsonLines
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.stages.local import convert_tables

T = 1_700_000_000


def event(**properties: Any) -> dict[str, Any]:
    return {"event": "Buy", "properties": {"distinct_id": "u1", "time": T, **properties}}


def with_id(insert_id: Any, **properties: Any) -> dict[str, Any]:
    return event(**{"$insert_id": insert_id}, **properties)


def other(name: Any, **more: Any) -> dict[str, Any]:
    return {"event": name, "properties": {"distinct_id": "u1", "time": T, **more}}


RECORDS: dict[str, list[Any]] = {
    "some have an id": [event(a=1), event(a=2), with_id("x1")],
    "ids of all kinds": [
        *(with_id(each) for each in ["a_b c", 12, "", "null", "x" * 40, 1.5, True, None])
    ],
    "seconds and milliseconds": [
        *(event(time=each) for each in [T, T * 1000 + 123, T + 0.123, T + 0.0005, T * 1000 + 0.5]),
        *(event(time=each) for each in ["1700000000", None, True, T * 10**6, 0]),
    ],
    "properties named like parts": [event(event="z", properties={"a": 1}), event(time_zone="x")],
    "keys beside": [{**event(), "extra": 1}, {"event": "A"}, {"properties": {}}, other(1)],
    "names": [other(""), other("x" * 256), other("\u00e9" * 127), {"event": "A", "properties": []}],
    "users": [event(distinct_id=each) for each in [12, "", "null", None, 1.5, "x" * 256]],
    "devices": [event(**{"$device_id": 12, "$user_id": True}), event(**{"$device_id": "d"})],
    "nulls": [event(a=None, b={"c": None}, d=[None], e=[], f={})],
    "what Mixpanel added": [
        event(mp_lib="web", mp_processing_time_ms=1, **{"$import": True, "$city": "B"})
    ],
    "addresses and tokens": [event(ip=each, token="t") for each in ["1.2.3.4", "", None, 5]],
    "identity": [
        other("$identify", **{"$identified_id": "u1", "$anon_id": "a"}),
        {"event": "$identify", "properties": {"$identified_id": "u", "$anon_id": "a", "time": T}},
        *(other(name) for name in ("$identify", "$create_alias", "$merge")),
        other("$create_alias", alias="b"),
        other("$merge", **{"$distinct_ids": ["a", "b"]}),
    ],
    "dropped": [event(**{"$ignore": True}), event(**{"$ignore": False}), event(bucket=1)],
    "limits": [
        event(a={"b": {"c": {"d": 1}}}),
        *(event(a=each) for each in [[1] * 255, 2**70, "x" * 300, ["x" * 9000]]),
        event(**{f"p{i}": i for i in range(255)}),
    ],
}


@pytest.mark.parametrize("privacy", [None, Privacy(drop=["a"], hash=["c", "distinct_id"])])
@pytest.mark.parametrize("token", [None, "t" * 32])
@pytest.mark.parametrize("name", RECORDS)
def test_the_proof_and_the_encoders_agree(
    name: str, token: str | None, privacy: Privacy | None, tmp_path: pathlib.Path
) -> None:
    text = "\n".join(map(json.dumps, RECORDS[name]))
    (tmp_path / "a.jsonl").write_text(text)
    elements = list(FileSource(str(tmp_path), JsonLines()).elements())
    sent: list[Any] = []
    failed = collections.Counter[str]()
    for output in convert_tables(elements, None, token=token, privacy=privacy):  # type: ignore[arg-type]
        if isinstance(output, FailedRecord):
            failed[output.reason] += 1
        else:
            sent += [exported_event(orjson.loads(one)) for one in output.events()]
    expectation = RawExpectation(Limits(), privacy, token, int(time.time() * 1000))
    expected = list(expectation.of(elements))
    assert collections.Counter(e.reason for e in expected if isinstance(e, FailedRecord)) == failed
    events = [each.to_line() for each in expected if isinstance(each, Event)]
    found = list(match(events, [each.to_line() for each in sent]))
    assert [(one.kind, one.differences) for one in found if one.kind != "equal"] == []
    assert sum(1 + one.repeats for one in found) == len(sent)
    assert len(sent) + failed.total() == len(RECORDS[name])
