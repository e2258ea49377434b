"""Records that are encoded together, as a table, make the events that they make one by one."""

from __future__ import annotations

import datetime
import zoneinfo
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.chunk import Run
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.records import RecordEncoder
from mixpanel_sink.encode.tables import encode_slice, slice_rows, table_of
from mixpanel_sink.errors import RecordError
from mixpanel_sink.limits import Limits
from mixpanel_sink.mapping import Constant, ContentId, EventMapping, TimeColumn

NOW = 1_800_000_000_000
MAPPING = EventMapping(
    event=Constant("E"), distinct_id="user", time="at", insert_id=ContentId(), drop_nulls=True
)
LIMITS = Limits(batch_events=7)
ZONES = [datetime.timezone.utc, zoneinfo.ZoneInfo("Europe/Berlin"), None]

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
ODD: list[st.SearchStrategy[Any]] = [st.decimals(), st.lists(st.integers()), st.timedeltas()]


@st.composite
def batches(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(["a", "b", "é", "$x"]), max_size=3, unique=True))
    kinds = {name: draw(st.sampled_from([*PLAIN, *PLAIN, *ODD])) for name in names}
    mixed = draw(st.booleans())

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
            **{name: value(name) for name in names if not (mixed and draw(st.booleans()))},
        }
        for _ in range(draw(st.integers(1, 20)))
    ]


@settings(max_examples=400, deadline=None)
@given(batches())
def test_together_as_one_by_one(records: list[dict[str, Any]]) -> None:
    table = table_of(records)
    if table is None:
        return
    one_by_one = RecordEncoder(MAPPING, LIMITS, clock=lambda: NOW)
    columnar = ColumnarEncoder(MAPPING, LIMITS, clock=lambda: NOW)
    origins = [Run(1, 1000 + i, ()) for i in range(len(records))]
    encoded = encode_slice(columnar, table, None, origins, LIMITS)
    events = [
        (event, chunk.origin(i).timestamp - 1000)
        for chunk in encoded.chunks
        for i, event in enumerate(chunk.events())
    ] + [(event, origin.timestamp - 1000) for event, origin in encoded.rest]
    assert sorted([row for _, row in events] + encoded.odd) == list(range(len(records)))
    for event, row in events:
        try:
            assert event == one_by_one.encode(records[row]).json
        except RecordError as error:
            pytest.fail(f"{records[row]} went out although {error}")


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
        [{"x": datetime.datetime(2024, 1, 1)}, {"x": datetime.datetime.now(ZONES[0])}],
    ],
)
def test_others_do_not(records: list[dict[Any, Any]]) -> None:
    assert table_of(records) is None


def test_slices_are_whole_batches_and_small_for_wide_tables() -> None:
    narrow = pa.table({"x": range(100_000)})
    assert slice_rows(narrow, 2000) == 50_000
    wide = pa.table({"x": ["y" * 100_000] * 1000})
    assert slice_rows(wide, 2000) < 100


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
