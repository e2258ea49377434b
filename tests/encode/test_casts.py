"""Casts: the exact value or a failed record, whatever the neighbours; the proof agrees."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink import EventMapping, TimeColumn
from mixpanel_sink.encode.shape import shape_table
from mixpanel_sink.inspect.verify.exact import exact, exact_column
from mixpanel_sink.inspect.verify.shaped import shaped
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.shape import Shape
from mixpanel_sink.stages.local import convert_tables

FAILED = "failed"
KINDS = ("text", "integer", "number", "boolean", "time")
NS = 1_700_000_000_123_456_789
COLUMNS: dict[str, pa.Array] = {
    "date": pa.array([datetime.date(2024, 1, 2), datetime.date(1, 1, 1)]),
    "moments as dates": pa.array([1, 86_400_000, -1, None], pa.date64()),
    "integer": pa.array([5, 2**53 + 1, -(2**63)]),
    "unsigned": pa.array([2**64 - 1], pa.uint64()),
    "boolean": pa.array([True, False]),
    "bytes": pa.array([b"12", b"\xff"]),
    "decimal": pa.array([Decimal("1.50"), Decimal("2.00"), None]),
    "long decimal": pa.array([Decimal("12345678901234567890123"), Decimal(2**63)]),
    "nanoseconds": pa.array([NS], pa.timestamp("ns")),
    "nanoseconds in a zone": pa.array([NS], pa.timestamp("ns", "Europe/Berlin")),
    "duration": pa.array([1_500_000, 2_000_000], pa.duration("us")),
    "nanosecond durations": pa.array([1_500_000_001, 2 * 10**9], pa.duration("ns")),
    "time": pa.array([datetime.time(1, 2)]),
    "float": pa.array([1.5, 2.0, -0.0, 1e300]),
    "list": pa.array([[1]]),
    "struct": pa.array([{"a": 1}]),
    "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    "nulls": pa.nulls(2),
    "dictionary": pa.array(["12", "x", "2024-05-06"]).dictionary_encode(),
    "large text": pa.array(["12", "x"], pa.large_string()),
    "text view": pa.array(["12", "x"], pa.string_view()),
}
TEXTS = [
    *(
        "1_000",
        "\uff11\uff12",
        "٣",
        "0x10",
        "1e3",
        "1e400",
        "1,5",
        "1.",
        ".5",
        ".",
        "+5",
        "--5",
        "007",
    ),
    *(" 12 ", "12\n", "", "nan", "inf", "-Infinity", "yes", "F", "on", "TRUE ", "None", "-0"),
    *("9007199254740993", "9007199254740993.5", "9223372036854775807", "9223372036854775808"),
    *("-9223372036854775808", "1" + "0" * 400, "9" * 5000, "0." + "1" * 900),
    *("2024-05-06", "2024-05-06 07:08:09 UTC", "2024-05-06T07:08:09.123456Z"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-02-30", "1700000000"),
]


def cast(column: pa.Array, kind: str) -> list[Any]:
    """What each value becomes, exactly."""
    result = shape_table(pa.table({"c": column}), Shape(cast={"c": kind}))
    assert {error.reason for error in result.failed.values()} <= {"shape_failed"}
    found: list[Any] = [FAILED] * len(column)
    if result.records is not None:
        values = [exact(record["c"]) for record in result.records]
    else:
        values = exact_column(result.table.column("c"))
    for row, value in zip(result.rows, values, strict=True):
        found[row] = value
    return found


def proof(column: pa.Array, kind: str) -> list[Any]:
    """The same by the code of `verify`."""
    values = exact_column(pa.chunked_array([column]))
    records = [{"c": value} for value in values]
    made = shaped(records, Shape(cast={"c": kind}), {}, pa.table({"c": column}))
    return [record["c"] if isinstance(record, dict) else FAILED for record in made]


@pytest.mark.parametrize("kind", KINDS)
def test_each_type_of_column(kind: str) -> None:
    for name, column in COLUMNS.items():
        assert cast(column, kind) == proof(column, kind), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_means_the_same_alone_and_among_others(kind: str) -> None:
    together = cast(pa.array(TEXTS), kind)
    assert together == proof(pa.array(TEXTS), kind)
    for text, found in zip(TEXTS, together, strict=True):
        assert cast(pa.array([text]), kind) == [found], text


@given(
    st.lists(st.one_of(st.from_regex(r"[ +-]?[0-9]{1,20}(\.[0-9]{0,20})?", fullmatch=True))),
    st.sampled_from(["integer", "number"]),
)
def test_numbers_as_text(texts: list[str], kind: str) -> None:
    column = pa.array(texts, pa.string())
    assert cast(column, kind) == proof(column, kind)
    for text, found in zip(texts, cast(column, kind), strict=True):
        if found is not FAILED:
            exact = Decimal(text.strip())
            assert found == float(exact) if exact % 1 else found == exact


@pytest.mark.parametrize(
    "column",
    [
        pa.array([2**31 - 1, -(2**31)], pa.int32()).cast(pa.date32()),
        pa.array([2**62, -(2**62)], pa.timestamp("s")),
        pa.array([2**62, -(2**62)], pa.timestamp("ms", "UTC")),
        pa.array(["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]),
    ],
)
def test_times_outside_of_the_calendar_fail_one_by_one(column: pa.Array) -> None:
    other = pa.array([0, None], pa.int32()).cast(pa.date32())
    table = pa.table({"at": [1_700_000_000] * 2, "user": ["u", "v"], "c": column, "d": other})
    mapping = EventMapping(
        event={"constant": "Visit"},
        distinct_id="user",
        time=TimeColumn("at", "s"),
        shape=Shape(cast={"c": "time", "d": "time"}),
    )
    outputs = list(convert_tables([table], mapping))
    assert [type(output) for output in outputs] == [FailedRecord] * 2
    assert {output.field for output in outputs} == {"c"}


def test_nanoseconds_are_kept() -> None:
    assert cast(pa.array(["2023-11-14T22:13:20.123456789Z"]), "time") == cast(
        COLUMNS["nanoseconds"], "time"
    )


def test_times_that_no_one_type_holds() -> None:
    """Of a year beyond those that nanoseconds reach, and with digits after the sixth: each is what
    it is alone."""
    texts = ["0001-01-01", "2023-11-14T22:13:20.123456789Z", "2023-11-14T22:13:20.5Z"]
    together = cast(pa.array(texts), "time")
    assert FAILED not in together
    assert together == [cast(pa.array([text]), "time")[0] for text in texts]
    far = "0001-01-01T00:00:00.123456789Z"
    assert cast(pa.array([*texts, far]), "time") == [*together, FAILED]


def test_unsigned_integers_of_64_bits_as_text_in_json_and_as_decimals() -> None:
    """Such as hashes: an event holds them, and so does a cast."""
    texts = [str(2**64 - 1), "-5", None, str(2**64), str(-(2**63)), str(-(2**63) - 1)]
    numbers = [2**64 - 1, -5, None, FAILED, -(2**63), FAILED]
    assert cast(pa.array(texts), "integer") == numbers
    exact = [None if text is None else Decimal(text) for text in texts]
    assert cast(pa.array(exact, pa.decimal128(38)), "integer") == numbers
    mapping = EventMapping(
        event="e", distinct_id="n", time=TimeColumn("t", "s"), shape={"cast": {"n": "integer"}}
    )
    records: list[Any] = [{"e": "A", "t": 1_700_000_000, "n": n} for n in (2**64 - 1, 5)]
    for elements in (records, records[:1], [pa.Table.from_pylist(records[1:])]):
        (chunk,) = convert_tables(elements, mapping)
        assert not isinstance(chunk, FailedRecord)
        assert len(list(chunk.events())) == len(elements)


@pytest.mark.parametrize(
    "text", ['{"n": 123456789012345678901234}', '{"n": -98765432109876543210}']
)
def test_long_integers_of_json_are_not_rounded(text: str) -> None:
    table = pa.table({"p": [text]})
    found = shape_table(table, Shape(json=["p"], cast={"n": "text"})).table.column("n").to_pylist()
    assert found == [text[6:-1]]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a,b", None]).dictionary_encode(),
        pa.array(["a,b", None], pa.string_view()),
        pa.array(["a,b", None], pa.large_string()),
    ],
)
def test_split_takes_text_in_any_layout(column: pa.Array) -> None:
    table = pa.table({"c": column})
    assert shape_table(table, Shape(split={"c": ","})).table.to_pylist() == [
        {"c": ["a", "b"]},
        {"c": None},
    ]
    into = Shape(split={"c": {"by": ",", "into": ["x", "y"]}})
    want = [{"x": "a", "y": "b"}, {"x": None, "y": None}]
    assert shape_table(table, into).table.to_pylist() == want


def test_split_takes_a_column_of_nulls() -> None:
    table = pa.table({"c": pa.nulls(2), "d": [1, 2]})
    assert shape_table(table, Shape(split={"c": ","})).table.column("c").to_pylist() == [None] * 2
