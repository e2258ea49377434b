"""The client with a transport of the test's own: no socket is opened."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from typing import Any

import pytest

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.endpoints import ENGAGE, IMPORT, TRACK, Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.transport import HttpTransport, Response

ACCOUNT = ResolvedCredentials("robot", "pass-word", "42", "t0ken-0123456789")
BODY = gzip.compress(b"[]")


class Recorded:
    """A `Transport` that answers as it is told."""

    def __init__(self, *responses: Response) -> None:
        self.responses = list(responses)
        self.bodies: list[bytes] = []
        self.closed = False

    def __call__(
        self, url: str, headers: Mapping[str, str], connect_timeout: float, read_timeout: float
    ) -> Recorded:
        self.url, self.headers, self.timeouts = url, headers, (connect_timeout, read_timeout)
        return self

    def post(self, body: bytes) -> Response:
        self.bodies.append(body)
        return self.responses.pop(0)

    def close(self) -> None:
        self.closed = True


def opened(endpoint: Endpoint = IMPORT, *responses: Response) -> tuple[IngestionClient, Recorded]:
    transport = Recorded(*responses)
    client = IngestionClient(Destination.of("eu"), ACCOUNT, 3, 4, endpoint, transport)
    return client, transport


@pytest.mark.parametrize(
    ("endpoint", "path", "gzipped", "authorized"),
    [
        (IMPORT, "/import?strict=1&project_id=42", True, True),
        (TRACK, "/track?verbose=1", False, False),
        (ENGAGE, "/engage?verbose=1&strict=1", False, False),
    ],
)
def test_a_request(endpoint: Endpoint, path: str, gzipped: bool, authorized: bool) -> None:
    client, transport = opened(endpoint, Response(200, {}, b"1"))
    assert client.post(BODY) == Response(200, {}, b"1")
    assert transport.url == f"https://api-eu.mixpanel.com{path}"
    assert transport.timeouts == (3, 4)
    assert transport.bodies == [BODY if gzipped else b"[]"]
    assert transport.headers.get("Content-Encoding") == ("gzip" if gzipped else None)
    basic = "Basic " + base64.b64encode(b"robot:pass-word").decode()
    assert transport.headers.get("Authorization") == (basic if authorized else None)
    client.close()
    assert transport.closed


def test_a_response_never_repeats_a_secret() -> None:
    basic = base64.b64encode(b"robot:pass-word")
    said = b"who are you, robot with pass-word, t0ken-0123456789 or " + basic
    client, _ = opened(IMPORT, Response(400, {"a": "b"}, said))
    assert client.post(BODY) == Response(
        400, {"a": "b"}, b"who are you, robot with ***, *** or ***"
    )


def test_a_secret_that_is_not_latin() -> None:
    transport = Recorded()
    IngestionClient(
        Destination.of(), ResolvedCredentials("ключ-секрет", ""), 1, 1, transport=transport
    )
    wanted = base64.b64encode("ключ-секрет:".encode()).decode()
    assert transport.headers["Authorization"] == f"Basic {wanted}"


def test_real_sockets_are_the_default(wire: Any) -> None:
    server = wire(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    transport = HttpTransport(f"{server.url}/import", {"X": "y"}, 2, 2)
    assert transport.post(b"body").body == b"1"
    transport.close()
    assert b"X: y\r\n" in server.requests[0]
    assert server.requests[0].endswith(b"body")
