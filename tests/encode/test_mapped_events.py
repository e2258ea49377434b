"""Mapped events: each rule, and each reason for which a record cannot be an event."""

import datetime
import uuid
from typing import Any

import numpy as np
import orjson
import pytest

from mixpanel_sink import Column, Constant, ContentId, EventMapping, PositionId
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from tests.encode.encoding import (
    HALF,
    Name,
    T,
    clock,
    error_of,
    event_json,
    mapping_of,
    properties_of,
    refused,
)

# The whole event


def test_event_is_complete_and_ordered() -> None:
    text = event_json({"b": 1, "a": "x"}, token="tok", constants={"c": None}, insert_id="a")
    assert text == (
        b'{"event":"Buy","properties":{"a":"x","b":1,"c":null,"distinct_id":"ann","ip":"0",'
        b'"time":1700000000000,"$insert_id":"x","token":"tok"}}'
    ).replace(b'"a":"x",', b"")


def test_nulls_are_dropped_only_at_the_top() -> None:
    record = {"a": None, "b": [None], "c": {"d": None}}
    assert properties_of(record)["b"] == [None]
    assert properties_of(record)["c"] == {"d": None}
    assert "a" not in properties_of(record)
    assert properties_of(record, drop_nulls=False)["a"] is None


def test_listed_renamed_excluded_and_mapped_columns() -> None:
    record = {"a": 1, "b": 2, "c": 3}
    settings: dict[str, Any] = {"rename": {"b": "B"}, "exclude": ["c"]}
    own = {"distinct_id", "ip", "time", "$insert_id"}
    assert set(properties_of(record, **settings)) == {"a", "B"} | own
    assert set(properties_of(record, properties=["a", "u"])) == {"a", "u"} | own
    assert {"u", "t", "e"} < set(properties_of(record, include_mapped=True))


@pytest.mark.parametrize("given", ["1.2.3.4", None, ""])
def test_ip_from_a_column(given: str | None) -> None:
    assert properties_of({"i": given}, ip="i")["ip"] == (given or "0")


def test_ip_left_out() -> None:
    assert "ip" not in properties_of({}, ip=None)
    assert properties_of({"ip": 5}, ip=None)["ip"] == 5


def test_device_and_user_id() -> None:
    settings: dict[str, Any] = {"distinct_id": None, "device_id": "d", "user_id": "w"}
    both = properties_of({"d": "D", "w": 12}, **settings)
    assert (both["$device_id"], both["$user_id"], both["distinct_id"]) == ("D", "12", "12")
    device = properties_of({"d": "D", "w": None}, **settings)
    assert device["distinct_id"] == "$device:D"
    assert "$user_id" not in device
    refused({"d": None, "w": None}, "distinct_id_null", "distinct_id", "no user", **settings)


def test_a_property_called_user_id_is_no_identity() -> None:
    found = properties_of({"$user_id": "null", "d": "D"}, distinct_id=None, device_id="d")
    assert found["distinct_id"] == "$device:D"
    assert found["$user_id"] == "null"


# Event and ids


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (None, "event_null", ["is null", "if_null"]),
        ("", "event_empty", ["empty"]),
        ("é" * 128, "event_too_long", ["255 bytes"]),
        (5, "event_wrong_type", ["int", "text"]),
        (HALF, "invalid_text", ["surrogate"]),
    ],
)
def test_bad_event(value: Any, reason: str, words: list[str]) -> None:
    refused({"e": value}, reason, "e", *words)


def test_event_that_just_fits() -> None:
    assert orjson.loads(event_json({"e": "x" * 255}))["event"] == "x" * 255
    assert orjson.loads(event_json({"e": None}, event=Column("e", "Other")))["event"] == "Other"


