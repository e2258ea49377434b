"""A pytest plugin: a Mixpanel emulator for the tests of your own pipelines.

Installed with `pip install 'mixpanel-sink[emulator]'`; pytest finds it by itself.

    def test_my_pipeline(mixpanel_emulator):
        run_my_pipeline(endpoint=mixpanel_emulator.url)
        mixpanel_emulator.assert_events([{"event": "Sign Up", "distinct_id": "u1"}])

The environment variables MIXPANEL_API_SECRET and MIXPANEL_PROJECT_TOKEN hold the
emulator's secrets while a test runs, so that `ApiSecret("env:MIXPANEL_API_SECRET")` works
as it does in production.
"""

from __future__ import annotations

import contextlib
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

    `assert_events([...])` and its like say what it should hold; `stats()`, `events()`,
    `requests()` and their like what it does. `reset(quota="60/hour")` changes its settings and
    `faults([...])` its behaviour, for this test only.
    """
    monkeypatch.setenv("MIXPANEL_API_SECRET", mixpanel_emulator_session.api_secret)
    monkeypatch.setenv("MIXPANEL_PROJECT_TOKEN", mixpanel_emulator_session.project_token)
    mixpanel_emulator_session.restore()
    forget()  # the sink remembers its requests in this process; a test is a new job
    return mixpanel_emulator_session


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show what the emulator refused beside a test that failed."""
    if call.when == "call" and call.excinfo is not None:
        running = getattr(item, "funcargs", {}).get("mixpanel_emulator")
        if running is not None:
            with contextlib.suppress(Exception):
                item.add_report_section("call", "Mixpanel emulator", running.refusals().strip())
    yield
