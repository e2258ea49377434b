"""Limits: what Mixpanel takes, and settings beyond it."""

from typing import Any

import pytest

from mixpanel_sink.api.limits import INSERT_ID, RESERVED_DISTINCT_IDS, Limits
from mixpanel_sink.errors import SettingError


def test_defaults_are_mixpanels() -> None:
    assert Limits() == Limits(2000, 10_000_000, 2_000_000)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_events": 2001}, ["2001", "1 to 2000"]),
        ({"batch_events": 0}, ["0", "1 to 2000"]),
        ({"event_bytes": 0}, ["positive"]),
        ({"batch_bytes": 100, "event_bytes": 97}, ["100", "97", "larger"]),
    ],
)
def test_impossible_limits(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(SettingError) as caught:
        Limits(**settings)
    assert all(word in str(caught.value) for word in words)


def test_one_event_of_full_size_fits_a_request() -> None:
    assert Limits(batch_bytes=101, event_bytes=97).batch_bytes == 101


@pytest.mark.parametrize("text", ["a", "Z-9", "x" * 36])
def test_insert_ids_that_fit(text: str) -> None:
    assert INSERT_ID.fullmatch(text)


@pytest.mark.parametrize("text", ["", "x" * 37, "a b", "a\n", "é", "٣", "a_b"])
def test_insert_ids_that_do_not(text: str) -> None:
    assert not INSERT_ID.fullmatch(text)


def test_reserved_words_are_lower_case() -> None:
    assert {word.lower() for word in RESERVED_DISTINCT_IDS} == RESERVED_DISTINCT_IDS
