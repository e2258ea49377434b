"""Records that are encoded together, as a table, make the events that they make one by one."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import os
import unittest.mock
import uuid
import zoneinfo
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.api.values import json_text, to_json
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.tables import encode_slice, slice_rows, table_of
from mixpanel_sink.errors import RecordError
from mixpanel_sink.settings.columns import Column, Constant, ContentId, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from tests.encode.pandas_nulls import NULLS

NOW = 1_800_000_000_000
EXAMPLES = 20_000 if os.environ.get("MIXPANEL_SINK_LONG") else 150
MAPPING = EventMapping(
    event=Constant("E"), distinct_id="user", time="at", insert_id=ContentId(), drop_nulls=True
)
LIMITS = Limits(batch_events=7)
UTC = datetime.timezone.utc
ZONES = [UTC, zoneinfo.ZoneInfo("Europe/Berlin"), None]

PLAIN: list[st.SearchStrategy[Any]] = [
    st.text(max_size=300),
    st.text(st.characters(), max_size=5),  # half surrogates too
    st.integers(),
    st.integers(-5, 5),
    st.floats(),
    st.booleans(),
    st.binary(max_size=5),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.sampled_from(ZONES[:2])),
    st.none(),
]


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"
    SOME = ("a", 2.5)


class Hostile:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class HostileMapping(collections.UserDict[str, int]):
    """Cannot be read."""

    def __getitem__(self, key: str) -> int:
        raise RuntimeError(key)


class HostileZone(datetime.tzinfo):
    """Knows no offset."""

    def utcoffset(self, moment: Any) -> Any:
        raise RuntimeError(moment)


class NoZone(datetime.tzinfo):
    """Has no offset, so that a datetime with it is naive."""

    def utcoffset(self, moment: Any) -> None:
        return None


class Many(dict[str, int]):
    """A dict of a class of its own."""


NESTED = st.recursive(
    st.none() | st.floats() | st.text(st.characters(), max_size=3) | st.dates() | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["b", "a", "é", "null"]), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=8,
)
ODD: list[st.SearchStrategy[Any]] = [
    st.decimals(),
    st.decimals(allow_nan=False, allow_infinity=False, places=2),
    st.decimals(-(10**45), 10**45, allow_nan=False),
    st.timedeltas(),
    st.times(),
    st.integers(2**62, 2**65),
    st.uuids(),
    st.sampled_from(Color),
    st.builds(Many, st.just({"b": 1, "a": 2})),
    st.lists(st.integers(), max_size=3),
    st.lists(st.floats(), max_size=3),
    st.lists(st.dictionaries(st.sampled_from("cab"), st.text(max_size=3)), max_size=4),
    st.just(list(range(254))) | st.just(list(range(255))),
    st.just({f"{i}": i for i in range(254)}) | st.just({f"{i}": i for i in range(255)}),
    st.text(min_size=250, max_size=260),
    st.dictionaries(st.sampled_from(["b", "a"]) | st.integers(), st.integers(), max_size=3),
    NESTED,
    NESTED,
]


@st.composite
def batches(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(["a", "b", "é", "$x"]), max_size=3, unique=True))
    kinds = {name: draw(st.sampled_from([*PLAIN, *ODD])) for name in names}
    mixed = draw(st.booleans())
    missing = draw(st.booleans())

    def value(name: str) -> Any:
        kind = draw(st.sampled_from(PLAIN)) if mixed and draw(st.booleans()) else kinds[name]
        return draw(kind | st.none())

    users = st.sampled_from(["u", "v", "null", None, ""])
    times = st.datetimes(datetime.datetime(1960, 1, 1), datetime.datetime(2030, 1, 1))
    zone = draw(st.sampled_from(ZONES))
    return [
        {
            "user": draw(users),
            "at": draw(times).replace(tzinfo=zone),
            "device": draw(st.sampled_from(["d", None])),
            **{name: value(name) for name in names if not (missing and draw(st.booleans()))},
        }
        for _ in range(draw(st.integers(1, 20)))
    ]


MAPPINGS = [
    MAPPING,
    dataclasses.replace(MAPPING, non_finite="drop"),
    dataclasses.replace(MAPPING, drop_nulls=False),
    dataclasses.replace(MAPPING, include_mapped=True, constants={"k": [1]}),
    dataclasses.replace(MAPPING, distinct_id=None, user_id="user", device_id="device"),
    dataclasses.replace(MAPPING, properties=["a", "b"], rename={"a": "z"}),
    dataclasses.replace(MAPPING, insert_id=["user", "a"]),
    dataclasses.replace(MAPPING, event=Column("a", if_null="E")),
]


@settings(max_examples=EXAMPLES, deadline=None)
@given(batches(), st.sampled_from(MAPPINGS), st.booleans())
def test_together_as_one_by_one(
    records: list[dict[str, Any]], mapping: EventMapping, exact: bool
) -> None:
    table = table_of(records) if exact else table_of(records, mapping)
    if table is None:
        return
    one_by_one = MappedEventEncoder(mapping, LIMITS, clock=lambda: NOW)
    columnar = ColumnarEncoder(mapping, LIMITS, clock=lambda: NOW)
    origins = [Run(1, 1000 + i, ()) for i in range(len(records))]
    encoded = encode_slice(columnar, table, None, origins, LIMITS)
    events = [
        (event, chunk.origin(i).timestamp - 1000)
        for chunk in encoded.chunks
        for i, event in enumerate(chunk.events())
    ] + [(event, origin.timestamp - 1000) for event, origin in encoded.rest]
    assert sorted([row for _, row in events] + encoded.odd) == list(range(len(records)))
    long_strings = 0
    for event, row in events:
        try:
            expected = one_by_one.encode(records[row])
        except RecordError as error:
            pytest.fail(f"{records[row]} went out although {error}")
        assert event == expected.json
        long_strings += expected.long_strings
    assert encoded.counts["long_strings"] == long_strings


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.one_of(NESTED, *PLAIN, *ODD))
def test_json_in_one_go_is_the_same(value: Any) -> None:
    text = json_text(value)
    if text is not None:
        assert text == orjson.dumps(to_json(value, "field", False)).decode()


@pytest.mark.parametrize(
    "value", [[1, "a"], {"b": [1.5], "a": {"c": True}}, (1,), uuid.UUID(int=5), Color.SOME, 5, 2.5]
)
def test_what_is_written_in_one_go(value: Any) -> None:
    assert json_text(value) is not None


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), [float("inf")], list(range(255)), {str(i): 0 for i in range(255)},
        {"a": {"b": {"c": 1}}}, {1: 2}, Many(a=1), 2**64, "\ud800", datetime.date(2024, 1, 1),
        decimal.Decimal(1), {"a": None},
    ],
)  # fmt: skip
def test_what_is_not(value: Any) -> None:
    assert json_text(value) is None


@pytest.mark.parametrize(
    "values",
    [
        ["a", None],
        [1, None, -(2**63)],
        [1.5, float("nan")],
        [True, None],
        [b"x"],
        [datetime.date(2024, 1, 1)],
        [datetime.datetime(2024, 1, 1), None],
        [datetime.datetime(2024, 1, 1, tzinfo=zone) for zone in ZONES[:2]],
        [None],
    ],
)
def test_plain_records_make_a_table(values: list[Any]) -> None:
    table = table_of([{"x": value} for value in values])
    assert table is not None
    assert len(table) == len(values)


FULL = {"user": "u", "at": datetime.datetime(2024, 1, 1), "device": None}


@pytest.mark.parametrize(
    "records",
    [
        [{"x": 1}, {"x": 1.5}],
        [{"x": 1}, {"x": True}, {"x": "text"}, {"x": None}],
        [{"x": 1}, {"y": 1}],
        [{"x": 1}, {"x": 1, "y": 2}],
        [{"x": 2**64 - 1}],
        [{"x": [1]}, {"x": {"a": [{"b": None}]}}],
        [{"x": decimal.Decimal("1.5")}, {"x": decimal.Decimal("1e3")}],
        [{"x": datetime.datetime(2024, 1, 1)}, {"x": datetime.datetime(2024, 1, 1, tzinfo=UTC)}],
        [{"x": Color.RED}, {"x": uuid.UUID(int=1)}, {"x": datetime.time(1)}],
        [{"x": decimal.Decimal("-0.00")}, {"x": decimal.Decimal("1.00")}],
        [{"x": datetime.datetime(2024, 1, 1, tzinfo=NoZone())}],
        [{"at": datetime.datetime(2024, 1, 1, tzinfo=NoZone())}],
        [{"x": null} for null in [*NULLS, 1]],
        [{"x": NULLS}],
    ],
)
def test_with_a_mapping_properties_may_be_anything(records: list[dict[str, Any]]) -> None:
    whole = [FULL | record for record in records]
    table = table_of(whole, MAPPING)
    assert table is not None
    encoder = ColumnarEncoder(MAPPING, LIMITS, clock=lambda: NOW)
    encoded = encode_slice(encoder, table, None, [Run(len(whole), 0, ())], LIMITS)
    assert encoded.odd == []
    one_by_one = MappedEventEncoder(MAPPING, LIMITS, clock=lambda: NOW)
    expected = [one_by_one.encode(record).json for record in whole]
    assert [event for event, _ in encoded.rest] == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([float("nan")], "non_finite_number"),
        (list(range(255)), "list_too_long"),
        (2**64, "integer_too_large"),
        (["\ud800"], "invalid_text"),
        (object(), "unsupported_type"),
        (np.timedelta64(1, "M"), "unsupported_type"),
        (unittest.mock.Mock(), "unsupported_type"),
        (Hostile(), "unsupported_type"),
        ({Hostile()}, "unsupported_type"),
        (HostileMapping(a=1), "unsupported_type"),
        ([HostileMapping(a=1)], "unsupported_type"),
        ((i for i in range(3)), "unsupported_type"),
        (datetime.datetime(2024, 1, 1, tzinfo=HostileZone()), "unsupported_type"),
    ],
)
def test_one_value_that_fails_costs_one_record(value: Any, reason: str) -> None:
    records = [FULL | {"x": [1]}, FULL | {"x": value}, FULL | {"x": None}]
    table = table_of(records, MAPPING)
    assert table is not None
    encoder = ColumnarEncoder(MAPPING, LIMITS, clock=lambda: NOW)
    encoded = encode_slice(encoder, table, None, [Run(3, 0, ())], LIMITS)
    assert (len(encoded.rest), encoded.odd) == (2, [1])
    with pytest.raises(RecordError) as caught:
        MappedEventEncoder(MAPPING, LIMITS, clock=lambda: NOW).encode(records[1])
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "records",
    [
        [{"user": "u"}, FULL],  # of a column that the mapping needs
        [FULL | {"at": "soon"}, FULL],
        [FULL | {1: 1}],
        [{}, {}],
        [FULL | {f"x{i}": i} for i in range(100)],  # a table of nulls
    ],
)
def test_with_a_mapping_some_still_do_not(records: list[dict[Any, Any]]) -> None:
    assert table_of(records, MAPPING) is None


def test_keys_may_only_be_missing_where_nulls_are_left_out() -> None:
    records = [FULL | {"x": 1}, FULL | {"y": 1}]
    assert table_of(records, dataclasses.replace(MAPPING, drop_nulls=False)) is None


@pytest.mark.parametrize(
    "records",
    [
        [{"x": 1}, {"x": 1.5}],
        [{"x": 1}, {"x": True}],
        [{"x": 1}, {"y": 1}],
        [{"x": 1}, {"x": 1, "y": 2}],
        [{"x": 2**63}],
        [{"x": "\ud800"}],
        [{1: "x"}],
        [{"x": [1]}],
        [{}],
        [{}, {}],
        [{"x": datetime.datetime(2024, 1, 1)}, {"x": datetime.datetime.now(ZONES[0])}],
    ],
)
def test_others_do_not(records: list[dict[Any, Any]]) -> None:
    assert table_of(records) is None


def test_slices_are_whole_batches_and_small_for_wide_tables() -> None:
    narrow = pa.table({"x": range(100_000)})
    assert slice_rows(narrow, 2000) == 50_000
    several = pa.table({"x": ["y" * 200] * 60_000})
    assert slice_rows(several, 2000) == 30_000, "two of about the same size"
    large = pa.table({"x": ["y" * 3000] * 5000})
    assert slice_rows(large, 2000) == 2000, "a whole request"
    wide = pa.table({"x": ["y" * 100_000] * 1000})
    assert slice_rows(wide, 2000) < 100


def test_slices_are_small_for_long_texts_in_a_dictionary() -> None:
    texts = pa.array([chr(97 + i) * 4000 for i in range(20)])
    words = pa.DictionaryArray.from_arrays(np.arange(50_000) % 20, texts)
    assert 1900 < slice_rows(pa.table({"x": words}), 2000) <= 2000
    assert slice_rows(pa.table({"x": words.slice(0, 3)}), 2000) == 50_000, "of the part only"
    assert slice_rows(pa.table({"x": words.slice(0, 0)}), 2000) == 50_000


def test_slices_of_text_views_whose_size_older_versions_of_arrow_do_not_tell() -> None:
    texts = pa.array(["y" * 3000] * 5000, pa.string_view())
    assert slice_rows(pa.table({"x": texts}), 2000) == 2000
    words = pa.DictionaryArray.from_arrays(np.arange(5000) % 20, texts.slice(0, 20))
    assert slice_rows(pa.table({"x": words.slice(0, 100)}), 2000) > 2


@pytest.mark.parametrize(("size", "rows"), [(100_000, 300), (1_500_000, 30)])
def test_long_strings_stay_within_the_byte_limits(size: int, rows: int) -> None:
    texts = [chr(97 + i % 26) * size for i in range(rows)]
    table = pa.table({"user": ["u"] * rows, "at": [NOW] * rows, "text": texts})
    _check_limits(table, Limits(), rows)


def test_wide_tables_stay_within_the_byte_limits() -> None:
    columns = {f"p{i}": [i / 7] * 5000 for i in range(240)}
    table = pa.table({"user": ["u"] * 5000, "at": [NOW] * 5000, **columns})
    _check_limits(table, Limits(event_bytes=20_000, batch_bytes=1_000_000), rows=5000)


def _check_limits(table: pa.Table, limits: Limits, rows: int) -> None:
    """Slices are small, chunks within the limit and not much smaller, and nothing is lost."""
    mapping = EventMapping(
        event=Constant("E"), distinct_id="user", time=TimeColumn("at", "ms"), insert_id=ContentId()
    )
    encoder = ColumnarEncoder(mapping, limits, None, lambda: NOW)
    step = slice_rows(table, limits.batch_events)
    assert table.slice(0, step).nbytes <= max(10_000_000, 8 * table.nbytes / len(table))
    sent = 0
    for start in range(0, rows, step):
        part = table.slice(start, step)
        done = encode_slice(encoder, part, None, [Run(len(part), 0, ("",))], limits)
        assert not done.odd
        largest = max([len(e) for chunk in done.chunks for e in chunk.events()], default=0)
        for chunk in done.chunks:
            assert limits.batch_bytes - largest < chunk.raw_bytes + 3 <= limits.batch_bytes + 3
            assert len(b"".join(chunk.events())) + 2 * chunk.count + 1 == chunk.raw_bytes
        sent += sum(chunk.count for chunk in done.chunks) + len(done.rest)
    assert sent == rows
