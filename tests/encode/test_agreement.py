"""The columnar encoder and the record encoder make the same events of the same data."""

import dataclasses
import datetime
import decimal
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixpanel_sink import ContentId, EventMapping, PositionId, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder, EncodedTable
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.errors import RecordError
from tests.encode.arrow_tables import MAX_AGE, NOW, PER_SECOND, Case, cases, fast_types, values

EXAMPLES = 20_000 if os.environ.get("MIXPANEL_SINK_LONG") else 200
KEY = "0123456789abcdef0123"
MAPPING = EventMapping(event="e", time=TimeColumn("t", "s"), distinct_id="u")


def _clock() -> int:
    return NOW


def _columnar(case: Case) -> list[EncodedTable]:
    encoder = ColumnarEncoder(case.mapping, case.limits, case.token, _clock, case.mark)
    return list(encoder.encode(case.table, case.file_key, case.first_row))


def _events(encoded: EncodedTable) -> list[bytes]:
    texts = encoded.texts
    assert len(texts) == len(encoded.rows)
    whole = [b"".join(texts.lines(i, i + 1)) for i in range(len(texts))]
    assert all(event.startswith(b"\n,") for event in whole)
    assert [event[2:] for event in whole] == texts.events()
    return texts.events()


def _records(case: Case, rows: list[int]) -> Iterator[tuple[int, Any]]:
    """Each row with its event, or with the RecordError that it ends in."""
    encoder = MappedEventEncoder(case.mapping, case.limits, case.token, _clock, case.mark)
    for row, record in zip(rows, rows_as_records(case.table, rows), strict=True):
        place = None
        if case.file_key is not None:
            place = RowOrigin("f.parquet", case.file_key, case.first_row + row)
        try:
            result: Any = encoder.encode(record, place)
        except RecordError as error:
            result = error
        if isinstance(result, RecordError):
            assert result.reason
            assert result.message.endswith((".", "?"))
            (result.message + (result.field or "")).encode()  # failures are written as UTF-8
        yield row, result


def _check(case: Case) -> list[EncodedTable]:
    """Asserts that both encoders agree, and that no row is lost or doubled."""
    pieces = _columnar(case)
    seen = np.concatenate([[], *(p.rows for p in pieces), *(p.leftover for p in pieces)])
    assert sorted(seen.tolist()) == list(range(len(case.table)))
    for piece in pieces:
        assert sorted(piece.rows.tolist()) == piece.rows.tolist()
        expected = dict(_records(case, piece.rows.tolist()))
        for row, event in zip(piece.rows.tolist(), _events(piece), strict=True):
            assert not isinstance(expected[row], RecordError), expected[row]
            assert event.decode() == expected[row].json.decode()
        assert piece.long_strings == sum(event.long_strings for event in expected.values())
        rounded = sum(event.rounded_decimals for event in expected.values())
        assert piece.rounded_decimals == rounded
        list(_records(case, piece.leftover.tolist()))
    return pieces


PROFILE = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@PROFILE
@given(cases())
def test_both_encoders_agree(case: Case) -> None:
    _check(case)


@PROFILE
@given(st.data(), fast_types(), st.booleans(), st.sampled_from([None, ContentId(), ["e", "p"]]))
def test_types_that_stay_columnar(
    data: st.DataObject, kind: pa.DataType, drop_nulls: bool, insert_id: Any
) -> None:
    items = data.draw(st.lists(values(kind, wild=False), min_size=1, max_size=8))
    mapping = dataclasses.replace(MAPPING, drop_nulls=drop_nulls, insert_id=insert_id)
    pieces = _check(Case(_table(p=pa.array(items, kind)), mapping))
    if (isinstance(insert_id, list) and _is_odd_id(kind)) or _has_durations(kind):
        return
    assert sum(len(piece.leftover) for piece in pieces) == 0


def _has_durations(kind: pa.DataType) -> bool:
    """Durations of so many ticks that a float does not hold them are the record encoder's."""
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    if pa.types.is_dictionary(kind):
        inner = [kind.value_type]
    return pa.types.is_duration(kind) or any(map(_has_durations, inner))


def _is_odd_id(kind: pa.DataType) -> bool:
    """In an id, maps and decimals in lists or structs are left to the record encoder."""
    if pa.types.is_map(kind) or pa.types.is_decimal256(kind):
        return True
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    return any(pa.types.is_decimal(part) or _is_odd_id(part) for part in inner)


DECIMALS = [
    pa.decimal128(38, 0), pa.decimal128(18, 0), pa.decimal128(19, 2), pa.decimal128(38, 18),
    pa.decimal128(38, 38), pa.decimal128(15, 5), pa.decimal128(15, 6), pa.decimal64(18, 9),
]  # fmt: skip


