"""Rows of tables as dicts hold what the table holds."""

import datetime
import os
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import types

from mixpanel_sink.encode.arrow_rows import rows_as_records, take_rows
from tests.encode.arrow_tables import UNITS, ZONES, data_types, values

EXAMPLES = 20_000 if os.environ.get("MIXPANEL_SINK_LONG") else 200
UTC = datetime.timezone.utc
PROFILE = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


def _column(column: Any, rows: Any = None) -> list[Any]:
    table = pa.table({"a": column})
    return [record["a"] for record in rows_as_records(table, rows or range(len(table)))]


@PROFILE
@given(st.data(), data_types())
def test_values_are_the_scalars_own(data: st.DataObject, kind: pa.DataType) -> None:
    array = pa.array(data.draw(st.lists(values(kind, wild=True), max_size=6)), kind)
    for scalar, value in zip(array, _column(array), strict=True):
        _check(scalar, value)
        if isinstance(value, datetime.datetime):
            assert not value.utcoffset()


def _check(scalar: Any, value: Any) -> None:
    kind = scalar.type
    if isinstance(value, pa.Scalar):  # Arrow's own, for what Python may have no form for
        assert types.is_map(kind) or not types.is_nested(kind)
        expected = scalar if value.type == kind else scalar.cast(value.type)
        assert _same(value, expected)
    elif value is None:
        assert not scalar.is_valid
    elif types.is_timestamp(kind):
        assert (value.tzinfo is not None) == (kind.tz is not None)
        epoch = datetime.datetime(1970, 1, 1, tzinfo=UTC if kind.tz else None)
        assert _nanoseconds(value - epoch) == scalar.value * _PER_UNIT[kind.unit]
    elif types.is_duration(kind):  # Arrow does not take back those at its ends
        assert _nanoseconds(value) == scalar.value * _PER_UNIT[kind.unit]
    elif types.is_struct(kind):
        for name in value:
            _check(scalar[name], value[name])
    elif types.is_map(kind):
        for pair, (key, item) in zip(scalar.values, value.items(), strict=True):
            _check(pair["key"], key)
            _check(pair["value"], item)
    elif types.is_nested(kind):
        for part, item in zip(scalar.values, value, strict=True):
            _check(part, item)
    elif types.is_duration(kind) or types.is_time(kind):
        assert pa.scalar(value, kind).equals(scalar)
    else:
        assert repr(value) == repr(scalar.as_py(maps_as_pydicts="strict"))


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, pa.Scalar):  # whose repr fails where Python has no such value
        return bool(one.equals(other)) or "float" in str(one.type)  # NaN equals nothing
    if isinstance(one, dict):
        return list(one) == list(other) and _same([*one.values()], [*other.values()])
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return repr(one) == repr(other)


_PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 1000, "ns": 1}


def _nanoseconds(delta: datetime.timedelta) -> int:
    return delta // datetime.timedelta(microseconds=1) * 1000


@PROFILE
@given(st.data(), data_types())
def test_a_range_and_single_rows_are_the_same(data: st.DataObject, kind: pa.DataType) -> None:
    array = pa.array(data.draw(st.lists(values(kind, wild=True), min_size=3, max_size=6)), kind)
    table = pa.table({"a": array, "b": range(len(array))})
    ranged = rows_as_records(table, range(1, len(array)))
    assert [record["b"] for record in ranged] == list(range(1, len(array)))
    picked = rows_as_records(table, list(range(1, len(array))))
    for one, other in zip(ranged, picked, strict=True):
        assert _same(one["a"], other["a"])
    assert take_rows(table, [2, 0])["b"].to_pylist() == [2, 0]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_timestamps_are_datetimes_in_utc(unit: str, zone: str | None) -> None:
    moment = datetime.datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
    column = pa.array([int(moment.timestamp()), None], pa.int64()).cast(pa.timestamp("s", zone))
    expected = moment if zone else moment.replace(tzinfo=None)
    assert _column(column.cast(pa.timestamp(unit, zone))) == [expected, None]


@given(UNITS, st.sampled_from([None, *ZONES]), st.sampled_from([-(2**63), 2**62]))
def test_a_time_beyond_python_s_years_is_no_null(unit: str, zone: str | None, wild: int) -> None:
    column = pa.array([0, wild, None], pa.int64()).view(pa.timestamp(unit, zone))
    first, odd, null = _column(column)
    assert null is None
    assert isinstance(odd, pa.Scalar)
    assert odd.value == wild
    assert first == datetime.datetime(1970, 1, 1, tzinfo=None if zone is None else UTC)


