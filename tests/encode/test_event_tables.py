"""Raw events that are encoded together are those that they are one by one."""

from __future__ import annotations

import enum
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.encode.event_tables import EventTables
from mixpanel_sink.encode.raw_events import RawEventEncoder
from mixpanel_sink.encode.tables import encode_slice
from mixpanel_sink.errors import RecordError
from tests.encode.pandas_nulls import NULLS
from tests.encode.test_tables import ODD, PLAIN

EXAMPLES = 20_000 if os.environ.get("MIXPANEL_SINK_LONG") else 200
NOW = 1_750_000_000_000
LIMITS = [Limits(batch_events=7), Limits(batch_events=7, max_age_seconds=5 * 86_400)]
_HALF = "\ud800"

NAMES = st.sampled_from(["Visit", "Order", "Visit", "", None, 5, "$identify", "x" * 256, "é"])
TIMES = st.one_of(
    st.integers(NOW // 1000 - 10**6, NOW // 1000),
    st.integers(NOW - 10**9, NOW),
    st.floats(NOW / 1000 - 10**6, NOW / 1000),
    st.sampled_from(
        [None, True, "2024-01-15", 5, 0, -1, NOW * 1000, 10**5000, float("nan"), NOW + 3_600_000,
         NOW + 3_600_001, NOW // 1000 + 3600, np.int64(NOW), np.float64(NOW / 1000), 2.0**60],
    ),
)  # fmt: skip
USERS = st.sampled_from(["u", "v", "u", 5, 2**70, None, "null", "NULL", "", 1.5, True, "x" * 256])
IDS = st.sampled_from(["id-1", "id 2", "x" * 37, 7, None, "", 1.5, ["a"], _HALF])
TEXTS = st.sampled_from(["a", "b", None, "", 5, "null", _HALF])
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "$insert_id": IDS,
    "ip": st.sampled_from(["1.2.3.4", None, "", 5, "x" * 300, np.array([1, 2])]),
    "$device_id": TEXTS,
    "$user_id": TEXTS,
    "token": st.sampled_from(["t", None]),
    "event": st.just("a property"),
    "\1event": st.just("a property"),
    "properties": st.just(1),
    _HALF: st.just(1),
}
TAME: dict[str, st.SearchStrategy[Any]] = {
    "$insert_id": st.uuids().map(str),
    "ip": st.just("1.2.3.4"),
    "$device_id": st.just("d"),
    "$user_id": st.just("w") | st.none(),
}


@st.composite
def batches(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Events; in a tame batch few of them are odd."""
    tame = draw(st.booleans())
    special = TAME if tame else SPECIAL
    own = draw(st.lists(st.sampled_from(["a", "b", "é", "$x"]), max_size=3, unique=True))
    kinds = {name: draw(st.sampled_from([*PLAIN, *ODD])) for name in own}
    kinds |= {
        name: special[name]
        for name in draw(st.lists(st.sampled_from(sorted(special)), max_size=3, unique=True))
    }
    missing = draw(st.booleans())
    events: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 15))):
        properties = {"distinct_id": "u" if tame else draw(USERS), "time": draw(TIMES)}
        properties |= {
            name: draw(kind)
            for name, kind in kinds.items()
            if not (missing and draw(st.booleans()))
        }
        event: dict[Any, Any] = {"event": draw(NAMES), "properties": properties}
        if not tame:
            odd = draw(st.sampled_from(["", "", "", "", "key", "number", "list", "none"]))
            if odd == "key":
                event["time"] = 5
            elif odd == "number":
                properties[5] = 1
            elif odd in ("list", "none"):
                event["properties"] = [] if odd == "list" else None
        events.append(event)
    return events


@settings(max_examples=EXAMPLES, deadline=None)
@given(batches(), st.sampled_from([None, "token"]), st.sampled_from(LIMITS))
def test_together_as_one_by_one(
    events: list[dict[str, Any]], token: str | None, limits: Limits
) -> None:
    found = EventTables(limits, token, lambda: NOW).table_of(events)
    if found is None:
        return
    _check(events, found, token, limits)


def _check(events: list[Any], found: Any, token: str | None, limits: Limits) -> list[int]:
    """The rows that are left to RawEventEncoder."""
    one_by_one = RawEventEncoder(limits, token, clock=lambda: NOW)
    origins = [Run(1, 1000 + i, ()) for i in range(len(events))]
    encoded = encode_slice(*found, None, origins, limits)
    made = [
        (event, chunk.origin(i).timestamp - 1000)
        for chunk in encoded.chunks
        for i, event in enumerate(chunk.events())
    ] + [(event, origin.timestamp - 1000) for event, origin in encoded.rest]
    assert sorted([row for _, row in made] + encoded.odd) == list(range(len(events)))
    long_strings = 0
    for event, row in made:
        try:
            expected = one_by_one.encode(events[row])
        except RecordError as error:
            pytest.fail(f"{events[row]} went out although {error}")
        assert event == expected.json
        long_strings += expected.long_strings
    assert encoded.counts["long_strings"] == long_strings
    return encoded.odd


class Nothing(enum.Enum):
    NONE = None


def ready(**properties: Any) -> dict[str, Any]:
    return {"event": "Visit", "properties": {"distinct_id": "u", "time": NOW, **properties}}


@pytest.mark.parametrize(
    "events",
    [
        [ready(a=1)],
        [ready(a=1), ready(b=2)],
        [ready(**{"$insert_id": "id-1"}), ready(**{"$insert_id": 7})],
        [ready(ip="1.2.3.4"), ready(ip=None), ready(ip=""), ready()],
        [ready(**{"$device_id": "d", "$user_id": "w"}), ready(**{"$device_id": "d"})],
        [ready(time=NOW // 1000), ready(time=NOW), ready(time=NOW / 1000)],
        [ready(a=[1, {"b": 2}]), ready(a="text"), ready(a=None)],
        [ready(event="a property"), ready(token="of its own")],
        [ready(a=value) for value in ("x" * 300, "y")],
        [ready(a=value) for value in (1, *NULLS, np.datetime64("NaT"), Nothing.NONE)],
    ],
    ids=lambda events: "-".join(events[-1]["properties"]),
)
@pytest.mark.parametrize("token", [None, "token"])
def test_usual_events_go_together(events: list[Any], token: str | None) -> None:
    found = EventTables(LIMITS[0], token, lambda: NOW).table_of(events)
    if len({type(e["properties"].get("$insert_id")) for e in events}) > 1:
        assert found is None, "an id must be of one type"
        return
    assert found is not None
    assert _check(events, found, token, LIMITS[0]) == []


@pytest.mark.parametrize(
    "odd",
    [
        {"event": "$identify", "properties": {"distinct_id": "u", "time": NOW}},
        {**ready(), "project": "a"},
        {"event": None, "properties": {"distinct_id": "u", "time": NOW}},
        {"event": "Visit", "properties": []},
        {"event": "Visit"},
        ready(time=None),
        ready(time=True),
        ready(distinct_id="null"),
        ready(a=[float("nan")]),
        ready(**{"\1event": "Visit"}),
    ],
)
def test_an_odd_event_costs_no_other(odd: dict[str, Any]) -> None:
    events = [ready(a=[1]), odd, ready(a=[2])]
    found = EventTables(LIMITS[0], None, lambda: NOW).table_of(events)
    assert found is not None
    assert _check(events, found, None, LIMITS[0]) == [1]


@pytest.mark.parametrize(
    "events",
    [
        [ready(**{"$device_id": 5})],
        [{"event": "Visit", "properties": {"distinct_id": "u"}}],  # for /track: now
        [{"event": "Visit", "properties": {"time": NOW}}],
        [ready(**{_HALF: 1})],
        [{"event": "Visit", "properties": {**ready()["properties"], 5: 1}}],
        [ready(**{f"x{n}": n}) for n in range(100)],
        [ready(ip=np.array([1, 2]))],
    ],
)
def test_some_make_no_table(events: list[Any]) -> None:
    assert EventTables(LIMITS[0], None, lambda: NOW).table_of(events) is None
