"""The plugin in another project: pytest run on files that use it."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

EXAMPLE = """
import time

import anyio
import apache_beam as beam
import pytest
from mixpanel_sink import ApiSecret, EventMapping, TimeColumn, WriteToMixpanel


def my_pipeline(endpoint, count):
    mapping = EventMapping(event="name", distinct_id="user", time=TimeColumn("at", unit="s"))
    rows = [{"name": "Visit", "user": f"u{n}", "at": int(time.time()) - 60} for n in range(count)]
    with beam.Pipeline() as pipeline:
        pipeline | beam.Create(rows) | WriteToMixpanel(
            mapping, ApiSecret("env:MIXPANEL_API_SECRET"), endpoint=endpoint
        )


@pytest.mark.parametrize("count", [3, 2])
def test_events_arrive(mixpanel_emulator, count):
    my_pipeline(mixpanel_emulator.url, count)
    assert mixpanel_emulator.stats()["events_distinct"] == count


def test_settings_hold_for_one_test(mixpanel_emulator):
    mixpanel_emulator.reset(quota="60/hour", variant="reference")


def test_next(mixpanel_emulator):
    assert mixpanel_emulator.stats()["quota"] is None
    assert mixpanel_emulator.stats()["settings"]["variant"] == "page"


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.anyio
async def test_in_an_event_loop(mixpanel_emulator):
    await anyio.to_thread.run_sync(my_pipeline, mixpanel_emulator.url, 1)
    mixpanel_emulator.assert_events([{"event": "Visit", "distinct_id": "u0"}])


@pytest.fixture(scope="session")
def filled_once(mixpanel_emulator_session):
    mixpanel_emulator_session.create_lookup_table("Songs")
    return mixpanel_emulator_session


def test_for_the_whole_session(filled_once):
    (table,) = filled_once.lookup_tables()
    assert table["name"] == "Songs"
    assert filled_once.stats()["events_distinct"] == 1  # of the test before: nothing is reset
"""


def test_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(EXAMPLE)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=6)


FAILING = """
import pytest, requests, time


def test_it(mixpanel_emulator):
    event = {"event": "Visit", "properties": {"time": "noon", "distinct_id": "u1"}}
    url = mixpanel_emulator.url + "/import"
    requests.post(url, json=[event], auth=(mixpanel_emulator.api_secret, ""), timeout=10)
    mixpanel_emulator.assert_events([{"event": "Visit", "distinct_id": "u1"}])
"""


def test_a_failure_tells_what_was_refused(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FAILING)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*expected 1 event, the emulator holds 0 events:*",
            '*- Visit {"distinct_id": "u1"}*',
            "*The emulator refused:*",
            "*record 0: properties.time: *must be specified as seconds*",
            "*Mixpanel emulator*",
        ]
    )
