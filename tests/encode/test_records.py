"""The record encoder: each rule, and each reason for which a record is no event."""

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import unittest.mock
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import orjson
import pyarrow as pa
import pytest
from apache_beam.utils.timestamp import Timestamp

from mixpanel_sink import Column, Constant, ContentId, EventMapping, PositionId, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import Source
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.raw_events import RawEventEncoder
from mixpanel_sink.encode.records import as_mapping
from mixpanel_sink.errors import RecordError
from tests.encode.pandas_nulls import NULLS

NOW = 1_750_000_000_000
T = 1_700_000_000
HALF = "\ud800"  # half a surrogate pair


class Color(enum.Enum):
    RED = "red"


class Name(str, enum.Enum):
    P = "p"


def _clock() -> int:
    return NOW


def _mapping(**settings: Any) -> EventMapping:
    return EventMapping(
        **{"event": "e", "time": TimeColumn("t", "s"), "distinct_id": "u", **settings}
    )


def _json(record: Any, source: Source | None = None, /, **settings: Any) -> bytes:
    limits, token = settings.pop("limits", Limits()), settings.pop("token", None)
    encoder = MappedEventEncoder(_mapping(**settings), limits, token, _clock)
    base = {"e": "Buy", "u": "ann", "t": T}
    return encoder.encode({**base, **as_mapping(record)}, source).json


def _properties(record: Any, source: Source | None = None, /, **settings: Any) -> dict[str, Any]:
    return dict(orjson.loads(_json(record, source, **settings))["properties"])


def _error(call: Callable[[], Any]) -> RecordError:
    with pytest.raises(RecordError) as caught:
        call()
    error = caught.value
    assert error.message.endswith((".", "?"))
    (error.message + (error.field or "")).encode()  # failures are written as UTF-8
    return error


def _refused(record: Any, reason: str, field: str | None, *words: str, **settings: Any) -> None:
    error = _error(lambda: _json(record, **settings))
    assert (error.reason, error.field) == (reason, field), error.message
    for word in words:
        assert word in error.message


# The whole event


def test_event_is_complete_and_ordered() -> None:
    text = _json({"b": 1, "a": "x"}, token="tok", constants={"c": None}, insert_id="a")
    assert text == (
        b'{"event":"Buy","properties":{"a":"x","b":1,"c":null,"distinct_id":"ann","ip":"0",'
        b'"time":1700000000000,"$insert_id":"x","token":"tok"}}'
    ).replace(b'"a":"x",', b"")


def test_nulls_are_dropped_only_at_the_top() -> None:
    record = {"a": None, "b": [None], "c": {"d": None}}
    assert _properties(record)["b"] == [None]
    assert _properties(record)["c"] == {"d": None}
    assert "a" not in _properties(record)
    assert _properties(record, drop_nulls=False)["a"] is None


def test_listed_renamed_excluded_and_mapped_columns() -> None:
    record = {"a": 1, "b": 2, "c": 3}
    settings: dict[str, Any] = {"rename": {"b": "B"}, "exclude": ["c"]}
    own = {"distinct_id", "ip", "time", "$insert_id"}
    assert set(_properties(record, **settings)) == {"a", "B"} | own
    assert set(_properties(record, properties=["a", "u"])) == {"a", "u"} | own
    assert {"u", "t", "e"} < set(_properties(record, include_mapped=True))


@pytest.mark.parametrize("given", ["1.2.3.4", None, ""])
def test_ip_from_a_column(given: str | None) -> None:
    assert _properties({"i": given}, ip="i")["ip"] == (given or "0")


def test_ip_left_out() -> None:
    assert "ip" not in _properties({}, ip=None)
    assert _properties({"ip": 5}, ip=None)["ip"] == 5


def test_device_and_user_id() -> None:
    settings: dict[str, Any] = {"distinct_id": None, "device_id": "d", "user_id": "w"}
    both = _properties({"d": "D", "w": 12}, **settings)
    assert (both["$device_id"], both["$user_id"], both["distinct_id"]) == ("D", "12", "12")
    device = _properties({"d": "D", "w": None}, **settings)
    assert device["distinct_id"] == "$device:D"
    assert "$user_id" not in device
    _refused({"d": None, "w": None}, "distinct_id_null", "distinct_id", "no user", **settings)


