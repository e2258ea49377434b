"""Values arrive as they were, or their record fails; ids come from all digits."""

import datetime
import decimal
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from mixpanel_sink import ContentId, EventMapping, Privacy, TimeColumn
from mixpanel_sink.api.limits import MAX_NESTED_BYTES, Limits
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.raw_events import RawEventEncoder
from mixpanel_sink.encode.redaction import Masker
from mixpanel_sink.encode.tables import encode_slice, table_of
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import record_as_json

NOW = 1_750_000_000_000
LARGE = [Decimal(1234567890123456789 + n) for n in range(20)]
DEEP = [Decimal("0.12345678901234567890") + Decimal(n).scaleb(-20) for n in range(20)]
NANOSECONDS = [9_000_000_000_000_000 + n for n in range(20)]
PATHS = ["table", "dicts together", "one by one"]


def _mapping(**settings: Any) -> EventMapping:
    base: dict[str, Any] = {"event": "e", "time": TimeColumn("t", "s"), "distinct_id": "u"}
    return EventMapping(**{**base, **settings})


def _properties(values: Any, path: str, **settings: Any) -> list[dict[str, Any]]:
    """The properties of the events that a column of values becomes, on one of the paths."""
    mapping = _mapping(**settings)
    column = values if isinstance(values, pa.Array) else None
    table = None
    plain = {"u": "u", "e": "E", "t": 1_700_000_000}
    if column is not None:
        rows = len(column)
        table = pa.table({"p": column, **{name: [value] * rows for name, value in plain.items()}})
        records = rows_as_records(table, range(rows))
    else:
        records = [{**plain, "p": value} for value in values]
        if path != "one by one":
            table = table_of(records, mapping)
    encoder = MappedEventEncoder(mapping, Limits(), None, lambda: NOW)
    if table is None or path == "one by one":
        return [orjson.loads(encoder.encode(record).json)["properties"] for record in records]
    columnar = ColumnarEncoder(mapping, Limits(), None, lambda: NOW)
    done = encode_slice(columnar, table, None, [Run(len(records), 0, ())], Limits())
    left = [encoder.encode(records[row]).json for row in done.odd]
    whole = [event for event, _ in done.rest] + left
    return [orjson.loads(event)["properties"] for event in whole]


COLUMNS = {
    "large whole numbers": (pa.array(LARGE, pa.decimal128(38, 0)), LARGE),
    "many digits behind the point": (pa.array(DEEP, pa.decimal128(38, 20)), DEEP),
    "256 bits": (pa.array(DEEP, pa.decimal256(60, 20)), DEEP),
    "in lists": (pa.array([[value] for value in DEEP], pa.list_(pa.decimal128(38, 20))),
                 [[value] for value in DEEP]),
    "large ones in structs": (
        pa.array([{"a": value} for value in LARGE], pa.struct([("a", pa.decimal128(38, 0))])),
        [{"a": value} for value in LARGE],
    ),
    "in maps": (
        pa.array([[("a", value)] for value in DEEP], pa.map_(pa.string(), pa.decimal128(38, 20))),
        [{"a": value} for value in DEEP],
    ),
    "durations": (
        pa.array(NANOSECONDS, pa.duration("ns")),
        [np.timedelta64(value, "ns") for value in NANOSECONDS],
    ),
}  # fmt: skip
EVERYTHING = {"include_mapped": True}
IDS: list[Any] = [ContentId(), ["p", "u"], ["p"]]


@pytest.mark.parametrize("rule", IDS, ids=["content", "two columns", "one column"])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", COLUMNS)
def test_ids_come_from_all_digits(name: str, path: str, rule: Any) -> None:
    column, values = COLUMNS[name]
    for source in (column, values):
        made = _properties(source, path, insert_id=rule, include_mapped=True)
        assert len({properties["$insert_id"] for properties in made}) == 20


