"""How a request travels: the one place that knows sockets, TLS and proxies.

`IngestionClient` builds requests and hands them to a `Transport`, so that a test can give it
another one. `HttpTransport` is the real one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import requests
import urllib3
from requests.adapters import HTTPAdapter

from mixpanel_sink.api.proxy import proxies_for

_CONNECTIONS = 256
"""Kept open at most; there are only as many as there are requests at a time."""
_BLOCK_BYTES = 262_144
"""This much of a body must leave within the timeout: a slow line is not a broken one."""
_IDLE_SECONDS = 45
"""TCP tries a connection that is idle for so long. At 60 requests an hour one often is, and a
firewall that forgets it says nothing: the next request would wait for its timeout."""
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), _IDLE_SECONDS)
        for name in ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL")  # not all are everywhere
        if hasattr(socket, name)
    ),
]
MAX_RESPONSE_BYTES = 8_000_000
"""2000 failed records with their messages fit; an endless response does not."""


@dataclasses.dataclass(frozen=True)
class Response:
    """What came back.

    Attributes:
        status: HTTP status; 0 if no complete response came.
        headers: names in lower case.
        body: the whole body.
        error: what went wrong on the way, "" if nothing did. Holds no secret.
        reached_server: False only where the request certainly never arrived.
        untrusted: whether the server's certificate is not trusted, or not the host's.
        refused: whether nothing listens at that address.
    """

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    reached_server: bool = True
    untrusted: bool = False
    refused: bool = False


class Transport(Protocol):
    """Carries requests to one URL. Thread-safe."""

    def post(self, body: bytes) -> Response:
        """Sends a body and reads the response; never raises for what happens on the way."""
        ...

    def request(self, method: str, body: bytes | None) -> Response:
        """The same by another method; without a body for a GET."""
        ...

    def close(self) -> None:
        """Closes the connections."""
        ...


class OpenTransport(Protocol):
    """Makes a `Transport` for one URL."""

    def __call__(
        self, url: str, headers: Mapping[str, str], connect_timeout: float, read_timeout: float
    ) -> Transport:
        """Opens a transport with the headers of every request; timeouts in seconds."""
        ...


class HttpTransport:
    """Posts over HTTP, within the timeouts and a size. A `Transport`.

    Redirects are never followed: they would carry the credentials to another place.

    Args:
        url: of all requests.
        headers: of all requests.
        connect_timeout: seconds to connect.
        read_timeout: seconds until the response is complete, and for each quarter of a megabyte
            to leave.

    Raises:
        DestinationError: the environment names a proxy that cannot be used.
    """

    def __init__(
        self, url: str, headers: Mapping[str, str], connect_timeout: float, read_timeout: float
    ) -> None:
        self._seconds = read_timeout
        self._timeout = urllib3.Timeout(connect=connect_timeout, read=read_timeout)
        # requests knows proxies, certificates and the environment. It is asked once: urllib3 goes
        # on alone, which is faster and, unlike a Session, safe between threads.
        self._session = requests.Session()
        self._session.headers.clear()
        adapter = _Adapter(pool_connections=1, pool_maxsize=_CONNECTIONS, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        blank = requests.Request("POST", url, headers=dict(headers), auth=_no_auth)
        proxies = proxies_for(url)
        settings = self._session.merge_environment_settings(url, proxies, True, None, None)
        self._route = adapter.route(self._session.prepare_request(blank), dict(settings))
        if isinstance(self._route.pool, _Pool | _TLSPool):
            self._route.pool.conn_kw["send_timeout"] = read_timeout

    def post(self, body: bytes) -> Response:
        """Sends a body and reads the response."""
        return self.request("POST", body)

    def request(self, method: str, body: bytes | None) -> Response:
        """Sends a body, if there is one, by this method, and reads the response."""
        started = False
        try:
            response = self._route.pool.urlopen(
                method,
                self._route.target,
                body,
                self._route.headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
            started = True
            try:
                return self._read(response)
            finally:
                response.release_conn()
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return _broken(error, started)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _read(self, response: urllib3.BaseHTTPResponse) -> Response:
        deadline = time.monotonic() + self._seconds
        content = bytearray()
        # read1 gives what has come; read would wait for a whole block, and so for ever for a
        # response that drips.
        while part := response.read1(65536, decode_content=True):
            content += part
            if len(content) > MAX_RESPONSE_BYTES:
                response.close()
                return Response(0, error=f"a response of over {MAX_RESPONSE_BYTES} bytes")
            if time.monotonic() > deadline:
                response.close()
                return Response(0, error="a response that does not end")
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status, headers, bytes(content))


def _broken(error: Exception, started: bool) -> Response:
    """What an exception on the way means; `started`: the response had begun."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return Response(0, error="the host's name was not found", reached_server=False)
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return Response(0, error="the connection was refused", reached_server=False, refused=True)
    if isinstance(error, urllib3.exceptions.ConnectTimeoutError):
        return Response(0, error="no connection within the timeout", reached_server=False)
    if isinstance(error, urllib3.exceptions.SSLError):
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
            said = "TLS failed: the certificate is not trusted or not the host's"
            return Response(0, error=said, reached_server=False, untrusted=True)
        return Response(
            0, error="TLS failed: the connection broke, or the server does not speak TLS"
        )
    if isinstance(error, urllib3.exceptions.ReadTimeoutError):
        some = "complete response" if started else "response"
        return Response(0, error=f"no {some} within the timeout")
    if isinstance(error, urllib3.exceptions.ProxyError):
        return Response(0, error=f"the proxy: {_of_proxy(error)}", reached_server=False)
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return Response(0, error="the connection broke")
    return Response(0, error=f"the response broke off ({type(error).__name__})")


