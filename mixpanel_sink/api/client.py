"""One POST to Mixpanel. No retries, no quota, no Beam: see `sender.py` and `lane.py`."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
import urllib3
from isal import isal_zlib
from requests.adapters import HTTPAdapter

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import IMPORT, Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.version import __version__

_CONNECTIONS = 256
"""Kept open at most; there are only as many as there are requests at a time."""
_SHORTEST_SECRET = 6
"""Shorter ones are no secrets, and would be found in any number."""
MAX_ANSWER_BYTES = 8_000_000
"""2000 failed records with their messages fit; an endless answer does not."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status; 0 if no complete answer came.
        headers: names in lower case.
        body: the whole body.
        error: what went wrong on the way, "" if nothing did. Holds no secret.
        reached_server: False only where the request surely never arrived.
        untrusted: whether the server's certificate is not trusted, or not the host's.
    """

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    reached_server: bool = True
    untrusted: bool = False


class _Watchdog:
    """Cuts connections whose time is up. One thread for all: one for each request costs more
    than the request.
    """

    EVERY = 0.25
    """Seconds between two looks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[float, Any]] = {}
        self._cut: set[int] = set()
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, sock: Any, seconds: float) -> None:
        """Cuts the socket's connection in so many seconds, unless it is released before."""
        with self._lock:
            self._watched[id(sock)] = time.monotonic() + seconds, sock
            if self._thread is None or not self._thread.is_alive():  # not alive after a fork
                self._thread = threading.Thread(
                    target=self._run, name="mixpanel-watch", daemon=True
                )
                self._thread.start()
        self._awake.set()

    def release(self, sock: Any) -> bool:
        """Stops watching; says whether the connection was cut."""
        with self._lock:
            self._watched.pop(id(sock), None)
            was_cut = id(sock) in self._cut
            self._cut.discard(id(sock))
            return was_cut

    def _run(self) -> None:
        while True:
            with self._lock:
                now = time.monotonic()
                late = [(key, sock) for key, (end, sock) in self._watched.items() if end <= now]
                for key, sock in late:
                    del self._watched[key]
                    self._cut.add(key)
                    with contextlib.suppress(OSError):
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # SSLSocket's ends TLS
                if not self._watched:
                    self._awake.clear()
            self._awake.wait()
            time.sleep(self.EVERY)


_WATCHDOG = _Watchdog()


_BLOCK_BYTES = 262_144
"""Of a body, so much must leave within the timeout: a slow line is no broken one."""