@PROFILE
@given(st.data(), st.sampled_from(DECIMALS), st.sampled_from([None, ContentId(), ["e", "p"], "p"]))
def test_decimals_stay_columnar(data: st.DataObject, kind: pa.DataType, insert_id: Any) -> None:
    items = data.draw(st.lists(values(kind, data.draw(st.booleans())), min_size=1, max_size=8))
    mapping = dataclasses.replace(MAPPING, insert_id=insert_id, include_mapped=True)
    pieces = _check(Case(_table(p=pa.array(items, kind)), mapping))
    left = {row for piece in pieces for row in piece.leftover.tolist()}
    for row in left:
        large = items[row] is not None and not -(2**63) <= items[row] < 2**64
        assert large or (items[row] is None and insert_id == "p")


@pytest.mark.parametrize("items", [[None, None], [None, {"b": None}], [{"b": None}, None]])
def test_null_fields_of_structs_in_lists_stay_columnar(items: list[Any]) -> None:
    kind = pa.list_(pa.struct([("b", pa.null())]))
    assert _check(Case(_table(p=pa.array([items], kind)), MAPPING))[0].rows.tolist() == [0]


def _table(**columns: Any) -> pa.Table:
    """With a user, an event and a time for each value."""
    rows = len(next(iter(columns.values())))
    mapped = {"u": ["u"] * rows, "e": ["E"] * rows, "t": [1_700_000_000] * rows}
    return pa.table({**mapped, **columns})


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view(), pa.int64()])
@pytest.mark.parametrize("part", ["distinct_id", "user_id", "device_id", "insert_id"])
def test_ids_stay_columnar(kind: pa.DataType, part: str) -> None:
    table = _table(x=pa.array([7, 8, 9]).cast(kind))
    pieces = _check(Case(table, dataclasses.replace(MAPPING, **{part: "x"})))
    assert pieces[0].rows.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.timestamp(unit, zone) for unit in PER_SECOND for zone in (None, "UTC", "Asia/Tokyo")),
        pa.timestamp("us", "-03:30"),
        pa.date32(),
        pa.date64(),
    ],
)
def test_times_stay_columnar(kind: pa.DataType) -> None:
    moments = pa.array([datetime.date(2024, 2, 29), datetime.date(1999, 12, 31)])
    table = _table(t=moments.cast(pa.timestamp("us")).cast(kind))
    for zone in ("UTC", "Europe/Berlin"):
        mapping = dataclasses.replace(MAPPING, time=TimeColumn("t", timezone=zone))
        assert _check(Case(table, mapping))[0].rows.tolist() == [0, 1]


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.float64()])
@pytest.mark.parametrize("unit", list(PER_SECOND))
def test_numeric_times_stay_columnar(kind: pa.DataType, unit: Any) -> None:
    table = _table(t=pa.array([1_700_000_000 * PER_SECOND[unit]]).cast(kind, safe=False))
    mapping = dataclasses.replace(MAPPING, time=TimeColumn("t", unit))
    assert _check(Case(table, mapping))[0].rows.tolist() == [0]


@pytest.mark.parametrize("column", ["*", "^p$", "^.*$", "ok", "p:x", "i:time", "c0", "é", "{}", ""])
def test_any_column_name_stays_columnar(column: str) -> None:
    pieces = _check(Case(_table(p=[1, 2], **{column: ["x", None]}), MAPPING))
    assert pieces[0].rows.tolist() == [0, 1]


def test_durations_are_divided_exactly() -> None:
    nanoseconds = pa.array(range(1, 200_000, 97), pa.duration("ns"))
    _check(Case(_table(p=nanoseconds), MAPPING))


def test_one_odd_row_among_many_costs_a_few_rows() -> None:
    numbers = [datetime.date(2024, 1, 1)] * 3000
    days = pa.array(numbers, pa.date32()).cast(pa.int32()).to_pylist()
    days[1234] = 10**7  # beyond Python's dates
    pieces = _check(Case(_table(p=pa.array(days, pa.date32())), MAPPING, file_key=KEY, first_row=5))
    left = np.concatenate([piece.leftover for piece in pieces])
    assert 1234 in left
    assert len(left) <= 256


def test_position_ids_count_from_the_first_row() -> None:
    case = Case(_table(u=["a", None, "b"]), MAPPING, file_key=KEY, first_row=40)
    (piece,) = _check(case)
    ids = [orjson.loads(event)["properties"]["$insert_id"] for event in _events(piece)]
    assert ids == [f"{KEY}-40", f"{KEY}-42"]


def test_position_unknown_is_left_to_the_record_encoder() -> None:
    mapping = dataclasses.replace(MAPPING, insert_id=PositionId())
    (piece,) = _check(Case(_table(p=[1, 2]), mapping))
    assert piece.leftover.tolist() == [0, 1]


