"""Which sinks share a quota in a process, and what their lanes learn and say."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.project import Project
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.write import WriteToMixpanel
from tests.conftest import SECRET
from tests.running import FAST, failing, run
from tests.write.test_write import MAPPING, record, write

TEN = Limits(batch_events=10)


def records(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [{**record(n), "shop": "shop"} for n in range(first, first + count)]


def shop(mixpanel: Emulator, quota: str, **options: Any) -> WriteToMixpanel:
    project = Project(ApiSecret("env:TEST_API_SECRET"), endpoint=mixpanel.url, quota=quota)
    given: dict[str, Any] = {"limits": TEN, "retry": FAST, **options}
    return WriteToMixpanel(MAPPING, projects={"shop": project}, destination="shop", **given)


def test_a_project_of_the_same_name_on_another_server_does_not_wait(mixpanel: Emulator) -> None:
    with Emulator(api_secret=SECRET) as other:
        run(records(10), shop(mixpanel, "1/30s"))
        ran = run(records(10), shop(other, "1/30s"))
        assert other.stats()["requests"] == 1
    assert ran.counters.get("cumulativeThrottlingSeconds", 0) == 0


def test_sinks_that_differ_in_something_else_share_the_quota(mixpanel: Emulator) -> None:
    mixpanel.settings(quota="2/3s")
    patient = RetryPolicy(transient_seconds=500, first_wait=0.01)
    for number, options in enumerate(
        ({"max_in_flight": 2}, {"max_in_flight": 8, "retry": patient})
    ):
        run(records(20, 100 * number), write(mixpanel, limits=TEN, quota="2/3s", **options))
    run(records(20, 500), shop(mixpanel, "2/3s"))
    stats = mixpanel.stats()
    assert stats["requests_by_endpoint"]["/import"] == {"200": 6}
    assert stats["max_requests_in_window"] == 2


@pytest.mark.parametrize("skip", [0, 2])
def test_stray_413s_do_not_make_the_rest_of_the_job_slow(mixpanel: Emulator, skip: int) -> None:
    mixpanel.faults([{"kind": "status", "status": 413, "times": 4, "skip": skip}])
    sink = write(mixpanel, limits=Limits(batch_events=40), retry=FAST, max_in_flight=1)
    ran = run(records(1600), sink)
    assert ran.totals[0][0].accepted == 1600
    stats = mixpanel.stats()
    assert stats["requests_by_endpoint"]["/import"]["413"] == 4
    # 40 full ones, 4 refusals, and what one batch's parts and the wait for a trial cost.
    assert stats["requests"] <= 40 + 4 + 25
    sizes = [each["body_bytes"] for each in mixpanel.requests() if each["status"] == 200]
    assert min(sizes[-15:]) > 0.8 * max(sizes)


def test_a_limit_that_is_real_costs_few_trials(mixpanel: Emulator) -> None:
    mixpanel.faults([{"kind": "too_large", "size": 3000, "times": 100_000}])
    run(records(1600), write(mixpanel, limits=Limits(batch_events=40), retry=FAST))
    by_status = mixpanel.stats()["requests_by_endpoint"]["/import"]
    assert by_status["413"] <= 0.15 * by_status["200"]


def test_where_nothing_listens_it_asks_for_the_server_and_the_port(
    mixpanel: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    sink = write(mixpanel, endpoint=f"http://127.0.0.1:{port}", retry=RetryPolicy(first_wait=5))
    said = failing(records(10), sink)
    assert f"127.0.0.1:{port} (is the server running, and is the port right?). " in said
    assert "Nothing was sent" in said
    assert "The job is stopped." in said
    first = next(message for message in caplog.messages if "attempt 1" in message)
    assert "is the port right?" in first


def test_a_line_of_the_log_says_which_project_host_and_quota(
    mixpanel: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mixpanel_sink")
    mixpanel.faults([{"kind": "status", "status": 503}])
    run(records(1), shop(mixpanel, "60/hour"))
    host = mixpanel.url.removeprefix("http://")
    (line,) = [message for message in caplog.messages if "503" in message]
    assert line.startswith(f"shop lane 0 at {host} (quota 60/hour): 503")


def test_a_project_that_refuses_does_not_claim_to_stop_the_job(
    mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WRONG", "another-secret-0123456789")
    wrong = Project(ApiSecret("env:WRONG"), endpoint=mixpanel.url, quota="none")
    right = Project(ApiSecret("env:TEST_API_SECRET"), endpoint=mixpanel.url, quota="none")
    sink = WriteToMixpanel(
        MAPPING, projects={"shop": wrong, "other": right}, destination="shop", retry=FAST
    )
    ran = run([*records(3), {**record(7), "shop": "other"}], sink)
    messages = {value.message for value, _, _ in ran.failed}
    assert {value.reason for value, _, _ in ran.failed} == {"project_refused"}
    assert all("job is stopped" not in message for message in messages)
    assert all("the others are not affected" in message for message in messages)
    assert ran.counters["events_accepted"] == 1
