"""The export's client: what it asks, when it asks again, and what it says when it gives up."""

from __future__ import annotations

import base64
import datetime
import gzip
from typing import Any

import pytest

from mixpanel_sink import (
    ApiSecret,
    AuthenticationError,
    CredentialsError,
    DestinationError,
    ProjectToken,
    RetryPolicy,
    ServiceAccount,
    SettingError,
)
from mixpanel_sink.inspect.verify import Exporter, export_destination
from mixpanel_sink.read.raw_export import QUOTA
from mixpanel_sink.settings.quota import Quota
from tests.inspect.verify.conftest import Reply, Scripted, lines, scripted  # noqa: F401

EVENT = {"event": "e", "properties": {"time": 1, "$insert_id": "i"}}
DAY = datetime.date(2024, 1, 2)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exporter(scripted: Scripted, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECRET", "s3cr3t")

    def make(credentials: Any = None, **more: Any) -> Exporter:
        return Exporter(
            export_destination(endpoint=scripted.url),
            credentials or ApiSecret("env:SECRET"),
            clock=clock,
            sleep=clock.sleep,
            **{"quota": Quota.none(), **more},
        )

    return make


def read(exporter: Exporter, events: list[str] | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def take(events: Any) -> None:
        found.clear()
        found.extend(events)

    exporter.read(DAY, DAY + datetime.timedelta(2), events, take)
    return found


def test_what_it_asks(scripted, exporter) -> None:
    scripted.replies = [Reply(body=lines(EVENT, EVENT))]
    assert read(exporter(), ["a", "ü"]) == [EVENT, EVENT]
    assert scripted.queries == [
        {
            "path": "/api/2.0/export",
            "from_date": "2024-01-02",
            "to_date": "2024-01-04",
            "time_in_ms": "true",
            "event": '["a", "\\u00fc"]',
        }
    ]
    user = base64.b64decode(scripted.headers[0]["authorization"].removeprefix("Basic "))
    assert user == b"s3cr3t:"


def test_service_accounts_name_the_project(scripted, exporter) -> None:
    read(exporter(ServiceAccount("importer", "env:SECRET", 42)))
    assert scripted.queries[0]["project_id"] == "42"
    user = base64.b64decode(scripted.headers[0]["authorization"].removeprefix("Basic "))
    assert user == b"importer:s3cr3t"


def test_a_filter_that_would_be_too_long_is_left_out(scripted, exporter) -> None:
    read(exporter(), [f"event {i}" for i in range(500)])
    assert "event" not in scripted.queries[0]


def test_gzip_blank_lines_and_no_break_at_the_end(scripted, exporter) -> None:
    body = gzip.compress(lines(EVENT) + b"\n" + lines(EVENT).strip())
    scripted.replies = [Reply(body=body, headers={"Content-Encoding": "gzip"})]
    assert read(exporter()) == [EVENT, EVENT]


def test_no_events(exporter) -> None:
    assert read(exporter()) == []


@pytest.mark.parametrize(
    "broken",
    [
        Reply(body=lines(EVENT), promised=10_000),
        Reply(body=lines(EVENT) + b'{"event": "e", "prop'),
        Reply(body=lines(EVENT) + b"terminated early\n"),
        Reply(body=lines(EVENT) + b"[]\n"),
        Reply(body=b"not gzip", headers={"Content-Encoding": "gzip"}),
        Reply(500),
        Reply(503, b"<html>"),
    ],
)
def test_a_broken_export_is_read_again(scripted, exporter, clock, broken) -> None:
    scripted.replies = [broken, broken, Reply(body=lines(EVENT, EVENT))]
    assert read(exporter()) == [EVENT, EVENT]
    assert len(scripted.queries) == 3
    assert 0.5 < clock.slept[0] < clock.slept[1]


def test_it_gives_up_at_last(scripted, exporter) -> None:
    scripted.replies = [Reply(503, b"overloaded")]
    with pytest.raises(DestinationError, match=r"no complete export .* answered 503: overloaded"):
        read(exporter(retry=RetryPolicy(transient_seconds=30)))
    assert 3 < len(scripted.queries) < 10


def test_nobody_there(exporter, scripted) -> None:
    gone = exporter(retry=RetryPolicy(transient_seconds=5))
    scripted.close()
    with pytest.raises(DestinationError, match="the connection failed"):
        read(gone)


@pytest.mark.parametrize(("header", "waits"), [("7", 7.0), ("0.5", 0.5), ("3600", 3600.0)])
def test_a_429_is_obeyed(scripted, exporter, clock, header, waits) -> None:
    scripted.replies = [Reply(429, b"{}", {"Retry-After": header}), Reply(body=lines(EVENT))]
    assert read(exporter()) == [EVENT]
    assert clock.slept == [waits]


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "soon"}, {"Retry-After": "-3"}])
def test_a_429_without_a_time(scripted, exporter, clock, headers) -> None:
    scripted.replies = [Reply(429, b"", headers)] * 2 + [Reply()]
    read(exporter())
    assert 0.5 < clock.slept[0] < clock.slept[1]


def test_429s_end(scripted, exporter) -> None:
    scripted.replies = [Reply(429, b"", {"Retry-After": "600"})]
    with pytest.raises(DestinationError, match="429 for too long"):
        read(exporter(retry=RetryPolicy(throttled_seconds=3000)))


def test_its_own_quota(scripted, exporter, clock) -> None:
    one = exporter(quota=QUOTA)
    for _ in range(3):
        read(one)
    assert clock.slept == []
    read(one)
    assert sum(clock.slept) == pytest.approx(1.0, abs=0.01)
    for _ in range(56):
        read(one)
    assert clock.now < 1_700_000_000 + 30
    read(one)
    assert clock.now > 1_700_000_000 + 3600


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_credentials(scripted, exporter, status) -> None:
    scripted.replies = [Reply(status, b'{"error": "Unknown secret s3cr3t"}')]
    with pytest.raises(AuthenticationError, match="does not accept the API secret") as caught:
        read(exporter())
    assert "s3cr3t" not in str(caught.value)
    assert len(scripted.queries) == 1


def test_a_bad_query(scripted, exporter) -> None:
    scripted.replies = [Reply(400, b'{"error": "to_date cannot be later than today"}')]
    with pytest.raises(DestinationError, match=r"refused the export \(400: to_date cannot be"):
        read(exporter())


def test_a_redirect_is_not_followed(scripted, exporter) -> None:
    scripted.replies = [Reply(302, headers={"Location": f"{scripted.url}/elsewhere"})]
    with pytest.raises(DestinationError, match="redirect"):
        read(exporter())
    assert len(scripted.queries) == 1


def test_a_token_may_not_export(exporter, monkeypatch) -> None:
    monkeypatch.setenv("TOKEN", "t")
    with pytest.raises(CredentialsError, match="does not take a project token"):
        exporter(ProjectToken("env:TOKEN"))


def test_hosts() -> None:
    assert export_destination().host == "data.mixpanel.com"
    assert export_destination("eu").host == "data-eu.mixpanel.com"
    assert export_destination("in").host == "data-in.mixpanel.com"
    assert export_destination(endpoint="https://x.test/api/2.0/export").url == "https://x.test"
    for region, endpoint in (("eo", None), (None, "http://example.com"), ("eu", "https://x.test")):
        with pytest.raises(SettingError):
            export_destination(region, endpoint)
