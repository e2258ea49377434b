"""Preflight: one request that brings nothing, before any data is read."""

from __future__ import annotations

from typing import Any

import pytest

from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import AuthenticationError, CredentialsError, DestinationError
from mixpanel_sink.send.preflight import check_connections
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken
from tests.write.test_write import record, run, write


def test_good_credentials(mixpanel: Emulator) -> None:
    (said,) = write(mixpanel).preflight()
    assert said.proven
    assert "accepts the API secret" in said.said
    assert mixpanel.stats()["requests"] == 1
    assert mixpanel.stats()["events_distinct"] == 0


@pytest.mark.parametrize("variant", ["page", "reference"])
def test_wrong_credentials(
    mixpanel: Emulator, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixpanel.reset(variant=variant)
    monkeypatch.setenv("WRONG", "wrong")
    with pytest.raises(AuthenticationError, match="does not accept the API secret"):
        write(mixpanel, credentials=ApiSecret("env:WRONG")).preflight()


def test_a_secret_that_does_not_resolve(mixpanel: Emulator) -> None:
    with pytest.raises(CredentialsError, match="NO_SUCH"):
        write(mixpanel, credentials=ApiSecret("env:NO_SUCH")).preflight()
    assert mixpanel.stats()["requests"] == 0


def test_nobody_there(mixpanel: Emulator) -> None:
    with pytest.raises(DestinationError, match="cannot be reached"):
        write(mixpanel, endpoint="http://127.0.0.1:9").preflight()


def test_a_token_can_not_be_tried(mixpanel: Emulator) -> None:
    (said,) = write(
        mixpanel, credentials=ProjectToken("env:TEST_TOKEN"), endpoint_kind="track"
    ).preflight()
    assert not said.proven
    assert "the first batch will show" in said.said


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "status", "status": 503}, "has problems"),
        ({"kind": "rate_limit", "retry_after": "7"}, "used up"),
    ],
)
def test_trouble_that_passes_is_no_error(
    mixpanel: Emulator, fault: dict[str, Any], says: str
) -> None:
    mixpanel.faults([fault])
    (said,) = write(mixpanel).preflight()
    assert says in said.said


def test_it_counts_against_the_quota(mixpanel: Emulator) -> None:
    mixpanel.reset(quota="3/2s")
    sink = write(mixpanel, quota="3/2s", limits=Limits(batch_events=1))
    sink.preflight()
    run([record(n) for n in range(4)], sink)
    stats = mixpanel.stats()
    assert stats["events_distinct"] == 4
    assert stats["requests_by_endpoint"]["/import"].get("429", 0) == 0
    assert stats["max_requests_in_window"] == 3


def test_connections_are_tried_without_a_request(mixpanel: Emulator) -> None:
    """One of several projects that can be reached is enough; a server that starts is waited for."""
    there = Destination(mixpanel.url)
    dead = Destination("http://127.0.0.1:9")
    check_connections([there], 5.0)
    check_connections([dead, there], 5.0)
    assert mixpanel.stats()["requests"] == 0
    with pytest.raises(DestinationError, match=r"127\.0\.0\.1:9 could not be reached"):
        check_connections([dead], 5.0)
    with pytest.raises(DestinationError, match=r"no-such-host\.invalid:443 could not .* Check the"):
        check_connections([Destination("https://no-such-host.invalid")], 5.0)


def test_a_proxy_is_what_the_connection_goes_to(
    mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Destination("https://no-such-host.invalid")
    for proxy in (mixpanel.url, mixpanel.url.removeprefix("http://")):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        check_connections([elsewhere], 5.0)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(DestinationError, match=r"127\.0\.0\.1:9"):
        check_connections([elsewhere], 5.0)
    monkeypatch.setenv("HTTPS_PROXY", "http://me:s3cr/et@127.0.0.1:9")
    with pytest.raises(DestinationError, match="cannot be used: it is not a URL") as found:
        check_connections([elsewhere], 5.0)
    assert "s3cr" not in str(found.value)