def test_a_property_called_user_id_is_no_identity() -> None:
    found = _properties({"$user_id": "null", "d": "D"}, distinct_id=None, device_id="d")
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
    _refused({"e": value}, reason, "e", *words)


def test_event_that_just_fits() -> None:
    assert orjson.loads(_json({"e": "x" * 255}))["event"] == "x" * 255
    assert orjson.loads(_json({"e": None}, event=Column("e", "Other")))["event"] == "Other"


@pytest.mark.parametrize(
    "word",
    [
        "anonymous", "NIL", "None", "null", "undefined", "Unknown", "0", "-1", "TRUE", "false",
        "[]", "{}", "<nil>", "N/A", "na", "Anon", "00000000-0000-0000-0000-000000000000", 0, -1,
        uuid.UUID(int=0),
    ],
)  # fmt: skip
def test_reserved_distinct_id(word: Any) -> None:
    _refused({"u": word}, "distinct_id_reserved", "u", "refuses")


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
    _refused({"u": value}, reason, "u", *words)


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
    assert _properties({"u": value})["distinct_id"] == expected


def test_stand_in_for_a_null_id() -> None:
    assert _properties({"u": None}, distinct_id=Column("u", "nobody"))["distinct_id"] == "nobody"


@pytest.mark.parametrize("what", ["e", "u", "t", "i", "k"])
def test_missing_column(what: str) -> None:
    record = {"e": "Buy", "u": "ann", "t": T, "i": "1.1.1.1", "k": "key"}
    encoder = MappedEventEncoder(_mapping(ip="i", insert_id="k"), Limits(), None, _clock)
    encoder.encode(record)
    del record[what]
    error = _error(lambda: encoder.encode(record))
    assert (error.reason, error.field) == ("missing_column", what)


def test_ip_of_a_wrong_type() -> None:
    _refused({"i": 5}, "ip_wrong_type", "i", "must be text", ip="i")


# Time


def _time(value: Any, unit: Any = None, zone: str = "UTC") -> int:
    return int(_properties({"t": value}, time=TimeColumn("t", unit, zone))["time"])


UTC = datetime.timezone.utc
WALL = datetime.datetime(2024, 1, 15, 10, 0, 0, 123_999)
WALL_MS = 1_705_312_800_123


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (T, "s", T * 1000),
        (T * 1000 + 1, "ms", T * 1000 + 1),
        (T * 10**6 + 1999, "us", T * 1000 + 1),
        (T * 10**9 + 1_999_999, "ns", T * 1000 + 1),
        (T + 0.5, "s", T * 1000 + 500),
        (np.int64(T), "s", T * 1000),
        (np.float64(T), "s", T * 1000),
        (WALL, None, WALL_MS),
        (WALL.replace(tzinfo=UTC), None, WALL_MS),
        (
            WALL.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
            None,
            WALL_MS - 3.6e6,
        ),
        (WALL.date(), None, WALL_MS - 36_000_123),
        (np.datetime64(WALL, "us"), None, WALL_MS),
        (np.datetime64(WALL, "ns"), None, WALL_MS),
        (np.datetime64("2024-01-15"), None, WALL_MS - 36_000_123),
        (Timestamp(T), None, T * 1000),
        (pa.scalar(T * 10**9 + 1, pa.timestamp("ns")), None, T * 1000),
        (pa.scalar(T * 10**9 + 1, pa.timestamp("ns", "Asia/Tokyo")), None, T * 1000),
        ("2024-01-15T10:00:00.123Z", "iso8601", WALL_MS),
        ("2024-01-15T11:00:00.123+01:00", "iso8601", WALL_MS),
        ("2024-01-15 10:00:00.123", "iso8601", WALL_MS),
        ("2024-01-15", "iso8601", WALL_MS - 36_000_123),
    ],
)
def test_time(value: Any, unit: Any, expected: int) -> None:
    assert _time(value, unit) == expected


