"""A pytest plugin: an emulator of Mixpanel for the tests of your own pipelines.

Installed with `pip install 'mixpanel-sink[emulator]'`; pytest finds it by itself.

    def test_my_pipeline(mixpanel_emulator):
        run_my_pipeline(endpoint=mixpanel_emulator.url)
        assert mixpanel_emulator.stats()["events_distinct"] == 3

The environment variables MIXPANEL_API_SECRET and MIXPANEL_PROJECT_TOKEN hold the
emulator's secrets while a test runs, so that `ApiSecret("env:MIXPANEL_API_SECRET")` works
as it does in production.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from mixpanel_sink.process import forget

if TYPE_CHECKING:
    from mixpanel_sink.emulator.testing import Emulator


@pytest.fixture(scope="session")
def mixpanel_emulator_session() -> Iterator[Emulator]:
    """One emulator for all tests of the session. Use `mixpanel_emulator` in tests."""
    from mixpanel_sink.emulator.testing import Emulator

    with Emulator() as running:
        yield running


@pytest.fixture
def mixpanel_emulator(
    mixpanel_emulator_session: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Emulator:
    """An empty emulator without a quota; see `mixpanel_sink.emulator.testing.Emulator`.

    What is in it can be asked by `stats()`, `events()`, `requests()` and the like; `reset(quota=
    "60/hour")` changes its settings and `faults([...])` its behaviour, for this test only.
    """
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel_emulator_session.api_secret)
    monkeypatch.setenv("MIXPANEL_PROJECT_TOKEN", mixpanel_emulator_session.project_token)
    mixpanel_emulator_session.reset(**_fresh(mixpanel_emulator_session))
    forget()  # the sink remembers its requests in this process; a test is a new job
    return mixpanel_emulator_session


def _fresh(emulator: Emulator) -> dict[str, object]:
    """The settings that it started with, as far as a test can change them."""
    return {"quota": "none", "variant": "page", "latency_ms": 0, "max_batch": 2000}
