"""What 413s teach about the largest request, and how a mistaken one is unlearnt."""

from __future__ import annotations

import sys

from mixpanel_sink.send.size_limit import FIRST_TRIAL, SizeLimit


def learnt(size: int) -> SizeLimit:
    limit = SizeLimit()
    limit.refused(size)
    return limit


def tried(limit: SizeLimit, size: int, small: int) -> int:
    """Requests of `small` bytes that are accepted before one of `size` is worth making."""
    for number in range(100_000):
        if limit.fits(size):
            return number
        limit.accepted(small)
    raise AssertionError("never")


def test_what_was_refused_is_too_large() -> None:
    limit = learnt(1000)
    assert limit.most == 999
    assert limit.fits(999)
    assert not limit.fits(1000)
    limit.refused(500)
    assert limit.most == 499


def test_a_stray_413_is_forgotten_when_a_larger_request_is_accepted() -> None:
    limit = learnt(1000)
    assert tried(limit, 1000, 500) == FIRST_TRIAL
    limit.accepted(1000)
    assert limit.most == sys.maxsize


def test_where_it_was_right_larger_ones_are_tried_ever_more_rarely() -> None:
    limit = learnt(1000)
    waits = []
    for _ in range(5):
        waits.append(tried(limit, 1500, 500))
        limit.refused(1500)
    assert waits == [8, 32, 128, 512, 2048]
    assert limit.most == 999


def test_only_one_request_is_a_trial() -> None:
    limit = learnt(1000)
    tried(limit, 1000, 900)
    assert not limit.fits(1000)


def test_small_requests_say_nothing_about_large_ones() -> None:
    limit = learnt(1000)
    for _ in range(1000):
        limit.accepted(100)
    assert not limit.fits(1000)
    limit.refused(2000)
    assert limit.most == 999


def test_a_size_that_was_accepted_before_must_be_refused_twice() -> None:
    limit = SizeLimit()
    limit.accepted(1000)
    limit.refused(500)
    assert limit.fits(1000)
    limit.refused(500)
    assert limit.most == 499


def test_a_size_far_above_the_limit_is_not_tried() -> None:
    limit = learnt(1000)
    for _ in range(1000):
        limit.accepted(900)
    assert not limit.fits(10_000)
    assert limit.fits(1999)