@pytest.mark.parametrize("rule", IDS, ids=["content", "two columns", "one column"])
def test_ids_are_the_same_on_all_paths(rule: Any) -> None:
    for column, values in COLUMNS.values():
        ids = [
            {p["$insert_id"] for p in _properties(source, path, insert_id=rule, **EVERYTHING)}
            for path in PATHS
            for source in (column, values)
        ]
        assert all(some == ids[0] for some in ids)


@pytest.mark.parametrize("name", COLUMNS)
def test_hashes_come_from_all_digits(name: str) -> None:
    column, values = COLUMNS[name]
    masker = Masker(Privacy(hash=["p"]))
    hashed = masker.table(pa.table({"p": column})).column("p").to_pylist()
    assert len(set(hashed)) == 20
    assert [masker.record({"p": value})["p"] for value in values] == hashed


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("kind", "given", "sent"),
    [
        (pa.decimal128(38, 0), "1234567890123456789", "1234567890123456789"),
        (pa.decimal128(38, 0), "-9223372036854775808", "-9223372036854775808"),
        (pa.decimal128(38, 0), "18446744073709551615", "18446744073709551615"),
        (pa.decimal128(38, 0), "101", "101"),
        (pa.decimal128(38, 2), "12345678901234567.00", "12345678901234567"),
        (pa.decimal128(10, 2), "5.00", "5"),
        (pa.decimal128(10, 2), "-0.50", "-0.5"),
        (pa.decimal128(20, 10), "0.0000001", "1e-7"),
        (pa.decimal128(38, 18), "0.123456789012345678", "0.12345678901234568"),
    ],
)
def test_decimals(kind: pa.DataType, given: str, sent: str, path: str) -> None:
    value = Decimal(given)
    for source in (pa.array([value], kind), [value]):
        (properties,) = _properties(source, path)
        assert orjson.dumps(properties["p"]).decode() == sent
        assert isinstance(properties["p"], int) == (value == int(value))


def _refused(value: Any, kind: pa.DataType | None = None, **settings: Any) -> str:
    mapping = _mapping(**settings)
    plain = {"u": "u", "e": "E", "t": 1_700_000_000}
    record = {**plain, "p": value}
    if kind is not None:
        table = pa.table({"p": pa.array([value], kind), **{k: [v] for k, v in plain.items()}})
        for part in ColumnarEncoder(mapping, Limits(), None, lambda: NOW).encode(table):
            assert part.leftover.tolist() == [0]
        (record,) = rows_as_records(table, range(1))
    with pytest.raises(RecordError) as caught:
        MappedEventEncoder(mapping, Limits(), None, lambda: NOW).encode(record)
    return caught.value.reason


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_whole_decimals_beyond_64_bits_fail_as_integers_do(value: int) -> None:
    assert _refused(value) == "integer_too_large"
    for kind in (pa.decimal128(38, 0), pa.decimal128(38, 2), pa.decimal256(50, 5)):
        assert _refused(Decimal(value), kind) == "integer_too_large"
    nested = pa.list_(pa.decimal128(38, 0))
    assert _refused([Decimal(value)], nested) == "integer_too_large"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", [pa.decimal128(38, 0), pa.decimal128(38, 10), pa.decimal64(18, 0)])
def test_whole_decimals_are_integers_as_user_and_time(kind: pa.DataType, path: str) -> None:
    for values in (pa.array([Decimal(12345), Decimal(7)], kind), [Decimal(12345), Decimal(7)]):
        made = _properties(values, path, distinct_id="p")
        assert [properties["distinct_id"] for properties in made] == ["12345", "7"]
        made = _properties(values, path, distinct_id=None, user_id="p")
        assert [properties["$user_id"] for properties in made] == ["12345", "7"]
    moments = [Decimal(1_700_000_000), Decimal(1_600_000_000)]
    if kind.precision - kind.scale > 12:
        for values in (pa.array(moments, kind), moments):
            made = _properties(values, path, time=TimeColumn("p", "s"))
            assert [p["time"] for p in made] == [1_700_000_000_000, 1_600_000_000_000]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("scale", [0, 1, 2, 3, 6, 15])