def _reasons(case: Case) -> list[str | None]:
    """Of the rows that the columnar encoder leaves over; None for an event."""
    pieces = _check(case)
    rows = np.concatenate([piece.leftover for piece in pieces]).astype(int).tolist()
    return [getattr(result, "reason", None) for _, result in _records(case, rows)]


def _invalid_text(*items: bytes) -> pa.Array:
    binary = pa.array(items, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())


ODD = {
    "text that is not UTF-8": (_invalid_text(b"\xff"), "unreadable_value"),
    "half a surrogate pair": (_invalid_text(b"\xed\xa0\x80"), "unreadable_value"),
    "bad text in a dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([0]), _invalid_text(b"\xff")),
        "unreadable_value",
    ),
    "a year beyond 9999": (pa.array([4 * 10**6], pa.date32()), "unreadable_value"),
    "a time beyond the day": (pa.array([86_405], pa.time32("s")), "unreadable_value"),
    "a negative time": (pa.array([-1], pa.time64("us")), "unreadable_value"),
    "NaN": (pa.array([float("nan")]), "non_finite_number"),
    "NaN in a list": (pa.array([[float("nan")]]), "non_finite_number"),
    "infinity in a struct": (pa.array([{"a": float("inf")}]), "non_finite_number"),
    "a long list": (pa.array([[1] * 255]), "list_too_long"),
    "a long list in a list": (pa.array([[[1] * 255]]), "list_too_long"),
    "deep structs": (pa.array([{"a": {"b": {"c": 1}}}]), "nested_too_deep"),
    "two map keys": (
        pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int8())),
        "duplicate_property",
    ),
    "a map": (pa.array([[("b", 1), ("a", None)]], pa.map_(pa.string(), pa.int8())), None),
    "an unknown zone": (pa.array([1], pa.timestamp("us", "Foo/Bar")), None),
    "a wide decimal": (
        pa.array([decimal.Decimal(10) ** 50], pa.decimal256(60)),
        "integer_too_large",
    ),
    "a wide decimal that is small": (pa.array([decimal.Decimal(5)], pa.decimal256(60)), None),
    "deep lists": (pa.array([[[[[1]]]]]), "nested_too_deep"),
    "lists in a list in a struct": (pa.array([{"a": [[[1]]]}]), "nested_too_deep"),
    "a struct in three lists": (pa.array([[[[{"a": 1}]]]]), "nested_too_deep"),
    "a long list of texts": (pa.array([["x" * 1000] * 9]), "lists_too_large"),
    "a map with a long list": (
        pa.array([[("a", ["x" * 1000] * 9)]], pa.map_(pa.string(), pa.list_(pa.string()))),
        "object_too_large",
    ),
    "nanoseconds in a map": (
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.timestamp("ns"))),
        None,
    ),
    "an empty struct": (pa.array([{}], pa.struct([])), None),
    "a pattern in a struct": (
        pa.array([{"*": datetime.date(2024, 1, 1)}], pa.struct([("*", pa.date32())])),
        None,
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_values_end_in_an_event_or_a_reason(name: str) -> None:
    column, reason = ODD[name]
    assert _reasons(Case(_table(p=column), MAPPING)) in ([reason], [] if reason is None else None)


def test_two_columns_of_one_name_are_not_merged() -> None:
    table = pa.table([["u"], ["E"], [1_700_000_000], [1], [2]], names=["u", "e", "t", "p", "p"])
    assert _reasons(Case(table, MAPPING)) == ["duplicate_property"]


@pytest.mark.parametrize("table", [_table(p=[]), pa.table({"t": [], "u": [], "e": []})])
def test_empty_tables(table: pa.Table) -> None:
    assert sum(len(piece.rows) for piece in _check(Case(table, MAPPING))) == 0


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("s", "Asia/Tokyo")]
)
def test_too_old_for_track(kind: pa.DataType) -> None:
    at = NOW // 1000 - MAX_AGE
    table = _table(t=pa.array([at - 1, at, at + 1]).cast(pa.timestamp("s")).cast(kind))
    time = TimeColumn("t", "s" if kind == pa.int64() else None)
    mapping = dataclasses.replace(MAPPING, time=time)
    case = Case(table, mapping, limits=Limits(max_age_seconds=MAX_AGE))
    assert _reasons(case) == ["too_old_for_track"]
    zoned = dataclasses.replace(mapping, time=TimeColumn("t", time.unit, "Europe/Berlin"))
    naive = kind in (pa.timestamp("s"), pa.timestamp("ns"))  # two hours older as Berlin's
    expected = ["too_old_for_track"] * (3 if naive else 1)
    assert _reasons(dataclasses.replace(case, mapping=zoned)) == expected