class _Bounded:
    """Ends a connection whose headers drip, each byte within the timeout, but without an end.

    And gives a body as long as it keeps moving: urllib3 would have all of it leave within the
    time to connect.
    """

    sock: Any
    timeout: Any

    def __init__(self, *args: Any, send_timeout: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._send_timeout = send_timeout

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock.settimeout(self._send_timeout)

    def send(self, data: Any) -> None:
        if not isinstance(data, bytes) or len(data) <= _BLOCK_BYTES:
            super().send(data)  # type: ignore[misc]
            return
        view = memoryview(data)
        for start in range(0, len(data), _BLOCK_BYTES):
            super().send(view[start : start + _BLOCK_BYTES])  # type: ignore[misc]

    def getresponse(self) -> Any:
        sock = self.sock
        _WATCHDOG.watch(sock, self.timeout + 0.5)
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            if _WATCHDOG.release(sock):
                raise TimeoutError


class _Connection(_Bounded, urllib3.connection.HTTPConnection):
    pass


class _TLSConnection(_Bounded, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def route(self, request: requests.PreparedRequest, settings: dict[str, Any]) -> _Route:
        """What `send` works out anew for each request, which takes longer than the request."""
        verify, proxies, cert = (settings[name] for name in ("verify", "proxies", "cert"))
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies, cert)
        self.cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        return _Route(pool, self.request_url(request, proxies), headers)


class _Route(NamedTuple):
    """The way of requests: connections to the host or its proxy, their target and headers."""

    pool: urllib3.HTTPConnectionPool
    target: str
    headers: dict[str, str]


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leaves a request alone; without it, requests would look for a password in ~/.netrc."""
    return request


def _secrets(credentials: ResolvedCredentials) -> tuple[bytes, ...]:
    """What a server must not be heard to repeat."""
    user, password = credentials.user, credentials.password
    both = base64.b64encode(f"{user}:{password}".encode()).decode()
    # The name of a service account, which comes with a password, is none.
    given = [both if user else "", password or user, credentials.token or ""]
    return tuple(secret.encode() for secret in given if len(secret) >= _SHORTEST_SECRET)


class IngestionClient:
    """Posts request bodies to one of a project's endpoints. Thread-safe.

    Args:
        destination: the host.
        credentials: resolved.
        connect_timeout: seconds to connect.
        read_timeout: seconds until the answer is complete, and for each quarter of a megabyte to
            leave.
        endpoint: which one.
    """

    def __init__(
        self,
        destination: Destination,
        credentials: ResolvedCredentials,
        connect_timeout: float,
        read_timeout: float,
        endpoint: Endpoint = IMPORT,
    ) -> None:
        self._gzip = endpoint.gzip
        self._url = f"{destination.url}/{endpoint.name}?{endpoint.query}"
        self._auth: Any = _no_auth
        if endpoint.basic_auth:
            self._auth = (credentials.user, credentials.password)
            if credentials.project_id is not None:
                self._url += f"&project_id={credentials.project_id}"
        self._secrets = _secrets(credentials)
        self._seconds = read_timeout
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        # A proxy of the environment would be another machine.
        near = {"no_proxy": urlsplit(destination.url).hostname or ""}
        self._proxies = near if destination.is_loopback else None
        # requests knows proxies, certificates and the environment. It is asked once: urllib3 goes
        # alone then, for less, and unlike a Session is safe between threads.
        self._session = requests.Session()
        self._session.headers.clear()
        self._session.headers.update(
            {
                "Content-Type": "application/json",
                "Accept": "application/json",
                "User-Agent": f"mixpanel-sink/{__version__}",
            }
        )
        if self._gzip:
            self._session.headers["Content-Encoding"] = "gzip"
        adapter = _Adapter(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        blank = self._session.prepare_request(requests.Request("POST", self._url, auth=self._auth))
        settings = self._session.merge_environment_settings(
            self._url, self._proxies or {}, True, None, None
        )
        self._route = adapter.route(blank, dict(settings))
        self._route.pool.conn_kw["send_timeout"] = read_timeout

    def post(self, body: bytes) -> Answer:
        """Sends a gzipped JSON array and reads the answer, within the timeouts and a size.

        Where the endpoint takes no gzip the array goes as it is.
        """
        route, response = self._route, None
        if not self._gzip:
            body = isal_zlib.decompress(body, wbits=31)
        try:
            # Redirects are never followed: they would carry the credentials to another place.
            response = route.pool.urlopen(
                "POST",
                route.target,
                body,
                route.headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
            deadline = time.monotonic() + self._seconds
            try:
                headers = {name.lower(): value for name, value in response.headers.items()}
                content = bytearray()
                # read1 gives what has come; read would wait for a whole block, and so for ever
                # for an answer that drips.
                while part := response.read1(65536, decode_content=True):
                    content += part
                    if len(content) > MAX_ANSWER_BYTES:
                        response.close()
                        return Answer(0, error=f"an answer of over {MAX_ANSWER_BYTES} bytes")
                    if time.monotonic() > deadline:
                        response.close()
                        return Answer(0, error="an answer that does not end")
                return Answer(response.status, headers, self._without_secrets(bytes(content)))
            finally:
                response.release_conn()
        except urllib3.exceptions.NameResolutionError:
            return Answer(0, error="the host's name was not found", reached_server=False)
        except urllib3.exceptions.NewConnectionError:
            return Answer(0, error="the connection was refused", reached_server=False)
        except urllib3.exceptions.ConnectTimeoutError:
            return Answer(0, error="no connection within the timeout", reached_server=False)
        except urllib3.exceptions.SSLError as error:
            if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
                said = "TLS failed: the certificate is not trusted or not the host's"
                return Answer(0, error=said, reached_server=False, untrusted=True)
            return Answer(0, error="TLS failed: the connection broke, or the server speaks none")
        except urllib3.exceptions.ReadTimeoutError:
            some = "answer" if response is None else "whole answer"
            return Answer(0, error=f"no {some} within the timeout")
        except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ProxyError):
            return Answer(0, error="the connection broke")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return Answer(0, error=f"the answer broke off ({type(error).__name__})")

    def _without_secrets(self, body: bytes) -> bytes:
        """An answer as it was, unless the server repeats a secret: its words get into logs."""
        for secret in self._secrets:
            if secret in body:
                body = body.replace(secret, b"***")
        return body

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()