@pytest.mark.parametrize(
    "word",
    [
        "anonymous", "NIL", "None", "null", "undefined", "Unknown", "0", "-1", "TRUE", "false",
        "[]", "{}", "<nil>", "N/A", "na", "Anon", "00000000-0000-0000-0000-000000000000", 0, -1,
        uuid.UUID(int=0),
    ],
)  # fmt: skip
def test_reserved_distinct_id(word: Any) -> None:
    refused({"u": word}, "distinct_id_reserved", "u", "refuses")


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (None, "distinct_id_null", ["is null", "if_null"]),
        (float("nan"), "distinct_id_null", ["is null"]),
        ("x" * 256, "distinct_id_too_long", ["merge users"]),
        ("é" * 128, "distinct_id_too_long", ["255 bytes"]),
        (10**300, "distinct_id_too_long", []),
        pytest.param(10**5000, "distinct_id_too_long", [], id="huge"),
        (1.5, "distinct_id_wrong_type", ["float"]),
        (True, "distinct_id_wrong_type", ["bool"]),
        (b"x", "distinct_id_wrong_type", ["bytes"]),
        (np.array([1, 2]), "distinct_id_wrong_type", []),
        (np.datetime64("2024-01-01", "ns"), "distinct_id_wrong_type", []),
        ("a" + HALF, "invalid_text", ["surrogate"]),
    ],
)
def test_bad_distinct_id(value: Any, reason: str, words: list[str]) -> None:
    refused({"u": value}, reason, "u", *words)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        (12, "12"),
        (2**70, str(2**70)),
        (np.int64(7), "7"),
        (np.str_("ann"), "ann"),
        (Name.P, "p"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ("x" * 255, "x" * 255),
    ],
)
def test_good_distinct_id(value: Any, expected: str) -> None:
    assert properties_of({"u": value})["distinct_id"] == expected


def test_stand_in_for_a_null_id() -> None:
    assert properties_of({"u": None}, distinct_id=Column("u", "nobody"))["distinct_id"] == "nobody"


@pytest.mark.parametrize("what", ["e", "u", "t", "i", "k"])
def test_missing_column(what: str) -> None:
    record = {"e": "Buy", "u": "ann", "t": T, "i": "1.1.1.1", "k": "key"}
    encoder = MappedEventEncoder(mapping_of(ip="i", insert_id="k"), Limits(), None, clock)
    encoder.encode(record)
    del record[what]
    error = error_of(lambda: encoder.encode(record))
    assert (error.reason, error.field) == ("missing_column", what)


def test_ip_of_a_wrong_type() -> None:
    refused({"i": 5}, "ip_wrong_type", "i", "must be text", ip="i")


# $insert_id. The literal ids must never change: sent data would be doubled.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("order-12", "order-12"),
        ("x" * 36, "x" * 36),
        (-12, "-12"),
        (True, "acc8a7699a2bf4cbd05f69678eac4fc2"),
        (datetime.date(2024, 1, 15), "2024-01-15"),
        ("x" * 37, "463e2f91c19bdafdb4b8c9bb3e0683d7"),
        ("order-12\n", "2a74b2273e58a493ff54d264bdf84174"),
        ("order 12", "9c7b00e50f7fdf404c0b88f3100c5d20"),
        ("é", "46d0ec742ceaad149f9a3d109d1bd9e9"),
        ("٣", "af76a8a9a0cd3409a9a742449bb9c9ea"),
        (1.5, "fa2bb4fa06828a1a7439b284a4753287"),
    ],
)
def test_insert_id_from_one_column(value: Any, expected: str) -> None:
    assert properties_of({"k": value}, insert_id="k")["$insert_id"] == expected


def test_insert_id_from_several_columns() -> None:
    def made(**record: Any) -> str:
        return str(properties_of(record, insert_id=["a", "b"])["$insert_id"])

    assert made(a="x", b=1) == "d9cb3aa63b4607b8d963348de0720a53"
    assert made(a="x", b=None) == "99bc70c69bb497b7dac39031b7eb8dea"
    assert len({made(a="x", b="1"), made(a="x", b=1), made(a="x1", b=""), made(a=1, b="x")}) == 4


def test_insert_id_from_content() -> None:
    wide = {
        "f": 1e22,
        "g": 0.1,
        "h": "é\0",
        "i": [1, {"z": None, "y": True}],
        "j": datetime.datetime(2024, 1, 15, 10, 0, 0, 123_999),
    }
    assert properties_of(wide)["$insert_id"] == "e3e0f294fee9d5eebf1d4f5621ae5c1a"
    plain = properties_of({"p": 1}, insert_id=ContentId())["$insert_id"]
    assert plain == "09ab53846c8d77daa7383f2cf245b928"
    assert properties_of({"p": 1})["$insert_id"] == plain
    assert properties_of({"p": 1}, token="secret")["$insert_id"] == plain
    assert properties_of({"p": 2})["$insert_id"] != plain


def test_content_ids_do_not_depend_on_the_order_of_keys() -> None:
    first = {"p": {"x": 1, "y": {"a": 1, "b": 2}}, "q": 2}
    second = {"q": 2, "p": {"y": {"b": 2, "a": 1}, "x": 1}}
    assert event_json(first) == event_json(second)