def test_300_columns() -> None:
    columns: dict[str, list[int | None]] = {f"p{i}": [1, None] for i in range(300)}
    assert _reasons(Case(_table(**columns), MAPPING)) == ["too_many_properties"]
    listed = dataclasses.replace(MAPPING, properties=["p1", "p2"])
    assert _reasons(Case(_table(**columns), listed)) == []


@pytest.mark.parametrize("drop_nulls", [True, False])
@pytest.mark.parametrize("present", [1, 9, 20, 21, 39, 40])
def test_columns_of_which_few_or_many_values_are_there(present: int, drop_nulls: bool) -> None:
    kinds: dict[str, list[Any]] = {
        "integer": [-7, 0, 2**40],
        "float": [0.1, -1e300, 5e-324],
        "boolean": [True, False, False],
        "text": ["a", "", "c d"],
        "quoted": ['a"b', "\\", "\n"],
        "list": [[1, 2], [], [None]],
        "struct": [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": 3, "b": '"'}],
        "decimal": [decimal.Decimal("1.50"), decimal.Decimal("-0.01"), decimal.Decimal(7)],
        "moment": [datetime.datetime(2024, 2, 29, 1), datetime.datetime(1969, 1, 1), None],
    }
    rows = 40
    columns: dict[str, Any] = {"e": ["E"] * rows, "t": [NOW // 1000] * rows, "u": ["ann"] * rows}
    for place, (name, three) in enumerate(kinds.items()):
        # Each column has its values in other rows: the first, the last, and some between.
        where = {(place * 7 + i * 3) % rows for i in range(present)}
        columns[name] = [three[i % 3] if i in where else None for i in range(rows)]
    mapping = dataclasses.replace(MAPPING, drop_nulls=drop_nulls, insert_id=ContentId())
    (piece,) = _check(Case(pa.table(columns), mapping))
    assert len(piece.rows) == rows


def test_maps_stay_columnar() -> None:
    kind = pa.map_(pa.string(), pa.list_(pa.timestamp("ms")))
    moment = datetime.datetime(2024, 2, 29)
    maps = [[("b", [moment]), ("a", None), ('q"', [])], None, []]
    (piece,) = _check(Case(_table(p=pa.array(maps, kind)), MAPPING))
    assert piece.rows.tolist() == [0, 1, 2]
    assert b'"p":{"a":null,"b":["2024-02-29T00:00:00"],"q\\"":[]}' in _events(piece)[0]
    assert _reasons(Case(_table(p=pa.array([[("a", []), ("a", [])]], kind)), MAPPING)) == [
        "duplicate_property"
    ]
    many = [[(str(i), []) for i in range(255)]]
    assert _reasons(Case(_table(p=pa.array(many, kind)), MAPPING)) == ["too_many_keys"]


ISO = "2024-01-15T10:00:00"


@pytest.mark.parametrize(
    ("text", "zone"),
    [
        (ISO, "UTC"),
        (ISO, "Europe/Berlin"),
        (ISO.replace("T", " "), "UTC"),
        (ISO + "Z", "Europe/Berlin"),
        (ISO + "+01:00", "UTC"),
        (ISO + "-05:30", "Europe/Berlin"),
        (ISO + ".123", "UTC"),
        (ISO + ".123456+01:00", "UTC"),
        (ISO + ".12Z", "UTC"),
        (ISO + "z", "UTC"),
        (f" {ISO}", "UTC"),
        ("2024-01-15", "UTC"),
        ("2024-02-29", "Europe/Berlin"),
    ],
)
def test_times_as_text_that_stay_columnar(text: str, zone: str) -> None:
    table = pa.table({"u": ["u"], "e": ["E"], "t": [text]})
    mapping = dataclasses.replace(MAPPING, time=TimeColumn("t", "iso8601", zone))
    (piece,) = _check(Case(table, mapping))
    assert len(piece.rows) == 1


@pytest.mark.parametrize(
    "text",
    [
        "2024-02-30", "2024-01-15T24:00:00", ISO + "+24:00", f"{ISO}\n", "2024-01-15T10:00:60Z",
        "2024-01-15T10:00", "20240115T100000Z", "", None,
        "\u0662024-01-15",
    ],
)  # fmt: skip
def test_other_times_as_text_are_left_to_the_record_encoder(text: str | None) -> None:
    table = pa.table({"u": ["u"], "e": ["E"], "t": pa.array([text], pa.string())})
    mapping = dataclasses.replace(MAPPING, time=TimeColumn("t", "iso8601"))
    (piece,) = _check(Case(table, mapping))
    assert piece.leftover.tolist() == [0]
