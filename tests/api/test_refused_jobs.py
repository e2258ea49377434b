"""Responses that are about the job: credentials, region, endpoint."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mixpanel_sink.api.endpoints import ENGAGE, GROUPS, TRACK, Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import (
    RequestContext,
    Retry,
    Unclear,
)
from mixpanel_sink.api.transport import Response
from mixpanel_sink.errors import AuthenticationError, DestinationError
from tests.api.test_responses import BOGUS, IDS, NOW, US, found, read, updates


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": "Unauthorized"}),
        (403, b"forbidden"),
        (200, {"status": 0, "error": "Invalid token"}),
        (400, {"code": 400, "error": "Invalid project secret"}),
        (400, {"error": "Unable to authenticate request"}),
    ],
)
def test_wrong_credentials_stop_the_job_with_cause_and_fix(status: int, body: Any) -> None:
    with pytest.raises(AuthenticationError) as caught:
        read(status, body)
    said = str(caught.value)
    assert said.startswith("api.mixpanel.com does not accept the API secret")
    assert "another region than 'us': try eu or in" in said
    assert "\n" not in said


def test_a_custom_endpoint_gets_the_hint_without_a_list() -> None:
    there = Destination.of(endpoint="https://proxy.example.com")
    with pytest.raises(AuthenticationError, match="may belong to another region"):
        found(Response(401), IDS, RequestContext(there, "service account"), NOW)


@pytest.mark.parametrize(
    ("status", "hint"),
    [(301, "redirect"), (302, "final address"), (308, "redirect"), (404, "no /import"),
     (405, "Check the endpoint"), (402, "concerns the project"), (202, "answered 202")],
)  # fmt: skip
def test_what_concerns_the_whole_job_stops_it(status: int, hint: str) -> None:
    with pytest.raises(DestinationError, match=hint):
        read(status, b"", {"location": "https://evil.example.com"})


def test_a_servers_words_are_cut_to_one_short_line() -> None:
    got = read(500, b"a\r\nb\x1b[31m" + b"x" * 10_000)
    assert isinstance(got, Retry)
    assert "\n" not in got.why
    assert "\x1b" not in got.why
    assert len(got.why) < 250


RETIRES = "Mixpanel retires API secrets on 2027-03-03: a service account replaces them."


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("kind", ["API secret", "service account", "project token"])
def test_the_credentials_are_named_and_only_secrets_retire(status: int, kind: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        found(Response(status, {}, b"no"), IDS, RequestContext(US, kind), NOW)
    said = str(caught.value)
    assert f"does not accept the {kind} ({status}: no)" in said
    assert (RETIRES in said) == (kind == "API secret")


@pytest.mark.parametrize("endpoint", [TRACK, ENGAGE, GROUPS])
def test_where_the_token_is_all_it_is_the_tokens_fault(endpoint: Endpoint) -> None:
    with pytest.raises(AuthenticationError) as caught:
        found(
            Response(200, {}, b'{"status":0,"error":"Invalid token"}'),
            [""] * 3,
            RequestContext(US, "API secret", endpoint),
            NOW,
        )
    said = str(caught.value)
    assert "does not accept the project token (200: Invalid token)" in said
    assert RETIRES not in said


@pytest.mark.parametrize("region", ["us", "eu", "in"])
def test_a_wrong_region_names_the_others(region: str) -> None:
    with pytest.raises(AuthenticationError) as caught:
        found(Response(401), IDS, RequestContext(Destination.of(region), "API secret"), NOW)
    others = " or ".join(name for name in ("us", "eu", "in") if name != region)
    assert f"another region than {region!r}: try {others}." in str(caught.value)


def test_a_token_refused_in_every_record_is_the_projects() -> None:
    for records in (BOGUS, [f"record {n}: $token: Invalid token" for n in range(2)]):
        with pytest.raises(AuthenticationError, match="does not accept the project token"):
            updates(records)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, {"status": 0, "error": "Events rejected"}), (400, {"error": "rejected"})],
)
def test_a_rejection_without_a_reason_smells_of_the_wrong_region(status: int, body: Any) -> None:
    got = read(status, body)
    assert isinstance(got, Unclear)
    assert got.why.endswith("may live in another region than 'us': try eu or in)")
    other = read(status, {**body, "error": "too odd"})
    assert isinstance(other, Unclear)
    assert "region" not in other.why


def test_what_a_message_quotes_is_not_about_the_credentials() -> None:
    said = {"error": "event 'Permission Granted': property \"token\" is invalid"}
    assert isinstance(read(400, said), Unclear)
    with pytest.raises(AuthenticationError):
        read(400, {"error": "Permission denied"})
    body = json.dumps({"error": "Permission denied"}).encode()
    once = found(Response(400, {}, body), IDS, RequestContext(US, "API secret"), NOW, proven=True)
    assert isinstance(once, Unclear)
