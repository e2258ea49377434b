"""Results as Beam carries them, and failed records as lines of JSON and back."""

from __future__ import annotations

import datetime
import decimal
import json
import unittest.mock
from typing import Any

import pytest
from apache_beam import coders

import mixpanel_sink.write  # noqa: F401  (registers the coders)
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.results.shown import record_as_json

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
    insert_id="id-1",
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
    assert line["insert_id"] == "id-1"
    assert "field" not in json.loads(FailedRecord("x", "y").to_json())


@pytest.mark.parametrize("failed", [FULL, FailedRecord("x", "y"), FULL._replace(event_json=None)])
def test_a_line_gives_the_failed_record_back(failed: FailedRecord) -> None:
    again = FailedRecord.from_json(failed.to_json().encode())
    assert again.to_json() == failed.to_json()
    assert again._replace(event_json=None, record_json=None) == failed._replace(
        event_json=None, record_json=None
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "not valid JSON"),
        ('{"reason": "x", "mess', "incomplete"),
        ("[1]", 'no "reason"'),
        ('{"event": {}}', 'no "reason"'),
        ('{"reason": 3}', 'no "reason"'),
        ('{"reason": "x", "row": "7"}', '"row" is a str'),
        ('{"reason": "x", "row": true}', '"row" is a bool'),
        ('{"reason": "x", "insert_id": 7}', '"insert_id" is an int'),
        ("[" * 100_000, "nests too deep"),
    ],
)
def test_a_line_that_is_no_failed_record(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        FailedRecord.from_json(line)


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"a": 1}, {"a": 1}),
        ({1: "x"}, {"1": "x"}),
        ({"t": datetime.date(2024, 1, 2)}, {"t": "2024-01-02"}),
        (
            {"t": datetime.datetime(2024, 1, 2, 3, tzinfo=datetime.timezone.utc)},
            {"t": "2024-01-02T03:00:00Z"},
        ),
        ({"n": float("nan")}, {"n": {"$not_json": "non_finite_number", "like": None}}),
        (
            {"n": [1.0, float("inf")]},
            {"n": {"$not_json": "non_finite_number", "like": [1.0, None]}},
        ),
        (
            {"d": decimal.Decimal("1" * 400 + ".5")},
            {"d": {"$not_json": "number_too_large", "like": float("1" * 400)}},
        ),
        ({"deep": {"a": {"b": {"c": 1}}}}, {"deep": {"a": {"b": {"c": 1}}}}),
        (
            {"event": "e", "properties": {"x": 1, "n": float("nan")}},
            {
                "event": "e",
                "properties": {"x": 1, "n": {"$not_json": "non_finite_number", "like": None}},
            },
        ),
        ({"d": decimal.Decimal("1e30")}, {"d": 10**30}),
        ({"d": decimal.Decimal("1.10")}, {"d": 1.1}),
        ({"b": b"\x00\xff"}, {"b": "AP8="}),
        ({"d": datetime.timedelta(seconds=90)}, {"d": 90}),
        ({"s": {1}}, {"s": [1]}),
        ({"half": "\ud800"}, {"half": "\ud800"}),
        ({"big": 2**80}, {"big": 2**80}),
    ],
)
def test_any_record_as_json(record: Any, text: Any) -> None:
    assert json.loads(record_as_json(record)) == text


class Hostile:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", [Hostile(), unittest.mock.Mock(), (i for i in "a")])
def test_a_value_that_cannot_be_shown_costs_no_other(value: Any) -> None:
    record = json.loads(record_as_json({"a": 1, "b": value, "c": [value]}))
    assert record["a"] == 1
    assert record["b"]["$not_json"] == "unsupported_type"
    assert isinstance(json.loads(record_as_json({Hostile(): 1})), str | dict)
    assert json.loads(record_as_json(Hostile())) == "(Hostile that cannot be shown)"


def test_a_record_without_an_end() -> None:
    record: dict[str, Any] = {}
    record["self"] = record
    assert isinstance(json.loads(record_as_json(record)), str)