@pytest.mark.parametrize(
    ("wall", "utc"),
    [
        ("2024-01-15T10:00:00", "2024-01-15T09:00:00"),
        ("2024-07-15T10:00:00", "2024-07-15T08:00:00"),
        ("2024-03-31T02:30:00", "2024-03-31T01:30:00"),  # never was: as if clocks changed later
        ("2024-10-27T02:30:00", "2024-10-27T00:30:00"),  # was twice: the first one
        ("2024-10-27T02:30:00+01:00", "2024-10-27T01:30:00"),  # says which
    ],
)
def test_naive_times_in_a_zone(wall: str, utc: str) -> None:
    expected = datetime.datetime.fromisoformat(utc + "+00:00").timestamp() * 1000
    assert _time(wall, "iso8601", "Europe/Berlin") == expected
    moment = datetime.datetime.fromisoformat(wall)
    assert _time(moment, None, "Europe/Berlin") == expected


@pytest.mark.parametrize(
    ("value", "unit", "reason", "words"),
    [
        (None, "s", "time_null", ["is null"]),
        (float("nan"), "s", "time_null", ["is null"]),
        (np.datetime64("NaT"), None, "time_wrong_type", []),
        (T, None, "time_without_unit", ["Set unit", "s, ms, us or ns"]),
        (1.5, None, "time_without_unit", ["Set unit"]),
        (T, "iso8601", "time_without_unit", ["Set unit"]),
        ("2024-01-15", None, "time_is_text", ["unit: iso8601"]),
        ("1700000000", "s", "time_is_text", []),
        ("soon", "iso8601", "time_unreadable", ["2024-01-15T10:00:00+01:00"]),
        ("", "iso8601", "time_unreadable", []),
        (True, "s", "time_wrong_type", ["bool"]),
        ([], "s", "time_wrong_type", ["list"]),
        (datetime.time(1), None, "time_wrong_type", ["time"]),
        (pa.scalar(5, pa.duration("ns")), None, "time_wrong_type", []),
        (31_535_999, "s", "time_out_of_range", ["1970-12-31", "1971"]),
        (NOW // 1000 + 3601, "s", "time_out_of_range", ["an hour from now"]),
        (T * 1000, "s", "time_out_of_range", ["'ms'", "'s'", "unit right"]),
        (T * 10**6, "s", "time_out_of_range", ["'us'"]),
        (T, "ms", "time_out_of_range", ["1970-01-20", "'s'"]),
        (T * 10**9, "ms", "time_out_of_range", ["'ns'"]),
        (10**40, "s", "time_out_of_range", []),
        pytest.param(10**5000, "s", "time_out_of_range", [], id="huge"),
        (1e300, "s", "time_out_of_range", []),
        (float("inf"), "s", "time_out_of_range", []),
        (datetime.datetime.max, None, "time_out_of_range", ["9999"]),
        (datetime.datetime.min, None, "time_out_of_range", []),
        (pa.scalar(T * 10**9, pa.timestamp("s")), None, "time_out_of_range", []),
        (pa.scalar(10**8, pa.date32()), None, "time_out_of_range", []),
    ],
)
def test_bad_time(value: Any, unit: Any, reason: str, words: list[str]) -> None:
    _refused({"t": value}, reason, "t", *words, time=TimeColumn("t", unit))


@pytest.mark.parametrize("ms", [31_536_000_000, NOW + 3_600_000])
def test_time_limits_belong_to_the_range(ms: int) -> None:
    assert _time(ms, "ms") == ms


# $insert_id. The literal ids must never change: sent data would be doubled.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("order-12", "order-12"),
        ("x" * 36, "x" * 36),
        (-12, "-12"),
        (True, "acc8a7699a2bf4cbd05f69678eac4fc2"),  # "true" is reserved
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
    assert _properties({"k": value}, insert_id="k")["$insert_id"] == expected


def test_insert_id_from_several_columns() -> None:
    def made(**record: Any) -> str:
        return str(_properties(record, insert_id=["a", "b"])["$insert_id"])

    assert made(a="x", b=1) == "d9cb3aa63b4607b8d963348de0720a53"
    assert made(a="x", b=None) == "99bc70c69bb497b7dac39031b7eb8dea"
    assert len({made(a="x", b="1"), made(a="x", b=1), made(a="x1", b=""), made(a=1, b="x")}) == 4


def test_insert_id_from_content() -> None:
    wide = {"f": 1e22, "g": 0.1, "h": "é\0", "i": [1, {"z": None, "y": True}], "j": WALL}
    assert _properties(wide)["$insert_id"] == "e3e0f294fee9d5eebf1d4f5621ae5c1a"
    plain = _properties({"p": 1}, insert_id=ContentId())["$insert_id"]
    assert plain == "09ab53846c8d77daa7383f2cf245b928"
    assert _properties({"p": 1})["$insert_id"] == plain
    assert _properties({"p": 1}, token="secret")["$insert_id"] == plain
    assert _properties({"p": 2})["$insert_id"] != plain


def test_content_ids_do_not_depend_on_the_order_of_keys() -> None:
    first = {"p": {"x": 1, "y": {"a": 1, "b": 2}}, "q": 2}
    second = {"q": 2, "p": {"y": {"b": 2, "a": 1}, "x": 1}}
    assert _json(first) == _json(second)


def test_insert_id_from_position() -> None:
    source = Source("f", "0123456789abcdef0123", 41)
    for rule in (None, PositionId()):
        found = _properties({}, source, insert_id=rule)["$insert_id"]
        assert found == "0123456789abcdef0123-41"
    assert _properties({}, source, insert_id=ContentId())["$insert_id"] != found
    _refused({}, "position_unknown", "insert_id", "ReadParquetTables", insert_id=PositionId())


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
    _refused(record, reason, "k", insert_id=columns)


# Values


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (decimal.Decimal("19.90"), b"19.9"),
        (decimal.Decimal("12345678901234567890.123"), b"1.2345678901234567e+19"),
        (-0.0, b"-0.0"),
        (2**64 - 1, b"18446744073709551615"),
        (-(2**63), b"-9223372036854775808"),
        (datetime.date(2024, 1, 5), b'"2024-01-05"'),
        (datetime.datetime(1969, 12, 31, 23, 59, 59, 5), b'"1969-12-31T23:59:59.000005"'),
        (WALL.replace(tzinfo=UTC), b'"2024-01-15T10:00:00.123999Z"'),
        (datetime.time(1, 2, 3), b'"01:02:03"'),
        (datetime.timedelta(milliseconds=-1500), b"-1.5"),
        (b"\x00\xff", b'"AP8="'),
        (bytearray(b"a"), b'"YQ=="'),
        (memoryview(b"a"), b'"YQ=="'),
        (uuid.UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        (Color.RED, b'"red"'),
        (Name.P, b'"p"'),
        (pathlib.PurePosixPath("/a/b"), b'"/a/b"'),
        (np.int8(5), b"5"),
        (np.bool_(True), b"true"),
        (np.float32(0.5), b"0.5"),
        (np.str_("x"), b'"x"'),
        (np.array([1, 2]), b"[1,2]"),
        (np.datetime64("2024-01-15T10:00:00", "ns"), b'"2024-01-15T10:00:00"'),
        (np.datetime64("2024-01-15T10:00:00.000000001"), b'"2024-01-15T10:00:00.000000001"'),
        (np.datetime64("2024-01-15"), b'"2024-01-15"'),
        (np.timedelta64(1500, "ms"), b"1.5"),
        (np.array(["2024-01-15"], "datetime64[ns]"), b'["2024-01-15T00:00:00"]'),
        (Timestamp(T), b'"2023-11-14T22:13:20Z"'),
        ((1, [2]), b"[1,[2]]"),
        ({3, 1, 2}, b"[1,2,3]"),
        ({"b": 1, 5: 2, True: 3}, b'{"5":2,"b":1,"true":3}'),
        ({datetime.date(2024, 1, 5): 1}, b'{"2024-01-05":1}'),
        (collections.OrderedDict(a=1), b'{"a":1}'),
        (beam.Row(a=1), b'{"a":1}'),
        (pa.scalar(1, pa.timestamp("ns")), b'"1970-01-01T00:00:00.000000001"'),
        (pa.scalar([1, None], pa.list_(pa.time64("ns"))), b'["00:00:00.000000001",null]'),
        (pa.scalar({"a": 1}, pa.struct([("a", pa.duration("ns"))])), b'{"a":1e-9}'),
        ([1] * 254, b"[" + b",".join([b"1"] * 254) + b"]"),
        ('"\\\n\0\u2028\U0001f600', '"\\"\\\\\\n\\u0000\u2028\U0001f600"'.encode()),
    ],
)
def test_values(value: Any, expected: bytes) -> None:
    assert b'"properties":{"p":' + expected + b',"distinct_id"' in _json({"p": value})


DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        (float("nan"), "non_finite_number", ["nan", "non_finite: drop"]),
        ([float("-inf")], "non_finite_number", ["-inf"]),
        (np.float32("nan"), "non_finite_number", ["nan"]),
        (decimal.Decimal("NaN"), "non_finite_number", []),
        (decimal.Decimal("sNaN"), "non_finite_number", []),
        (decimal.Decimal("1e400"), "integer_too_large", ["as text"]),
        (decimal.Decimal("1E+999999999"), "integer_too_large", ["as text"]),
        (decimal.Decimal("1" * 400 + ".5"), "number_too_large", ["as text"]),
        (2**64, "integer_too_large", ["64 bits", "as text"]),
        ({"a": -(2**63) - 1}, "integer_too_large", []),
        pytest.param(10**5000, "integer_too_large", [], id="huge"),
        ([1] * 255, "list_too_long", ["255", "Mixpanel takes fewer than 255"]),
        ({str(i): 1 for i in range(255)}, "too_many_keys", ["255"]),
        ({"a": {"b": {"c": 1}}}, "nested_too_deep", ["Flatten"]),
        ([[{"a": [{"b": {"c": 1}}]}]], "nested_too_deep", ["Flatten"]),
        (DEEP, "nested_too_deep", ["Flatten"]),
        (CYCLE, "nested_too_deep", ["Flatten"]),
        ({1: "a", "1": "b"}, "duplicate_property", ["'1'", "twice"]),
        ({(1, 2): "a"}, "unsupported_type", ["tuple"]),
        (object(), "unsupported_type", ["object", "Convert or exclude"]),
        (1j, "unsupported_type", ["complex"]),
        (HALF, "invalid_text", ["surrogate"]),
        ([HALF], "invalid_text", ["surrogate"]),
        ({HALF: 1}, "invalid_text", ["surrogate"]),
        (datetime.datetime.min.replace(tzinfo=datetime.timezone.max), "unreadable_value", []),
        (pa.scalar(10**8, pa.date32()), "unreadable_value", ["out of range"]),
    ],
)
def test_bad_values(value: Any, reason: str, words: list[str]) -> None:
    _refused({"p": value}, reason, "p", *words)


