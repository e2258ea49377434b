"""Events of both sides are matched as Mixpanel deduplicates; each difference has a kind."""

from __future__ import annotations

import collections
from typing import Any

from mixpanel_sink.inspect.verify.events import Event
from mixpanel_sink.inspect.verify.match import deduplicated, match

AT = 1_704_067_200_000


def event(insert_id: str, processed: int = 0, **given: Any) -> Event:
    values: dict[str, Any] = {"event": "e", "time": AT, "distinct_id": "u", "added": {}}
    properties = given.pop("properties", {"a": 1})
    return Event(insert_id, processed=processed, properties=properties, **(values | given))


def kinds(expected: list[Event], actual: list[Event]) -> dict[str, int]:
    lines = [each.to_line() for each in expected], [each.to_line() for each in actual]
    return dict(collections.Counter(finding.kind for finding in match(*lines)))


def test_each_kind() -> None:
    expected = [event("a"), event("b"), event("c")]
    actual = [event("a"), event("b", properties={"a": 2}), event("d")]
    assert kinds(expected, actual) == {"equal": 1, "altered": 1, "missing": 1, "unexpected": 1}


def test_duplicates_are_one() -> None:
    assert kinds([event("a")], [event("a", 1), event("a", 2)]) == {"equal": 1}
    assert kinds([event("a"), event("a")], [event("a")]) == {"equal": 1}


def test_the_copy_that_came_last_counts() -> None:
    old, new = event("a", 1), event("a", 2, properties={"a": 2})
    for order in ([old, new], [new, old]):
        assert kinds([event("a")], order) == {"altered": 1}
        assert kinds([event("a", properties={"a": 2})], order) == {"equal": 1}
        assert list(deduplicated(order).values()) == [new]


def test_an_id_that_several_events_share() -> None:
    several = [event("a", distinct_id=f"u{i}") for i in range(5)]
    assert kinds(several, several) == {"equal": 5}
    assert kinds(several, several[1:]) == {"equal": 4, "missing": 1}
    assert kinds(several[1:], several) == {"equal": 4, "unexpected": 1}


def test_events_that_mixpanel_takes_for_one() -> None:
    two = [event("a", properties={"a": 1}), event("a", properties={"a": 2})]
    assert kinds(two, [event("a", properties={"a": 2})]) == {"equal": 1}
    assert kinds(two, [event("a", properties={"a": 3})]) == {"altered": 1}


def test_lost_milliseconds_are_no_difference() -> None:
    expected = [event("a", time=AT + i) for i in (5, 1500)]
    coarse = [event("a", time=AT + i, coarse=True) for i in (0, 1000)]
    assert kinds(expected, coarse) == {"equal": 2}
    fine = [event("a", time=AT + i) for i in (0, 1000)]
    assert kinds(expected, fine) == {"altered": 2}, "the export has milliseconds, but others"


def test_records_of_one_id_are_counted() -> None:
    def repeats(*events: Event) -> int:
        lines = [each.to_line() for each in events]
        return sum(getattr(finding, "repeats", 0) for finding in match(lines, lines))

    assert repeats(event("a"), event("b")) == 0
    assert repeats(event("a"), event("a"), event("b")) == 1
    assert repeats(event("a"), event("a", distinct_id="v"), event("a", properties={"a": 2})) == 2


def test_another_time_name_or_user_is_altered_not_missing() -> None:
    for given in ({"time": AT + 5000}, {"event": "f"}, {"distinct_id": "v"}):
        assert kinds([event("a")], [event("a", **given)]) == {"altered": 1}


def test_an_id_that_is_none_does_not_take_for_ever() -> None:
    expected = [event("x", distinct_id=f"u{i}") for i in range(3000)]
    actual = [event("x", distinct_id=f"v{i}") for i in range(3000)]
    assert kinds(expected, actual) == {"missing": 3000, "unexpected": 3000}
