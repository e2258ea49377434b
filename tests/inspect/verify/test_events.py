"""What counts as the same event."""

from __future__ import annotations

import zoneinfo
from decimal import Decimal
from typing import Any

import pytest

from mixpanel_sink.inspect.verify.events import Event, differences, event_of, exported_event

AT = 1_704_067_200_123
SENT = {"a": 1, "distinct_id": "u", "ip": "1.2.3.4", "time": AT, "$insert_id": "i-1", "token": "t"}


def sent(moments: tuple[str, ...] = (), **properties: Any) -> Event:
    return event_of("e", SENT | properties, AT, "u", "i-1", moments)


def exported(**properties: Any) -> Event:
    shape = {
        "a": 1,
        "distinct_id": "u",
        "time": AT,
        "$insert_id": "i-1",
        "$import": True,
        "mp_processing_time_ms": 1_750_000_000_000,
        "mp_country_code": "AT",
        "$city": "Wien",
        "$region": "Wien",
    }
    return exported_event({"event": "e", "properties": shape | properties})


def test_what_mixpanel_adds_and_takes_away_is_no_difference() -> None:
    assert differences(sent(), exported()) == {}
    assert sent().to_line().split(b"\t")[:4] == exported().to_line().split(b"\t")[:4]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("ü" * 300, "ü" * 127),  # 254 bytes: a whole letter less than 255
        ("x" * 300, "x" * 255),
        ("😀" * 100, "😀" * 63),
        ("x" * 255, "x" * 255),
        (2**60, float(2**60)),
        (Decimal("0.1"), 0.1),
        (Decimal("12345678901234567.1"), 12345678901234567.1),
        (1.0, 1),
        (5, 5.0),
        (None, None),
        ([1, "x" * 300], [1, "x" * 255]),
        ({"k": None, "n": 1}, {"n": 1}),
        ([None], [None]),
        (True, True),
    ],
)
def test_values_that_are_the_same(given: Any, found: Any) -> None:
    expected = Event.from_line(sent(v=given).to_line())
    assert differences(expected, exported(v=found)) == {}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("x" * 300, "x" * 250),
        ("x" * 300, "y" + "x" * 254),
        ("x" * 254, "x" * 253),
        ("x", "X"),
        ("1", 1),
        (1, 2),
        (1, True),
        (0, False),
        (2**60, 2**60 + 1),
        (2**60 + 1, float(2**60)),
        (1234567890123456789, 1.2345678901234568e18),
        ("ü" * 300, "ü" * 126),
        ("x" * 300, "x" * 254),
        ([1, 2], [2, 1]),
        ([1], [1, 1]),
        ({"k": 1}, {"k": 2}),
        ({"k": 1}, {"k": 1, "l": 2}),
        ("x", None),
        (None, "x"),
    ],
)
def test_values_that_are_not(given: Any, found: Any) -> None:
    assert list(differences(sent(v=given), exported(v=found))) == ["v"]


def test_names_of_mixpanel_that_the_input_uses_are_compared() -> None:
    assert differences(sent(**{"$city": "Wien"}), exported()) == {}
    assert differences(sent(**{"$city": "Graz"}), exported()) == {"$city": ["Graz", "Wien"]}
    assert differences(sent(mp_lib="x"), exported()) == {"mp_lib": ["x", None]}


def test_times_are_compared_in_seconds_where_the_export_has_no_more() -> None:
    assert differences(sent(), exported(time=AT // 1000)) == {}
    assert list(differences(sent(), exported(time=AT // 1000 * 1000))) == ["time"]
    assert list(differences(sent(), exported(time=AT // 1000 + 1))) == ["time"]
    assert list(differences(sent(), exported(time=AT + 1000))) == ["time"]


def test_times_of_a_project_made_before_2023() -> None:
    zone = zoneinfo.ZoneInfo("America/New_York")
    local = exported(time=AT - 5 * 3600 * 1000)
    assert differences(sent(), local, zone) == {}
    assert differences(sent(), exported(), zone) == {}
    assert list(differences(sent(), local)) == ["time"]
    assert list(differences(sent(), exported(time=AT - 4 * 3600 * 1000), zone)) == ["time"]


@pytest.mark.parametrize(
    ("given", "found", "same"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06 07:08:09+00:00", True),
        ("2024-05-06T07:08:09.500000Z", "2024-05-06T07:08:09.5Z", True),
        ("2024-05-06T07:08:09", "2024-05-06T07:08:09Z", False),
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:10Z", False),
        ("2024-05-06T07:08:09.000001Z", "2024-05-06T07:08:09Z", False),
        ("2024-05-06T07:08:09Z", "yesterday", False),
    ],
)
def test_timestamps_are_compared_as_instants(given: str, found: str, same: bool) -> None:
    assert (differences(sent(("at",), at=given), exported(at=found)) == {}) is same
    assert list(differences(sent(at=given), exported(at=found))) == ["at"], "of text columns: not"


def test_the_id_before_identity_management() -> None:
    merged = exported(distinct_id="canonical", **{"$distinct_id_before_identity": "u"})
    assert differences(sent(), merged) == {}
    assert list(differences(sent(), exported(distinct_id="v"))) == ["distinct_id"]


def test_another_name() -> None:
    other = exported_event({"event": "f", "properties": {**SENT}})
    assert differences(sent(), other) == {"event": ["e", "f"]}


def test_lines_give_the_event_back() -> None:
    for event in (
        sent(("v",), v="tab\tand\nbreak", w={"ü": [1]}),
        exported(),
        exported(time="x"),
        exported(time=AT // 1000),
    ):
        assert Event.from_line(event.to_line()) == event
        assert b"\n" not in event.to_line()