def test_non_finite_can_be_dropped() -> None:
    record = {"a": float("nan"), "b": [float("inf"), 1.0], "c": decimal.Decimal("NaN")}
    found = _properties(record, non_finite="drop")
    assert found["b"] == [None, 1.0]
    assert not {"a", "c"} & set(found)
    kept = _properties(record, non_finite="drop", drop_nulls=False)
    assert (kept["a"], kept["c"]) == (None, None)


# Names and sizes


def test_keys_with_a_dollar_stay() -> None:
    assert _properties({"$os": "x", "$": 1})["$os"] == "x"


def test_enum_members_as_keys() -> None:
    assert _properties({Name.P: 1})["p"] == 1


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
    _refused(record, reason, field, *words, **settings)


def test_254_properties_fit() -> None:
    assert len(_properties({str(i): i for i in range(250)})) == 254
    _refused({str(i): i for i in range(251)}, "too_many_properties", "properties", "255")
    many: dict[str, Any] = dict.fromkeys(map(str, range(300)))
    assert len(_properties(many)) == 4


def test_event_over_the_size_limit_names_the_longest() -> None:
    size = len(_json({"a": "x", "b": "y" * 999}))
    fits = Limits(event_bytes=size)
    assert len(_json({"a": "x", "b": "y" * 999}, limits=fits)) == size
    words = [f"{size + 1:,}", f"{size:,}", "Shorten"]
    _refused({"a": "x", "b": "y" * 1000}, "event_too_large", "b", *words, limits=fits)


def test_long_strings_are_counted() -> None:
    encoder = MappedEventEncoder(_mapping(), Limits(), None, _clock)
    record = {"e": "E", "u": "u", "t": T, "a": "x" * 256, "b": "é" * 128, "c": "x" * 255}
    assert encoder.encode(record).long_strings == 2


# Kinds of records


class Visit(NamedTuple):
    p: int


@dataclasses.dataclass
class Click:
    p: int


@pytest.mark.parametrize("record", [{"p": 1}, Visit(1), Click(1), beam.Row(p=1)])
def test_kinds_of_records(record: Any) -> None:
    assert _properties(record)["p"] == 1


