"""Estimates of repeated ids and busy users: exact when few, near when many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mixpanel_sink.batch.keys import MOST_KEYS, STRIDE, Keys, KeySample

DAY = 86_400_000
AT = 1_700_000_000_000


def hashes(values: Any) -> Any:
    """Different for different numbers, and spread like those of a hash function."""
    numbers = np.asarray(values).astype(np.uint64)
    numbers = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    return (numbers ^ (numbers >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)


def sample(ids: Any, users: Any, times: Any = AT, bundles: int = 1) -> KeySample:
    """Of events that came in so many bundles."""
    times = np.broadcast_to(np.asarray(times, np.int64), len(ids)).copy()
    columns = [hashes(ids), hashes(users), times]
    merged = KeySample()
    for part in zip(*(np.array_split(column, bundles) for column in columns), strict=True):
        one = KeySample()
        for piece in zip(*(np.array_split(c, 1 + len(c) // 50_000) for c in part), strict=True):
            one.add(Keys.of(*piece))
        merged.merge(KeySample.from_text(one.to_text()))
    return merged


@pytest.mark.parametrize("bundles", [1, 7])
def test_few_events_are_counted_exactly(bundles: int) -> None:
    found = sample(np.arange(5000) % 100, np.arange(5000) % 10, bundles=bundles)
    assert (found.exact, found.repeated(), found.hot()) == (True, 4900, 0)


def test_an_id_of_another_user_or_day_is_another_event() -> None:
    assert sample([1, 1, 1], [1, 2, 3]).repeated() == 0
    assert sample([1, 1, 1], [1, 1, 1], [AT, AT + DAY, AT + 2 * DAY]).repeated() == 0
    assert sample([1, 1, 1], [1, 1, 1], [AT, AT + 1000, AT + DAY]).repeated() == 1


def test_an_empty_sample() -> None:
    assert KeySample().to_text() == ""
    empty = KeySample.from_text("")
    assert (empty.exact, empty.repeated(), empty.hot()) == (True, 0, 0)


@pytest.mark.parametrize("bundles", [1, 30])
@pytest.mark.parametrize(("share", "error"), [(0, 0), (100, 0.4), (2, 0.1)])
def test_repeated_ids_among_many(share: int, error: float, bundles: int) -> None:
    ids = np.arange(600_000)
    if share:
        ids[: len(ids) // share] = ids[len(ids) // 2 : len(ids) // 2 + len(ids) // share]
    found = sample(ids, ids % 5000, bundles=bundles)
    expected = len(ids) // share if share else 0
    assert not found.exact
    assert found.repeated() == pytest.approx(expected, rel=error)


@pytest.mark.parametrize("bundles", [1, 30])
def test_one_id_of_many_events_is_not_missed(bundles: int) -> None:
    """A default such as "unknown" in a column that is a key otherwise."""
    ids = np.arange(600_000)
    ids[::10] = 7
    users = np.where(ids == 7, 1, ids % 5000)
    found = sample(ids, users, bundles=bundles)
    assert found.repeated() == pytest.approx(59_999, rel=0.05)


def test_one_id_for_all() -> None:
    found = sample(np.zeros(300_000), np.zeros(300_000), bundles=3)
    assert (found.repeated(), found.exact) == (299_999, True)


def test_busy_users_are_found_among_many() -> None:
    events = np.arange(900_000)
    users = np.where(events % 3 == 0, 1, events)  # 300,000 of one user
    assert sample(events, users, bundles=9).hot() == pytest.approx(100_000, rel=0.1)
    days = AT + DAY * (events // 3 % 2)  # 150,000 on each of two days
    assert sample(events, users, days, bundles=9).hot() == 0


def test_memory_is_bounded() -> None:
    found = sample(np.arange(400_000), np.arange(400_000), bundles=5)
    assert len(found.to_text()) < 20 * MOST_KEYS


def test_projects_do_not_share_ids() -> None:
    keys = Keys.of(hashes([1, 2]), hashes([1, 1]), np.array([AT, AT]))
    both = KeySample()
    both.add(keys, salt=1)
    both.add(keys, salt=2)
    assert both.repeated() == 0
    both.add(keys, salt=2)
    assert both.repeated() == 2


def test_ids_from_position_are_not_compared() -> None:
    found = KeySample()
    found.add(Keys(None, hashes(np.zeros(STRIDE * 10))))
    assert found.repeated() == 0