def test_a_date_beyond_python_s_years_is_no_null() -> None:
    column = pa.array([0, 2**31 - 1, None], pa.int32()).view(pa.date32())
    first, odd, null = _column(column)
    assert (first, null) == (datetime.date(1970, 1, 1), None)
    assert isinstance(odd, pa.Scalar)


def test_digits_beyond_microseconds_stay() -> None:
    column = pa.array([1_700_000_000_000_000_001], pa.timestamp("ns"))
    (value,) = _column(column)
    assert value.value == 1_700_000_000_000_000_001


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (pa.timestamp("ns"), datetime.datetime(1970, 1, 1, 0, 0, 0, 5)),
        (pa.timestamp("ns", "UTC"), datetime.datetime(1970, 1, 1, 0, 0, 0, 5, UTC)),
        (pa.duration("ns"), datetime.timedelta(microseconds=5)),
        (pa.time64("ns"), datetime.time(0, 0, 0, 5)),
    ],
    ids=str,
)
def test_digits_beyond_microseconds_cost_no_other_value(kind: pa.DataType, plain: Any) -> None:
    array = pa.array([5000, None, 5001], kind)
    assert _column(array) == [plain, None, array[2]]
    assert _column(pa.chunked_array([array.slice(1), array])) == [
        None, array[2], plain, None, array[2],
    ]  # fmt: skip
    assert _column(pa.array([{"a": 5000, "b": 1}, None], pa.struct([("a", kind), ("b", "int8")])))[
        0
    ] == {"a": plain, "b": 1}
    lists = [pa.list_(kind), pa.large_list(kind), pa.list_(kind, 2), pa.list_view(kind)]
    for of_kind in lists:
        column = pa.array([[5000, 5001], None, [None, 5000]], of_kind)
        assert _column(column) == [[plain, array[2]], None, [None, plain]]
        assert _column(column.slice(1)) == [None, [None, plain]]
    maps = pa.array([[("a", 5000), ("b", 5001)], None, []], pa.map_(pa.string(), kind))
    assert _column(maps) == [{"a": plain, "b": array[2]}, None, {}]
    twice = pa.array([[("a", 5000), ("a", 5001)]], pa.map_(pa.string(), kind))
    assert _column(twice) == [twice[0]], "no dict holds both"


def test_only_what_python_has_no_form_for_stays_arrow_s_in_a_struct() -> None:
    kind = pa.struct([("id", pa.string()), ("at", pa.timestamp("us", "Foo/Bar")), ("t", "int8")])
    text = pa.array([b"fine", b"\xff"]).cast(pa.binary()).view(pa.string())
    parts = [text, pa.array([0, None], kind[1].type), pa.array([1, 2], pa.int8())]
    first, second = _column(pa.StructArray.from_arrays(parts, fields=list(kind)))
    assert first == {"id": "fine", "at": datetime.datetime(1970, 1, 1, tzinfo=UTC), "t": 1}
    assert isinstance(second.pop("id"), pa.Scalar)
    assert second == {"at": None, "t": 2}


def test_a_map_whose_keys_no_dict_takes() -> None:
    kind = pa.map_(pa.struct([("x", pa.int8())]), pa.int8())
    array = pa.array([[({"x": 1}, 2)], None], kind)
    assert _column(array) == [array[0], None]


def test_maps_are_dicts_wherever_they_are() -> None:
    kind = pa.map_(pa.string(), pa.int64())
    assert _column(pa.array([[("a", 1)], None], kind)) == [{"a": 1}, None]
    assert _column(pa.array([[[("a", 1)]]], pa.list_(kind))) == [[{"a": 1}]]
    assert _column(pa.array([{"m": [("a", 1)]}], pa.struct([("m", kind)]))) == [{"m": {"a": 1}}]


def test_words_of_a_dictionary() -> None:
    words = pa.array(["b", None, "a", "b"]).dictionary_encode()
    assert _column(words) == ["b", None, "a", "b"]
    moments = pa.array([0, 0], pa.timestamp("s", "UTC")).dictionary_encode()
    assert _column(moments) == [datetime.datetime(1970, 1, 1, tzinfo=UTC)] * 2


def test_text_that_is_no_utf8_stays_arrow_s() -> None:
    column = pa.array([b"fine", b"\xff"]).cast(pa.binary()).view(pa.string())
    fine, odd = _column(column)
    assert fine == "fine"
    assert isinstance(odd, pa.Scalar)


def test_tables_without_columns_or_rows() -> None:
    table = pa.table({"a": [1, 2]})
    assert rows_as_records(table.select([]), range(2)) == [{}, {}]
    assert rows_as_records(table, range(0)) == []
    assert rows_as_records(table.slice(0, 0), []) == []


def test_two_columns_of_one_name() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    [record] = rows_as_records(table, range(1))
    assert str(record["a"]) == "(1, 2)"
