"""Retry-After in each of its forms, and the waits between retries."""

from __future__ import annotations

import itertools
from email.utils import formatdate

import pytest

from mixpanel_sink.api.retry_after import retry_after
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.retry import RetryPolicy

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3),
        ({"retry-after": " 2.5 "}, 2.5),
        ({"retry-after": "0"}, None),
        ({"retry-after": "3600"}, 3600),
        ({"retry-after": formatdate(NOW + 90, usegmt=True)}, 90),
        # by the server's clock, not by ours
        (
            {
                "retry-after": formatdate(NOW + 5090, usegmt=True),
                "date": formatdate(NOW + 5000, usegmt=True),
            },
            90,
        ),
        ({"retry-after": formatdate(NOW - 90, usegmt=True)}, None),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e300"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


def test_waits_double_to_the_longest() -> None:
    waits = list(itertools.islice(RetryPolicy().waits(), 12))
    assert 1 <= waits[0] <= 2
    assert all(30 <= wait <= 60 for wait in waits[6:])
    scaled = itertools.islice(RetryPolicy(first_wait=0.01, longest_wait=0.02).waits(), 20_100)
    assert max(scaled) <= 0.02


@pytest.mark.parametrize("name", ["transient_seconds", "read_timeout", "breaker", "first_wait"])
def test_settings_must_be_positive(name: str) -> None:
    with pytest.raises(
        SettingError, match=rf"RetryPolicy\.{name} is 0; it must be a positive number"
    ):
        RetryPolicy(**{name: 0})
