from __future__ import annotations

import datetime
import decimal
import json
from typing import Any

import pytest
from apache_beam import coders

import mixpanel_sink.write  # noqa: F401  (registers the coders)
from mixpanel_sink.results import FailedRecord, Receipt, record_as_json

FULL = FailedRecord(
    reason="refused",
    message="bad",
    field="time",
    destination="host",
    event_json='{"event":"a","properties":{}}',
    record_json='{"a":[1,null]}',
    file="f.parquet",
    row=7,
    http_status=400,
    attempts=2,
)


@pytest.mark.parametrize(
    "value",
    [
        FULL,
        FailedRecord("distinct_id_null", "null"),
        Receipt("host", 0, 1, 2, 3, 4, 5, 200, 1.5, 0.25),
    ],
)
def test_results_have_a_coder_of_their_own(value: Any) -> None:
    coder = coders.registry.get_coder(type(value))
    assert not isinstance(coder, coders.PickleCoder | coders.FastPrimitivesCoder)
    assert tuple(coder.decode(coder.encode(value))) == tuple(value)


def test_one_line_with_event_and_record_as_objects() -> None:
    line = json.loads(FULL.to_json())
    assert line["event"] == {"event": "a", "properties": {}}
    assert line["record"] == {"a": [1, None]}
    assert (line["file"], line["row"], line["http_status"], line["attempts"]) == (
        "f.parquet", 7, 400, 2,
    )  # fmt: skip
    assert "field" not in json.loads(FailedRecord("x", "y").to_json())


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"a": 1}, {"a": 1}),
        ({1: "x"}, {"1": "x"}),
        ({"t": datetime.date(2024, 1, 2)}, {"t": "2024-01-02"}),
        ({"d": decimal.Decimal("1.10")}, {"d": "1.10"}),
        ({"b": b"\x00\xff"}, {"b": "AP8="}),
        ({"d": datetime.timedelta(seconds=90)}, {"d": 90}),
        ({"s": {1}}, {"s": [1]}),
        ({"half": "\ud800"}, {"half": "\ud800"}),
        ({"big": 2**80}, {"big": 2**80}),
    ],
)
def test_any_record_as_json(record: Any, text: Any) -> None:
    assert json.loads(record_as_json(record)) == text


def test_a_record_without_an_end() -> None:
    record: dict[str, Any] = {}
    record["self"] = record
    assert isinstance(json.loads(record_as_json(record)), str)