def test_times_with_a_fraction_are_rounded_down(scale: int, unit: Any) -> None:
    per_ms = Decimal({"s": 1000, "ms": 1, "us": 1, "ns": 1}[unit])
    many = {"s": 1, "ms": 1, "us": 1000, "ns": 10**6}[unit]
    with decimal.localcontext(prec=60):
        value = (Decimal(1_700_000_000_123) * many / per_ms).quantize(
            Decimal(1).scaleb(-scale), rounding=decimal.ROUND_DOWN
        )
        expected = int(value * per_ms / many // 1)
    for path in PATHS:
        for source in (pa.array([value], pa.decimal128(35, scale)), [value]):
            (properties,) = _properties(source, path, time=TimeColumn("p", unit))
            assert properties["time"] == expected


def test_a_user_with_a_fraction_fails() -> None:
    half = Decimal("12.5")
    assert _refused(half, pa.decimal128(38, 1), distinct_id="p") == "distinct_id_wrong_type"
    optional = {"distinct_id": None, "user_id": "p", "device_id": "u"}
    assert _refused(half, pa.decimal128(38, 1), **optional) == "distinct_id_wrong_type"


def test_raw_events_take_whole_decimals() -> None:
    properties = {"time": Decimal(1_700_000_000), "distinct_id": Decimal(42), "n": LARGE[0]}
    encoder = RawEventEncoder(Limits(), clock=lambda: NOW)
    event = encoder.encode({"event": "E", "properties": properties})
    sent = orjson.loads(event.json)["properties"]
    assert (sent["time"], sent["distinct_id"]) == (1_700_000_000_000, "42")
    assert sent["n"] == 1234567890123456789


@pytest.mark.parametrize(
    ("value", "rounded"),
    [
        (Decimal("0.1"), 0),
        (Decimal("0.123456789012345"), 0),
        (Decimal("0.1234567890123456"), 0),
        (Decimal("0.123456789012345678"), 1),
        (Decimal("12345678901234567890.5"), 1),
        (Decimal("1234567890123456789"), 0),
        ([Decimal("0.123456789012345678")] * 3, 3),
        (datetime.timedelta(days=20_000_000, microseconds=1), 1),
        (datetime.timedelta(days=20_000_000), 0),
    ],
)
def test_rounded_numbers_are_counted(value: Any, rounded: int) -> None:
    record = {"u": "u", "e": "E", "t": 1_700_000_000, "p": value}
    encoder = MappedEventEncoder(_mapping(), Limits(), None, lambda: NOW)
    assert encoder.encode(record).rounded_decimals == rounded
    table = table_of([record, record], _mapping())
    assert table is not None
    columnar = ColumnarEncoder(_mapping(), Limits(), None, lambda: NOW)
    done = encode_slice(columnar, table, None, [Run(2, 0, ())], Limits())
    assert done.counts["rounded_decimals"] == 2 * rounded or done.odd == [0, 1]


def test_failed_records_keep_all_digits() -> None:
    record = {"a": DEEP[1], "b": Decimal("1e30"), "c": [Decimal("2.50")], "d": 0.1, "e": LARGE[0]}
    failed = FailedRecord("distinct_id_null", "", record_json=record_as_json(record))
    again = FailedRecord.from_json(failed.to_json())
    assert again.record == {**record, "b": 10**30, "c": [2.5]}
    assert FailedRecord.from_json(again.to_json()).record == again.record


def test_old_dates_arrive() -> None:
    moments = [datetime.datetime(9999, 12, 31), datetime.datetime(1, 1, 1)]
    texts = ["9999-12-31T00:00:00", "0001-01-01T00:00:00"]
    column = pa.array(moments, pa.timestamp("us"))
    for path in PATHS:
        assert [p["p"] for p in _properties(column, path)] == texts
        nested = pa.array([[moment] for moment in moments], pa.list_(pa.timestamp("us")))
        assert [p["p"] for p in _properties(nested, path)] == [[text] for text in texts]
    assert _refused(moments[0], pa.timestamp("us"), time="p") == "time_out_of_range"
    assert _refused(moments[1], pa.timestamp("us"), time="p") == "time_out_of_range"


def _struct(name: str, kind: pa.DataType) -> pa.DataType:
    return pa.struct([(name, kind)])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([[[[1]]]], pa.list_(pa.list_(pa.list_(pa.list_(pa.int8()))))),
        ({"a": [[[1]]]}, pa.struct([("a", pa.list_(pa.list_(pa.list_(pa.int8()))))])),
        ({"a": {"b": [[1]]}}, _struct("a", _struct("b", pa.list_(pa.list_(pa.int8()))))),
        ([[[{"a": 1}]]], pa.list_(pa.list_(pa.list_(pa.struct([("a", pa.int8())]))))),
        ({"a": {"b": {"c": 1}}}, _struct("a", _struct("b", _struct("c", pa.int8())))),
    ],
)  # fmt: skip
def test_what_nests_too_deep_fails(value: Any, kind: pa.DataType) -> None:
    assert _refused(value) == "nested_too_deep"
    assert _refused(value, kind) == "nested_too_deep"
    assert _refused(np.array(value) if isinstance(value, list) else value) == "nested_too_deep"