def test_insert_id_from_position() -> None:
    source = RowOrigin("f", "0123456789abcdef0123", 41)
    for rule in (None, PositionId()):
        found = properties_of({}, source, insert_id=rule)["$insert_id"]
        assert found == "0123456789abcdef0123-41"
    assert properties_of({}, source, insert_id=ContentId())["$insert_id"] != found
    refused({}, "position_unknown", "insert_id", "ReadParquetTables", insert_id=PositionId())


@pytest.mark.parametrize(
    ("record", "columns", "reason"),
    [
        ({"k": None}, ["k"], "insert_id_null"),
        ({"k": float("nan")}, ["k"], "insert_id_null"),
        ({"k": ""}, ["k"], "insert_id_null"),
        ({"k": None, "j": None}, ["k", "j"], "insert_id_null"),
        ({"k": HALF}, ["k"], "invalid_text"),
        ({"k": HALF, "j": 1}, ["k", "j"], "invalid_text"),
        ({"properties": 1, "k": HALF}, ["properties", "k"], "invalid_text"),
        ({"k": 10**1000}, ["k"], "integer_too_large"),
        ({"k": float("inf")}, ["k"], "non_finite_number"),
    ],
)
def test_bad_insert_id(record: dict[str, Any], columns: list[str], reason: str) -> None:
    refused(record, reason, "k", insert_id=columns)


# Names and sizes


def test_keys_with_a_dollar_stay() -> None:
    assert properties_of({"$os": "x", "$": 1})["$os"] == "x"


def test_enum_members_as_keys() -> None:
    assert properties_of({Name.P: 1})["p"] == 1


@pytest.mark.parametrize(
    ("record", "settings", "reason", "field", "words"),
    [
        ({HALF: 1}, {}, "invalid_text", "\\ud800", ["surrogate"]),
        ({5: 1}, {}, "bad_key", None, ["5", "must be text"]),
        ({"a": 1, "b": 2}, {"rename": {"a": "b"}}, "duplicate_property", None, ["'a'", "'b'"]),
        ({"time": 1}, {}, "duplicate_property", None, ["'time'", "Rename or exclude"]),
        ({"token": 1}, {}, "duplicate_property", None, ["'token'"]),
        ({"c": 1}, {"constants": {"c": 2}}, "duplicate_property", None, ["'c'", "constants"]),
        ({str(i): i for i in range(300)}, {}, "too_many_properties", "properties", ["304"]),
    ],
)
def test_bad_names(
    record: Any, settings: dict[str, Any], reason: str, field: str | None, words: list[str]
) -> None:
    refused(record, reason, field, *words, **settings)


def test_254_properties_fit() -> None:
    assert len(properties_of({str(i): i for i in range(250)})) == 254
    refused({str(i): i for i in range(251)}, "too_many_properties", "properties", "255")
    many: dict[str, Any] = dict.fromkeys(map(str, range(300)))
    assert len(properties_of(many)) == 4


def test_event_over_the_size_limit_names_the_longest() -> None:
    size = len(event_json({"a": "x", "b": "y" * 999}))
    fits = Limits(event_bytes=size)
    assert len(event_json({"a": "x", "b": "y" * 999}, limits=fits)) == size
    words = [f"{size + 1:,}", f"{size:,}", "Shorten"]
    refused({"a": "x", "b": "y" * 1000}, "event_too_large", "b", *words, limits=fits)


def test_long_strings_are_counted() -> None:
    encoder = MappedEventEncoder(mapping_of(), Limits(), None, clock)
    record = {"e": "E", "u": "u", "t": T, "a": "x" * 256, "b": "é" * 128, "c": "x" * 255}
    assert encoder.encode(record).long_strings == 2


def test_a_constant_event_needs_no_column() -> None:
    encoder = MappedEventEncoder(mapping_of(event=Constant("Flight")), Limits(), None, clock)
    assert orjson.loads(encoder.encode({"u": "a", "t": T}).json)["event"] == "Flight"


@pytest.mark.parametrize(
    ("insert_id", "source", "expected"),
    [
        (PositionId(), RowOrigin("f", "key", 7), "key-7"),
        (None, RowOrigin("f", "key", 7), "key-7"),
        (PositionId(), None, None),
        ("id", None, "a-1"),
        ("empty", None, None),
        (ContentId(), RowOrigin("f", "key", 7), None),
    ],
)
def test_the_id_of_a_record_that_failed(insert_id, source, expected) -> None:
    mapping = EventMapping(event="e", distinct_id="user", time="at", insert_id=insert_id)
    record = {"e": None, "user": "u", "at": None, "id": "a-1", "empty": None}
    assert MappedEventEncoder(mapping, Limits()).id_of(record, source) == expected
