"""The proof shapes records by itself, and comes to what the import makes of them."""

from __future__ import annotations

import collections
import datetime
import time
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest

from mixpanel_sink import EventMapping, Privacy, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.inspect.verify.events import Event, exported_event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.match import match
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.stages.local import convert_tables

AT = 1_704_067_200_000
DAY = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456)
PAIRS = [
    [{"key": "page", "value": {"string_value": "/a", "int_value": None}}],
    [{"key": "n", "value": {"string_value": None, "int_value": 7}}],
    [],
    None,
]
TABLE = pa.table(
    {
        "name": ["View", "Order", "View", "Order"],
        "user": ["u1", "u2", "u3", "u4"],
        "at": [AT, AT + 1, AT + 2, AT + 3],
        "payload": ['{"plan": "pro", "n": 9007199254740993}', '{"o": {"a": [1]}}', None, "[1]"],
        "params": PAIRS,
        "struct": [{"a": 1, "b": "x"}, None, {"a": 3, "b": None}, {"a": 4, "b": "y"}],
        "tags": ["a,b,c", "", None, "d"],
        "number": ["1", " 2 ", "x", None],
        "amount": pa.array([Decimal("1.50"), None, Decimal("3.75"), Decimal("0.25")]),
        "flag": ["yes", "No", "1", None],
        "when": ["2024-05-06T07:08:09Z", "2024-05-06 09:08:09.5+02:00", "2024-05-06", None],
        "moment": pa.array([DAY, None, DAY, DAY], pa.timestamp("us")),
    }
)
SHAPES: dict[str, Any] = {
    "json": {"json": ["payload"]},
    "json with a prefix": {"json": {"payload": "p_"}},
    "flatten": {"flatten": ["params", "struct"]},
    "flatten with a prefix": {"flatten": {"struct": "s."}},
    "split to a list": {"split": {"tags": ","}},
    "split to columns": {"split": {"tags": {"by": ",", "into": ["first", "rest"]}}},
    "cast": {"cast": {"flag": "boolean", "when": "time", "amount": "text"}},
    "cast what fails": {"cast": {"number": "integer"}},
    "cast to a number": {"cast": {"amount": "number", "number": "number"}},
    "defaults": {"defaults": {"flag": "none", "country": "AT"}},
    "where": {"where": "name = 'View' AND at > 1704067200000"},
    "where on what was made": {"flatten": ["struct"], "where": "a >= 3"},
    "where on a null": {"where": "amount > 0.5"},
    "sample": {"sample": {"column": "user", "percent": 50}},
    "drop and rename": {"drop": ["pay*", "moment"], "rename": {"(n)umber": "\\1r"}},
    "a key that another record's JSON made": {"json": ["payload"], "flatten": ["params"]},
    "all": {
        "json": ["payload"],
        "flatten": {"params": "param_"},
        "split": {"tags": {"by": ",", "into": ["first", "rest"]}},
        "cast": {"flag": "boolean"},
        "defaults": {"plan": "free"},
        "where": "plan = 'free' OR plan = 'pro'",
        "drop": ["struct"],
        "rename": {"number": "no"},
    },
}


@pytest.mark.parametrize("insert_id", [None, ["user", "flag"]])
@pytest.mark.parametrize("privacy", [None, Privacy(drop=["moment"], hash=["flag", "user"])])
@pytest.mark.parametrize("name", SHAPES)
def test_each_step(name: str, privacy: Privacy | None, insert_id: Any) -> None:
    mapping = EventMapping(
        event="name",
        distinct_id="user",
        time=TimeColumn("at", "ms"),
        insert_id=insert_id,
        shape=SHAPES[name],
    )
    sent, failed = [], collections.Counter[str]()
    for output in convert_tables([TABLE], mapping, privacy=privacy):
        if isinstance(output, FailedRecord):
            failed[output.reason] += 1
        else:
            sent += [exported_event(orjson.loads(event)) for event in output.events()]
    now = int(time.time() * 1000)
    ours = list(Expectation(mapping, Limits(), privacy, None, now).of([TABLE]))
    events = [each for each in ours if isinstance(each, Event)]
    refused = collections.Counter(each.reason for each in ours if isinstance(each, FailedRecord))
    findings = list(match([e.to_line() for e in events], [e.to_line() for e in sent]))
    assert [finding.kind for finding in findings] == ["equal"] * len(sent), findings
    assert refused == failed
    assert len(sent) + failed.total() <= len(TABLE)
