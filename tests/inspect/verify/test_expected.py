"""What the proof expects, against values written by hand from the documents."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3

from mixpanel_sink import Column, Constant, ContentId, EventMapping, Privacy, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.encode.times import to_ms
from mixpanel_sink.errors import RecordError
from mixpanel_sink.inspect.verify.events import Event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.inspect.verify.times import milliseconds_of
from mixpanel_sink.results import FailedRecord

NOW = 1_750_000_000_000
AT = 1_700_000_000_123
MAPPING: dict[str, Any] = {"event": "e", "distinct_id": "u", "time": TimeColumn("t", "ms")}
UTC = datetime.timezone.utc


def of(element: Any, privacy: Privacy | None = None, **changes: Any) -> list[Any]:
    mapping = EventMapping(**{**MAPPING, **changes})
    limits = changes.pop("limits", Limits())
    return list(Expectation(mapping, limits, privacy, None, NOW).of([element]))


def one(privacy: Privacy | None = None, mapping: Any = None, **columns: Any) -> Any:
    """The event of one row, or the reason of its failure."""
    given = {"e": "E", "u": "u1", "t": AT, **columns}
    table = pa.table({k: v if isinstance(v, pa.Array) else pa.array([v]) for k, v in given.items()})
    (found,) = of(table, privacy, **(mapping or {}))
    if isinstance(found, FailedRecord):
        return found.reason
    return Event.from_line(found.to_line())


def blake(text: str) -> str:
    return blake3(text.encode()).hexdigest()[:32]


DAY = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pa.array([2**63], pa.uint64()), 2**63),
        (pa.array([Decimal(1234567890123456789)], pa.decimal128(38, 0)), 1234567890123456789),
        (pa.array([Decimal("101.00")], pa.decimal128(9, 2)), 101),
        (pa.array([Decimal("0.10")], pa.decimal128(9, 2)), 0.1),
        (pa.array([Decimal("0.12345678901234567891")], pa.decimal128(38, 20)), 0.12345678901234568),
        (pa.array([0.1], pa.float32()), 0.10000000149011612),
        (pa.array([DAY], pa.timestamp("us")), "2024-05-06T07:08:09.123456"),
        (pa.array([DAY], pa.timestamp("us", "Europe/Berlin")), "2024-05-06T07:08:09.123456Z"),
        (pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
        (pa.array([253402214400], pa.timestamp("s")), "9999-12-31T00:00:00"),
        (pa.array([DAY.date()]), "2024-05-06"),
        (pa.array([DAY.time()], pa.time64("us")), "07:08:09.123456"),
        (pa.array([1500], pa.duration("ms")), 1.5),
        (pa.array([b"\x00\xff"]), "AP8="),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([[{"b": 1, "a": None}]]), [{"a": None, "b": 1}]),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int8())), {"k": 1}),
        (pa.array([[DAY]], pa.list_(pa.timestamp("ms"))), ["2024-05-06T07:08:09.123000"]),
    ],
)
def test_values(value: pa.Array, expected: Any) -> None:
    assert one(p=value).properties == {"p": expected}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (pa.array([Decimal(10**30)], pa.decimal128(38, 0)), "integer_too_large"),
        (pa.array([float("nan")]), "non_finite_number"),
        (pa.array([list(range(255))]), "list_too_long"),
        (pa.array([["x" * 8187]]), None),
        (pa.array([["x" * 8189]]), "lists_too_large"),
        (pa.array([{"a": "x" * 8184}]), None),
        (pa.array([{"a": "x" * 8185}]), "object_too_large"),
        (pa.array([{"a": {"b": {"c": 1}}}]), "nested_too_deep"),
        (pa.array([[[[[1]]]]]), "nested_too_deep"),
        (pa.array([253402300800], pa.timestamp("s")), "unreadable_value"),
        (pa.array([{"1": 1}]), None),
        (pa.array([[("k", 1), ("k", 2)]], pa.map_(pa.string(), pa.int8())), "duplicate_property"),
    ],
)
def test_values_that_no_event_can_have(value: pa.Array, reason: str | None) -> None:
    found = one(p=value)
    assert (None if isinstance(found, Event) else found) == reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("order-1", "order-1"),
        ("x" * 37, blake("x" * 37)),
        ("ü", blake("ü")),
        ("NULL", blake("NULL")),
        (0, blake("0")),
        (12, "12"),
        (True, blake("true")),
        (1.5, blake("1.5")),
        (pa.array([Decimal(1234567890123456789)], pa.decimal128(38, 0)), "1234567890123456789"),
        (pa.array([Decimal(10**30 + 1)], pa.decimal128(38, 0)), str(10**30 + 1)),
        (
            pa.array([Decimal("1234567890123456789.25")], pa.decimal128(38, 2)),
            blake("1234567890123456789.25"),
        ),
        (pa.array([DAY.date()]), "2024-05-06"),
    ],
)
def test_ids_of_one_column(value: Any, expected: str) -> None:
    assert one(k=value, mapping={"insert_id": "k"}).insert_id == expected


def test_other_ids() -> None:
    several = one(k=pa.array([10**18], pa.int64()), mapping={"insert_id": ["u", "k"]})
    assert several.insert_id == blake('{"u":"u1","k":1000000000000000000}')
    content = one(b=1, a="x", mapping={"insert_id": ContentId()})
    properties = f'"a":"x","b":1,"distinct_id":"u1","ip":"0","time":{AT}'
    assert content.insert_id == blake('{"event":"E","properties":{' + properties + "}}")
    table = pa.table({"e": ["E"] * 3, "u": ["u"] * 3, "t": [AT] * 3})
    found = of(TableOrigin("f.parquet", "0123", 40).attach(table))
    assert [event.insert_id for event in found] == ["0123-40", "0123-41", "0123-42"]
    block = RecordBlock(table.to_pylist()[:2], TableOrigin("f.csv", "ab", 7), (0, 3))
    assert [event.insert_id for event in of(block)] == ["ab-7", "ab-10"]
    assert one(k=None, mapping={"insert_id": "k"}) == "insert_id_null"


@pytest.mark.parametrize(
    ("value", "column", "expected"),
    [
        (AT, TimeColumn("t", "ms"), AT),
        (20240131, TimeColumn("t", format="%Y%m%d"), 1_706_659_200_000),
        (
            pa.array([Decimal(20240131)], pa.decimal128(38, 0)),
            TimeColumn("t", format="%Y%m%d"),
            1_706_659_200_000,
        ),
        (Decimal("20240131.5"), TimeColumn("t", format="%Y%m%d"), "time_without_unit"),
        (2024013, TimeColumn("t", format="%Y%m%d"), "time_unreadable"),
        ("2024013 10:00", TimeColumn("t", format="%Y%m%d %H:%M"), "time_unreadable"),
        (1_700_000_000, TimeColumn("t", "s"), 1_700_000_000_000),
        (AT * 1000 + 999, TimeColumn("t", "us"), AT),
        (1_700_000_000.0009, TimeColumn("t", "s"), 1_700_000_000_001),
        (pa.array([Decimal(AT)], pa.decimal128(38, 0)), TimeColumn("t", "ms"), AT),
        (pa.array([AT], pa.timestamp("ms", "Asia/Tokyo")), TimeColumn("t"), AT),
        (
            pa.array([AT], pa.timestamp("ms")),
            TimeColumn("t", None, "Europe/Berlin"),
            AT - 3_600_000,
        ),
        (datetime.date(2024, 7, 1), TimeColumn("t", None, "Europe/Berlin"), 1_719_784_800_000),
        ("2024-07-01T00:00:00.1239Z", TimeColumn("t", "iso8601"), 1_719_792_000_123),
        ("2024-07-01 02:00:00+02:00", TimeColumn("t", "iso8601"), 1_719_792_000_000),
        ("2024-07-01", TimeColumn("t", "iso8601", "Europe/Berlin"), 1_719_784_800_000),
        ("2024-07-01 00:00:00 UTC", TimeColumn("t", "iso8601"), 1_719_792_000_000),
        ("07/01/2024 02:03 PM", TimeColumn("t", format="%m/%d/%Y %I:%M %p"), 1_719_842_580_000),
        (
            "1.7.2024 02:00",
            TimeColumn("t", format=["%Y-%m-%d", "%d.%m.%Y %H:%M"], timezone="Europe/Berlin"),
            1_719_792_000_000,
        ),
        (
            "01 Jul 2024 00:00:00.1234567 +0200",
            TimeColumn("t", format="%d %b %Y %T.%f %z"),
            1_719_784_800_123,
        ),
        ("2024-07-01T00:00 UTC", TimeColumn("t", format="%FT%R %z"), 1_719_792_000_000),
        ("07/32/2024", TimeColumn("t", format="%m/%d/%Y"), "time_unreadable"),
        ("yesterday", TimeColumn("t", "iso8601"), "time_unreadable"),
        (5, TimeColumn("t", "ms"), "time_out_of_range"),
        (NOW + 3_600_001, TimeColumn("t", "ms"), "time_out_of_range"),
        (None, TimeColumn("t", "ms"), "time_null"),
        (True, TimeColumn("t", "ms"), "time_wrong_type"),
        (7, TimeColumn("t"), "time_without_unit"),
    ],
)
def test_times(value: Any, column: TimeColumn, expected: Any) -> None:
    found = one(t=value, mapping={"time": column})
    assert (found.time if isinstance(found, Event) else found) == expected


@pytest.mark.parametrize("number", ["1e5000", "-1e5000", "1e999999"])
def test_a_number_of_thousands_of_digits_as_a_time(number: str) -> None:
    day = TimeColumn("t", format="%Y%m%d")
    values: list[Any] = [Decimal(number)]
    if Decimal(number).adjusted() < 10_000:
        values.append(int(Decimal(number)))
    for value in values:
        with pytest.raises(Refused):
            milliseconds_of(value, day)
        with pytest.raises(RecordError) as refused:
            to_ms(value, day)
        assert refused.value.reason == "time_unreadable"


@pytest.mark.parametrize(
    ("columns", "mapping", "expected"),
    [
        ({"u": 7}, {}, "7"),
        ({"u": pa.array([Decimal(10**30)], pa.decimal128(38, 0))}, {}, "1" + "0" * 30),
        ({"u": "Anonymous"}, {}, "distinct_id_reserved"),
        ({"u": "x" * 256}, {}, "distinct_id_too_long"),
        ({"u": 1.5}, {}, "distinct_id_wrong_type"),
        ({"u": None}, {}, "distinct_id_null"),
        ({"u": None}, {"distinct_id": Column("u", if_null="nobody")}, "nobody"),
        ({"d": "x"}, {"distinct_id": None, "device_id": "d"}, "$device:x"),
        ({"d": "x"}, {"distinct_id": None, "device_id": "d", "user_id": "u"}, "u1"),
        ({}, {"distinct_id": Constant("all")}, "all"),
    ],
)
def test_users(columns: dict[str, Any], mapping: dict[str, Any], expected: str) -> None:
    found = one(mapping=mapping, **columns)
    assert (found.distinct_id if isinstance(found, Event) else found) == expected


@pytest.mark.parametrize(
    ("columns", "mapping", "reason"),
    [
        ({"e": None}, {}, "event_null"),
        ({"e": ""}, {}, "event_empty"),
        ({"e": "x" * 256}, {}, "event_too_long"),
        ({"e": 5}, {}, "event_wrong_type"),
        ({"i": 5}, {"ip": "i"}, "ip_wrong_type"),
        ({"$ignore": True}, {}, "event_ignored"),
        ({"p": "x" * 2_000_000}, {}, "event_too_large"),
        ({f"p{i}": 1 for i in range(251)}, {}, "too_many_properties"),
        ({"time": 1, "x": 1}, {}, "duplicate_property"),
    ],
)
def test_records_that_cannot_be_events(
    columns: dict[str, Any], mapping: dict[str, Any], reason: str
) -> None:
    assert one(mapping=mapping, **columns) == reason


def test_properties_by_the_mapping() -> None:
    mapping = {"rename": {"a": "z"}, "exclude": ["b"], "constants": {"from": "test"}}
    assert one(a=1, b=2, c=None, mapping=mapping).properties == {"z": 1, "from": "test"}
    listed = {"properties": ["a", "u"], "include_mapped": True}
    assert one(a=1, b=2, mapping=listed).properties == {"a": 1, "u": "u1"}


def test_privacy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROOF_KEY", "k")
    privacy = Privacy(drop=["b"], hash=["a", "n"], key="env:PROOF_KEY")
    found = one(privacy, a="x", b=2, n=5)
    assert found.properties == {"a": blake("k\0x"), "n": blake("k\x005")}
    assert one(Privacy(hash=["u"]), a="x").distinct_id == blake("\0u1")


def test_failures_keep_their_place_and_pass_through() -> None:
    bad = FailedRecord("line_unreadable", "no", file="f.csv", row=3)
    assert of(bad) == [bad]
    block = RecordBlock([{"e": "E", "u": None, "t": AT}], TableOrigin("f.csv", "ab", 7))
    (found,) = of(block)
    assert (found.reason, found.file, found.row) == ("distinct_id_null", "f.csv", 7)