def _of_proxy(error: urllib3.exceptions.ProxyError) -> str:
    """Why there is no connection through the proxy, which says it in the words of HTTP."""
    cause = error.original_error
    if isinstance(cause, urllib3.exceptions.HTTPError):
        return _broken(cause, started=False).error
    return str(cause).removeprefix("Tunnel connection failed: ")[:200]


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


class _FinalResponse(http.client.HTTPResponse):
    """Passes over 102, 103 and their like, as Python does over 100 only.

    They come before the response. Taken for it, they would leave the response to the next request.
    """

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()  # type: ignore[misc]
        return version, status if status >= 200 else http.client.CONTINUE, reason


class _Bounded:
    """Ends a connection whose headers trickle in, each byte within the timeout, but never complete.

    And gives a body as long as it keeps moving: urllib3 would have all of it leave within the
    time to connect.
    """

    response_class: Any = _FinalResponse
    sock: Any
    timeout: Any
    _asked = False

    def __init__(self, *args: Any, send_timeout: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._send_timeout = send_timeout

    @property
    def has_connected_to_proxy(self) -> bool:
        """urllib3 takes this back when the connection breaks, and then calls a request that got
        through one that the proxy did not let out."""
        return self._asked or bool(super().has_connected_to_proxy)  # type: ignore[misc]

    def connect(self) -> None:
        self._asked = False
        super().connect()  # type: ignore[misc]
        self.sock.settimeout(self._send_timeout)
        for option in _KEEPALIVE:
            _plain(self.sock).setsockopt(*option)

    def send(self, data: Any) -> None:
        if not isinstance(data, bytes) or len(data) <= _BLOCK_BYTES:
            super().send(data)  # type: ignore[misc]
            return
        view = memoryview(data)
        for start in range(0, len(data), _BLOCK_BYTES):
            super().send(view[start : start + _BLOCK_BYTES])  # type: ignore[misc]

    def getresponse(self) -> Any:
        self._asked, sock = True, _plain(self.sock)
        _WATCHDOG.watch(sock, self.timeout + 0.5)
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            if _WATCHDOG.release(sock):
                raise TimeoutError


def _plain(sock: Any) -> Any:
    """The socket itself, where urllib3 wraps one: for TLS inside the TLS of a proxy."""
    return getattr(sock, "socket", sock)


class _Connection(_Bounded, urllib3.connection.HTTPConnection):
    pass


class _TLSConnection(_Bounded, urllib3.connection.HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


class _Route(NamedTuple):
    """The way of requests: connections to the host or its proxy, their target and headers."""

    pool: urllib3.HTTPConnectionPool
    target: str
    headers: dict[str, str]


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(*args, **options)
        if type(manager) is urllib3.ProxyManager:  # one for SOCKS has connections of its own
            manager.pool_classes_by_scheme = _POOLS
        return manager

    def route(self, request: requests.PreparedRequest, settings: dict[str, Any]) -> _Route:
        """What `send` works out again for each request, which takes longer than the request."""
        verify, proxies, cert = (settings[name] for name in ("verify", "proxies", "cert"))
        pool: Any = self.get_connection_with_tls_context(request, verify, proxies, cert)
        self.cert_verify(pool, request.url, verify, cert)  # type: ignore[no-untyped-call]
        headers = {k: v for k, v in request.headers.items() if k.lower() != "content-length"}
        return _Route(pool, self.request_url(request, proxies), headers)


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leaves a request alone; without it, requests would look for a password in ~/.netrc."""
    return request
