"""One request to Mixpanel: its URL, headers and body. No retries, no quota."""

from __future__ import annotations

import base64
import dataclasses

from isal import isal_zlib

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import IMPORT, Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.transport import HttpTransport, OpenTransport, Response
from mixpanel_sink.version import __version__

_SHORTEST_SECRET = 6
"""A shorter one would be found in any number."""


class IngestionClient:
    """Sends requests to one of a project's endpoints. Thread-safe.

    Args:
        destination: the host.
        credentials: resolved.
        connect_timeout: seconds to connect.
        read_timeout: seconds until the response is complete, and for each quarter of a megabyte
            to leave.
        endpoint: which one.
        transport: carries the requests.
    """

    def __init__(
        self,
        destination: Destination,
        credentials: ResolvedCredentials,
        connect_timeout: float,
        read_timeout: float,
        endpoint: Endpoint = IMPORT,
        transport: OpenTransport = HttpTransport,
    ) -> None:
        self._gzip = endpoint.gzip
        self._secrets = _secrets(credentials)
        self._transport = transport(
            _url(destination, credentials, endpoint),
            _headers(credentials, endpoint),
            connect_timeout,
            read_timeout,
        )

    def post(self, body: bytes) -> Response:
        """Sends a gzipped JSON array and reads the response, within the timeouts and a size.

        Where the endpoint does not accept gzip the array goes uncompressed.
        """
        if not self._gzip:
            body = isal_zlib.decompress(body, wbits=31)
        return self._clean(self._transport.post(body))

    def put(self, body: bytes) -> Response:
        """Sends a body as it is, by PUT; else as `post`."""
        return self._clean(self._transport.request("PUT", body))

    def get(self) -> Response:
        """Makes a GET request."""
        return self._clean(self._transport.request("GET", None))

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def _clean(self, response: Response) -> Response:
        """A response as it was, unless the server repeats a secret: its words get into logs."""
        body = response.body
        for secret in self._secrets:
            if secret in body:
                body = body.replace(secret, b"***")
        return response if body is response.body else dataclasses.replace(response, body=body)


def _url(destination: Destination, credentials: ResolvedCredentials, endpoint: Endpoint) -> str:
    query = [endpoint.query] if endpoint.query else []
    if endpoint.basic_auth and credentials.project_id is not None:
        query.append(f"project_id={credentials.project_id}")
    return f"{destination.url}/{endpoint.name}?{'&'.join(query)}".removesuffix("?")


def _headers(credentials: ResolvedCredentials, endpoint: Endpoint) -> dict[str, str]:
    headers = {
        "Content-Type": endpoint.content_type,
        "Accept": "application/json",
        "User-Agent": f"mixpanel-sink/{__version__}",
    }
    if endpoint.gzip:
        headers["Content-Encoding"] = "gzip"
    if endpoint.basic_auth:
        headers["Authorization"] = f"Basic {_basic(credentials)}"
    return headers


def _basic(credentials: ResolvedCredentials) -> str:
    return base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()


def _secrets(credentials: ResolvedCredentials) -> tuple[bytes, ...]:
    """What must not get into a log, even if a server repeats it."""
    user, password = credentials.user, credentials.password
    # The name of a service account, which comes with a password, is not a secret.
    given = [_basic(credentials) if user else "", password or user, credentials.token or ""]
    return tuple(secret.encode() for secret in given if len(secret) >= _SHORTEST_SECRET)