@pytest.mark.parametrize("record", [5, "text", None, [1], b"x", Click])
def test_no_records(record: Any) -> None:
    error = _error(lambda: as_mapping(record))
    assert error.reason == "unsupported_record"
    assert "dicts, beam.Row" in error.message


class Unreadable(collections.UserDict[str, int]):
    def __getitem__(self, key: str) -> int:
        raise RuntimeError(key)


def test_mappings_are_read_once() -> None:
    made_up = as_mapping(collections.defaultdict(int, a=1))
    assert type(made_up) is dict
    assert made_up == {"a": 1}
    for record in (Unreadable(a=1), unittest.mock.Mock()):
        error = _error(lambda record=record: as_mapping(record))  # type: ignore[misc]
        assert error.reason == "unreadable_value"


@pytest.mark.parametrize("null", NULLS, ids=str)
def test_nulls_of_pandas_are_nulls(null: Any) -> None:
    assert "p" not in _properties({"p": null}, drop_nulls=True)
    assert _properties({"p": null}, drop_nulls=False)["p"] is None
    assert _properties({"p": [null]})["p"] == [None]
    both: dict[str, Any] = {"distinct_id": None, "user_id": "v", "device_id": "d"}
    found = _properties({"v": null, "d": "x"}, **both)
    assert found["distinct_id"] == "$device:x"
    assert "$user_id" not in found
    _refused({"u": null}, "distinct_id_null", "u")
    _refused({"t": null}, "time_null", "t")
    _refused({"k": null}, "insert_id_null", "k", insert_id="k")


@pytest.mark.parametrize("null", NULLS, ids=str)
def test_nulls_of_pandas_in_ready_made_events(null: Any) -> None:
    names = ("p", "$device_id", "$user_id", "ip", "$insert_id")
    assert _checked(_ready(**dict.fromkeys(names, null))) == _checked(_ready())
    for name in ("distinct_id", "time"):
        assert _error(lambda name=name: _checked(_ready(**{name: null}))).reason == f"{name}_null"  # type: ignore[misc]
    link = {"event": "$identify", "properties": {"distinct_id": "u", "time": T, "$anon_id": null}}
    assert _error(lambda: _checked(link)).reason == "identity_incomplete"


def test_a_time_that_only_looks_like_one() -> None:
    _refused({"t": unittest.mock.Mock()}, "time_wrong_type", "t")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_timestamps_of_an_unknown_zone(unit: str) -> None:
    moment = pa.scalar(T * 10**9, pa.timestamp("ns")).cast(pa.timestamp(unit, "Foo/Bar"))
    assert _properties({"p": [moment]})["p"] == ["2023-11-14T22:13:20Z"]
    if unit != "ns":
        far = pa.scalar(2**62, pa.int64()).cast(pa.timestamp(unit, "Foo/Bar"))
        _refused({"p": far}, "unreadable_value", "p")


# Ready-made events


def _checked(event: Any, **settings: Any) -> dict[str, Any]:
    checker = RawEventEncoder(Limits(), clock=_clock, **settings)
    return dict(orjson.loads(checker.encode(event).json))


def _ready(**properties: Any) -> dict[str, Any]:
    return {"event": "E", "properties": {"distinct_id": "u", "time": T, **properties}}


@pytest.mark.parametrize(
    ("given", "ms"),
    [(T, T * 1000), (T + 0.25, T * 1000 + 250), (T * 1000, T * 1000), (np.int64(T), T * 1000)],
)
def test_ready_made_time_in_seconds_or_milliseconds(given: Any, ms: int) -> None:
    assert _checked(_ready(time=given))["properties"]["time"] == ms


def test_ready_made_event_keeps_what_it_has() -> None:
    given = {"$insert_id": "id-1", "ip": "1.2.3.4", "$device_id": "d", "$user_id": "w", "$os": "x"}
    found = _checked(_ready(**given, a=None), token="tok")["properties"]
    assert given.items() <= found.items()
    assert "a" not in found
    assert found["token"] == "tok"


