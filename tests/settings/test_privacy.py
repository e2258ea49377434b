"""`Privacy`: what it names, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.privacy import Privacy


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "names nothing"),
        ({"drop": "email"}, "is a list"),
        ({"drop": ["a"], "hash": ["a"]}, "both"),
        ({"hash": ["a"], "key": "pepper"}, "must be a reference"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Privacy(**settings)
