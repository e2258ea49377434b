"""Raw events: what is checked, and what is completed."""

from typing import Any

import numpy as np
import orjson
import pytest

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.encode.event_tables import EventTables
from mixpanel_sink.encode.raw_events import RawEventEncoder
from tests.encode.encoding import (
    HALF,
    T,
    clock,
    error_of,
    properties_of,
)
from tests.encode.pandas_nulls import NULLS


def checked(event: Any, **settings: Any) -> dict[str, Any]:
    checker = RawEventEncoder(Limits(), clock=clock, **settings)
    return dict(orjson.loads(checker.encode(event).json))


def raw_event(**properties: Any) -> dict[str, Any]:
    return {"event": "E", "properties": {"distinct_id": "u", "time": T, **properties}}


@pytest.mark.parametrize(
    ("given", "ms"),
    [(T, T * 1000), (T + 0.25, T * 1000 + 250), (T * 1000, T * 1000), (np.int64(T), T * 1000)],
)
def test_raw_time_in_seconds_or_milliseconds(given: Any, ms: int) -> None:
    assert checked(raw_event(time=given))["properties"]["time"] == ms


def test_raw_time_as_a_float_keeps_its_milliseconds() -> None:
    """Alone and together: 269942876.437 * 1000 is a little less than it says."""
    for ms in [269_942_876_437, 1_088_339_002_554, T * 1000 + 1]:
        event = raw_event(time=ms / 1000)
        assert checked(event)["properties"]["time"] == ms
        encoder, table = EventTables(Limits(), clock=clock).table_of([event]) or (None, None)
        assert encoder is not None
        assert table.column("time").to_pylist() == [ms]


def test_raw_event_keeps_what_it_has() -> None:
    given = {"$insert_id": "id-1", "ip": "1.2.3.4", "$device_id": "d", "$user_id": "w", "$os": "x"}
    found = checked(raw_event(**given, a=None), token="tok")["properties"]
    assert given.items() <= found.items()
    assert "a" not in found
    assert found["token"] == "tok"


def test_raw_event_is_completed() -> None:
    found = checked(raw_event(p=1))["properties"]
    assert found["ip"] == "0"
    assert found["$insert_id"] == "5180b85c65e0b634939cbfbb71e82f9c"
    assert checked(raw_event(ip=None))["properties"]["ip"] == "0"
    assert "ip" not in checked(raw_event(), ip=None)["properties"]


def test_raw_odd_insert_id_is_hashed() -> None:
    for odd in ("order 12", "x" * 37):
        found = checked(raw_event(**{"$insert_id": odd}))["properties"]["$insert_id"]
        assert found == properties_of({"k": odd}, insert_id="k")["$insert_id"]


@pytest.mark.parametrize(
    ("event", "reason", "field"),
    [
        ({}, "not_an_event", "event"),
        ({"event": "E"}, "not_an_event", "properties"),
        ({"event": "E", "properties": []}, "not_an_event", "properties"),
        ({**raw_event(), "time": 5}, "not_an_event", "time"),
        ({**raw_event(), "event": ""}, "event_empty", "event"),
        ({**raw_event(), "event": 5}, "event_wrong_type", "event"),
        (raw_event(distinct_id=None), "distinct_id_null", "distinct_id"),
        (raw_event(distinct_id="NULL"), "distinct_id_reserved", "distinct_id"),
        (raw_event(distinct_id=1.5), "distinct_id_wrong_type", "distinct_id"),
        (raw_event(distinct_id=10**5000), "distinct_id_too_long", "distinct_id"),
        (raw_event(time=None), "time_null", "time"),
        (raw_event(time="2024-01-15"), "time_wrong_type", "time"),
        (raw_event(time=True), "time_wrong_type", "time"),
        (raw_event(time=5), "time_out_of_range", "time"),
        (raw_event(time=T * 10**6), "time_out_of_range", "time"),
        (raw_event(time=T * 10**9), "time_out_of_range", "time"),
        (raw_event(time=float("nan")), "time_out_of_range", "time"),
        (raw_event(time=float("inf")), "time_out_of_range", "time"),
        (raw_event(time=10**5000), "time_out_of_range", "time"),
        (raw_event(ip=5), "ip_wrong_type", "ip"),
        (raw_event(p=float("nan")), "non_finite_number", "p"),
        (raw_event(p=HALF), "invalid_text", "p"),
        (raw_event(**{HALF: 1}), "invalid_text", "\\ud800"),
        (raw_event(**{"$insert_id": HALF}), "invalid_text", "$insert_id"),
        ({"event": "E", "properties": {5: 1}}, "bad_key", "5"),
        (raw_event(**{str(i): i for i in range(300)}), "too_many_properties", "properties"),
    ],
)
def test_bad_raw_events(event: Any, reason: str, field: str) -> None:
    error = error_of(lambda: checked(event))
    assert (error.reason, error.field) == (reason, field), error.message


def test_unit_hint_for_raw_events() -> None:
    assert "'us'" in error_of(lambda: checked(raw_event(time=T * 10**6))).message


def test_the_id_of_a_raw_event_that_failed() -> None:
    checker = RawEventEncoder(Limits())
    assert checker.id_of({"event": None, "properties": {"$insert_id": "a-1"}}) == "a-1"
    assert checker.id_of({"event": "e", "properties": {}}) is None
    assert checker.id_of({"event": "e", "properties": None}) is None
    assert checker.id_of({"event": "e", "properties": {"$insert_id": "\ud800"}}) is None


@pytest.mark.parametrize("null", NULLS, ids=str)
def test_nulls_of_pandas_in_raw_events(null: Any) -> None:
    names = ("p", "$device_id", "$user_id", "ip", "$insert_id")
    assert checked(raw_event(**dict.fromkeys(names, null))) == checked(raw_event())
    for name in ("distinct_id", "time"):
        assert (
            error_of(lambda name=name: checked(raw_event(**{name: null}))).reason == f"{name}_null"
        )  # type: ignore[misc]
    link = {"event": "$identify", "properties": {"distinct_id": "u", "time": T, "$anon_id": null}}
    assert error_of(lambda: checked(link)).reason == "identity_incomplete"