def test_ready_made_event_is_completed() -> None:
    found = _checked(_ready(p=1))["properties"]
    assert found["ip"] == "0"
    assert found["$insert_id"] == "5180b85c65e0b634939cbfbb71e82f9c"
    assert _checked(_ready(ip=None))["properties"]["ip"] == "0"
    assert "ip" not in _checked(_ready(), ip=None)["properties"]


def test_ready_made_odd_insert_id_is_hashed() -> None:
    for odd in ("order 12", "x" * 37):
        found = _checked(_ready(**{"$insert_id": odd}))["properties"]["$insert_id"]
        assert found == _properties({"k": odd}, insert_id="k")["$insert_id"]


@pytest.mark.parametrize(
    ("event", "reason", "field"),
    [
        ({}, "not_an_event", "event"),
        ({"event": "E"}, "not_an_event", "properties"),
        ({"event": "E", "properties": []}, "not_an_event", "properties"),
        ({**_ready(), "time": 5}, "not_an_event", "time"),
        ({**_ready(), "event": ""}, "event_empty", "event"),
        ({**_ready(), "event": 5}, "event_wrong_type", "event"),
        (_ready(distinct_id=None), "distinct_id_null", "distinct_id"),
        (_ready(distinct_id="NULL"), "distinct_id_reserved", "distinct_id"),
        (_ready(distinct_id=1.5), "distinct_id_wrong_type", "distinct_id"),
        (_ready(distinct_id=10**5000), "distinct_id_too_long", "distinct_id"),
        (_ready(time=None), "time_null", "time"),
        (_ready(time="2024-01-15"), "time_wrong_type", "time"),
        (_ready(time=True), "time_wrong_type", "time"),
        (_ready(time=5), "time_out_of_range", "time"),
        (_ready(time=T * 10**6), "time_out_of_range", "time"),
        (_ready(time=T * 10**9), "time_out_of_range", "time"),
        (_ready(time=float("nan")), "time_out_of_range", "time"),
        (_ready(time=float("inf")), "time_out_of_range", "time"),
        (_ready(time=10**5000), "time_out_of_range", "time"),
        (_ready(ip=5), "ip_wrong_type", "ip"),
        (_ready(p=float("nan")), "non_finite_number", "p"),
        (_ready(p=HALF), "invalid_text", "p"),
        (_ready(**{HALF: 1}), "invalid_text", "\\ud800"),
        (_ready(**{"$insert_id": HALF}), "invalid_text", "$insert_id"),
        ({"event": "E", "properties": {5: 1}}, "bad_key", "5"),
        (_ready(**{str(i): i for i in range(300)}), "too_many_properties", "properties"),
    ],
)
def test_bad_ready_made_events(event: Any, reason: str, field: str) -> None:
    error = _error(lambda: _checked(event))
    assert (error.reason, error.field) == (reason, field), error.message


def test_unit_hint_for_ready_made_events() -> None:
    assert "'us'" in _error(lambda: _checked(_ready(time=T * 10**6))).message


def test_a_constant_event_needs_no_column() -> None:
    encoder = MappedEventEncoder(_mapping(event=Constant("Flight")), Limits(), None, _clock)
    assert orjson.loads(encoder.encode({"u": "a", "t": T}).json)["event"] == "Flight"


@pytest.mark.parametrize(
    ("insert_id", "source", "expected"),
    [
        (PositionId(), Source("f", "key", 7), "key-7"),
        (None, Source("f", "key", 7), "key-7"),
        (PositionId(), None, None),
        ("id", None, "a-1"),
        ("empty", None, None),
        (ContentId(), Source("f", "key", 7), None),
    ],
)
def test_the_id_of_a_record_that_failed(insert_id, source, expected) -> None:
    mapping = EventMapping(event="e", distinct_id="user", time="at", insert_id=insert_id)
    record = {"e": None, "user": "u", "at": None, "id": "a-1", "empty": None}
    assert MappedEventEncoder(mapping, Limits()).id_of(record, source) == expected


def test_the_id_of_a_ready_made_event_that_failed() -> None:
    checker = RawEventEncoder(Limits())
    assert checker.id_of({"event": None, "properties": {"$insert_id": "a-1"}}) == "a-1"
    assert checker.id_of({"event": "e", "properties": {}}) is None
    assert checker.id_of({"event": "e", "properties": None}) is None
    assert checker.id_of({"event": "e", "properties": {"$insert_id": "\ud800"}}) is None