@pytest.mark.parametrize(
    "value", [[[[1]]], {"a": [[1]]}, {"a": {"b": [1]}}, [[{"a": 1}]], [{"a": [[1]]}][:0], [[[]]]]
)
def test_what_does_not_is_sent(value: Any) -> None:
    for path in PATHS:
        for source in ([value], pa.array([value])):
            assert [p["p"] for p in _properties(source, path)] == [value]


def _sized(form: str, size: int) -> Any:
    """A list or an object of so many bytes of JSON."""
    value: Any = ["x" * 100] * (size // 103 - 2)
    if form == "list of objects":
        value = [{"a": text} for text in value[: len(value) * 100 // 110]]
    if form == "list in an object":
        value = {"a": value}
    if form == "object":
        value = {f"k{n:03}": text for n, text in enumerate(value[: len(value) * 9 // 10])}
    last = value["a"] if form == "list in an object" else value
    more = size - len(orjson.dumps(value))
    if isinstance(last, list):
        last.append({"a": "x" * (more - 9)} if form == "list of objects" else "x" * (more - 3))
    else:
        last["z"] = "x" * (more - 7)
    assert len(orjson.dumps(value)) == size
    return value


FORMS = ["list", "list in an object", "list of objects", "object"]


@pytest.mark.parametrize("form", FORMS)
def test_a_list_or_an_object_has_8_kb(form: str) -> None:
    fits, large = _sized(form, MAX_NESTED_BYTES), _sized(form, MAX_NESTED_BYTES + 1)
    reason = "lists_too_large" if form.startswith("list") else "object_too_large"
    reason = "object_too_large" if form == "list in an object" else reason
    for path in PATHS:
        for source in ([fits], pa.array([fits])):
            assert _properties(source, path)[0]["p"] == fits
    assert _refused(large) == reason
    assert _refused(large, pa.array([large]).type) == reason
    text = "x" * (MAX_NESTED_BYTES + 1)
    for path in PATHS:  # a long text is neither
        assert _properties([text], path)[0]["p"] == text


def test_each_property_has_its_own_8_kb() -> None:
    large = ["x" * 100] * 70
    record = {"u": "u", "e": "E", "t": 1_700_000_000, "p": large, "q": large, "r": {"a": large}}
    one = MappedEventEncoder(_mapping(), Limits(), None, lambda: NOW).encode(record).json
    table = pa.table({name: [value] for name, value in record.items()})
    columnar = ColumnarEncoder(_mapping(), Limits(), None, lambda: NOW)
    (part,) = columnar.encode(table)
    assert part.leftover.tolist() == []
    assert part.texts.events() == [one]
