"""Times and values of mapped events, whatever their type."""

import collections
import dataclasses
import datetime
import decimal
import pathlib
import uuid
from typing import Any

import apache_beam as beam
import attrs
import numpy as np
import pyarrow as pa
import pydantic
import pytest
from apache_beam.utils.timestamp import Timestamp

from mixpanel_sink import TimeColumn
from tests.encode.encoding import (
    HALF,
    NOW,
    Color,
    Name,
    T,
    event_json,
    properties_of,
    refused,
)

# Objects


@dataclasses.dataclass
class Place:
    city: str
    floor: int


@attrs.define
class AttrsPlace:
    city: str


class ModelPlace(pydantic.BaseModel):
    part: Place


# Time


def _time(value: Any, unit: Any = None, zone: str = "UTC") -> int:
    return int(properties_of({"t": value}, time=TimeColumn("t", unit, zone))["time"])


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
    assert _time(moment.replace(fold=1), None, "Europe/Berlin") == expected, "as in a table"


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
    refused({"t": value}, reason, "t", *words, time=TimeColumn("t", unit))


@pytest.mark.parametrize("ms", [31_536_000_000, NOW + 3_600_000])
def test_time_limits_belong_to_the_range(ms: int) -> None:
    assert _time(ms, "ms") == ms


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
        (Place("Ulm", 1), b'{"city":"Ulm","floor":1}'),
        ([Place("Ulm", 1)], b'[{"city":"Ulm","floor":1}]'),
        (AttrsPlace("Ulm"), b'{"city":"Ulm"}'),
        (ModelPlace(part=Place("Ulm", 1)), b'{"part":{"city":"Ulm","floor":1}}'),
        (pa.scalar(1, pa.timestamp("ns")), b'"1970-01-01T00:00:00.000000001"'),
        (pa.scalar([1, None], pa.list_(pa.time64("ns"))), b'["00:00:00.000000001",null]'),
        (pa.scalar({"a": 1}, pa.struct([("a", pa.duration("ns"))])), b'{"a":1e-9}'),
        ([1] * 254, b"[" + b",".join([b"1"] * 254) + b"]"),
        ('"\\\n\0\u2028\U0001f600', '"\\"\\\\\\n\\u0000\u2028\U0001f600"'.encode()),
    ],
)
def test_values(value: Any, expected: bytes) -> None:
    assert b'"properties":{"p":' + expected + b',"distinct_id"' in event_json({"p": value})


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
        (pa.MonthDayNano((1, 2, 3)), "unsupported_type", ["MonthDayNano"]),
        (HALF, "invalid_text", ["surrogate"]),
        ([HALF], "invalid_text", ["surrogate"]),
        ({HALF: 1}, "invalid_text", ["surrogate"]),
        (datetime.datetime.min.replace(tzinfo=datetime.timezone.max), "unreadable_value", []),
        (pa.scalar(10**8, pa.date32()), "unreadable_value", ["out of range"]),
    ],
)
def test_bad_values(value: Any, reason: str, words: list[str]) -> None:
    refused({"p": value}, reason, "p", *words)


def test_non_finite_can_be_dropped() -> None:
    record = {"a": float("nan"), "b": [float("inf"), 1.0], "c": decimal.Decimal("NaN")}
    found = properties_of(record, non_finite="drop")
    assert found["b"] == [None, 1.0]
    assert not {"a", "c"} & set(found)
    kept = properties_of(record, non_finite="drop", drop_nulls=False)
    assert (kept["a"], kept["c"]) == (None, None)


def test_large_floats_have_the_form_that_ids_from_content_rest_on() -> None:
    values = {"a": -6.678882824583027e16, "b": 1e22, "c": 1.5e300, "d": 1e-7}
    text = event_json(values).decode()
    assert '"a":-6.678882824583027e+16,"b":1e+22,"c":1.5e+300,"d":1e-7' in text
