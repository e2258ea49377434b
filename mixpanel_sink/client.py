"""One POST to Mixpanel. No retries, no quota, no Beam: see `sender.py` and `lane.py`."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from isal import isal_zlib
from requests.adapters import HTTPAdapter

from mixpanel_sink import __version__
from mixpanel_sink.credentials import ResolvedCredentials
from mixpanel_sink.destination import Destination
from mixpanel_sink.endpoint import IMPORT, Endpoint

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
    """

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    error: str = ""
    reached_server: bool = True


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


class _Bounded:
    """Ends a connection whose headers drip, each byte within the timeout, but without an end."""

    sock: Any
    timeout: Any

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


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leaves a request alone; without it, requests would look for a password in ~/.netrc."""
    return request


class IngestionClient:
    """Posts request bodies to one of a project's endpoints. Thread-safe.

    Args:
        destination: the host.
        credentials: resolved.
        connect_timeout: seconds to connect.
        read_timeout: seconds until the answer is complete.
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
        self._timeout = (connect_timeout, read_timeout)
        # A proxy of the environment would be another machine.
        near = {"no_proxy": urlsplit(destination.url).hostname or ""}
        self._proxies = near if destination.is_loopback else None
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def post(self, body: bytes) -> Answer:
        """Sends a gzipped JSON array and reads the answer, within the timeouts and a size.

        Where the endpoint takes no gzip the array goes as it is.
        """
        deadline = time.monotonic() + sum(self._timeout)
        if not self._gzip:
            body = isal_zlib.decompress(body, wbits=31)
        try:
            session, blank, settings = self._prepared()
            request = blank.copy()
            request.prepare_body(body, None)
            # Redirects are never followed: they would carry the credentials to another place.
            with session.send(
                request, timeout=self._timeout, allow_redirects=False, **settings
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                content = bytearray()
                # read1 gives what has come; iter_content would wait for a whole block, and so for
                # ever for an answer that drips.
                while part := response.raw.read1(65536, decode_content=True):
                    content += part
                    if len(content) > MAX_ANSWER_BYTES:
                        response.close()
                        return Answer(0, error=f"an answer of over {MAX_ANSWER_BYTES} bytes")
                    if time.monotonic() > deadline:
                        response.close()
                        return Answer(0, error="an answer that does not end")
                return Answer(response.status_code, headers, bytes(content))
        except requests.ConnectTimeout:
            return Answer(0, error="no connection within the timeout", reached_server=False)
        except requests.exceptions.SSLError:
            return Answer(0, error="TLS failed: the certificate is not trusted or not the host's")
        except requests.ConnectionError as error:
            cause = getattr(error.args[0] if error.args else None, "reason", None)
            if isinstance(cause, urllib3.exceptions.NameResolutionError):
                return Answer(0, error="the host's name was not found", reached_server=False)
            if isinstance(cause, urllib3.exceptions.NewConnectionError):
                return Answer(0, error="the connection was refused", reached_server=False)
            return Answer(0, error="the connection broke")
        except requests.Timeout:
            return Answer(0, error="no answer within the timeout")
        except urllib3.exceptions.TimeoutError:
            return Answer(0, error="no whole answer within the timeout")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            return Answer(0, error=f"the answer broke off ({type(error).__name__})")

    def close(self) -> None:
        """Closes every thread's connections."""
        for session in self._sessions:
            session.close()

    def _prepared(self) -> tuple[requests.Session, requests.PreparedRequest, dict[str, Any]]:
        """This thread's session, its request without a body, and what the environment adds.

        requests works all of that out anew for each call, which takes longer than the call. It
        does not promise that a Session is safe between threads.
        """
        if not hasattr(self._local, "prepared"):
            session = requests.Session()
            session.headers.clear()
            session.headers.update(
                {
                    "Content-Type": "application/json",
                    "Accept": "application/json",
                    "User-Agent": f"mixpanel-sink/{__version__}",
                }
            )
            if self._gzip:
                session.headers["Content-Encoding"] = "gzip"
            adapter = _Adapter(pool_connections=1, pool_maxsize=1, max_retries=0)
            session.mount("https://", adapter)
            session.mount("http://", adapter)
            blank = session.prepare_request(requests.Request("POST", self._url, auth=self._auth))
            settings = session.merge_environment_settings(
                self._url, self._proxies or {}, True, None, None
            )
            session.trust_env = False  # its part is in the settings now
            self._local.prepared = session, blank, settings
            self._sessions.append(session)
        prepared: tuple[requests.Session, requests.PreparedRequest, dict[str, Any]]
        prepared = self._local.prepared
        return prepared
