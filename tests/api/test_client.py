"""The client over real sockets: what goes over the wire, and which answers count as none."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import pathlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from mixpanel_sink import __version__
from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.transport import MAX_RESPONSE_BYTES, Response
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import DestinationError
from tests.conftest import Wire

SECRET = "s3cr3t-0123456789abcdef"
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"status":1}'
BODY = gzip.compress(b"[]")


def client(url: str, connect: float = 2.0, read: float = 2.0, **given: Any) -> IngestionClient:
    credentials = ResolvedCredentials(**{"user": SECRET, "password": "", **given})
    return IngestionClient(Destination(url), credentials, connect, read)


def post(url: str, body: bytes = BODY, **given: Any) -> Response:
    one = client(url, **given)
    try:
        return one.post(body)
    finally:
        one.close()


def parse(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.lower().split(": ", 1) for line in lines), body


def test_what_goes_over_the_wire(wire: Any) -> None:
    server = wire(OK)
    events = [b'{"event":"a","properties":{}}', b'{"event":"b","properties":{}}']
    answer = post(server.url, EventChunk.of(events, [Run(2, 0, ("",))]).payload)
    assert (answer.status, answer.body, answer.error) == (200, b'{"status":1}', "")
    first, headers, body = parse(server.requests[0])
    assert first == "POST /import?strict=1 HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert headers["content-encoding"] == "gzip"
    assert headers["user-agent"] == f"mixpanel-sink/{__version__}"
    assert [e["event"] for e in json.loads(gzip.decompress(body))] == ["a", "b"]
    # base64 keeps case, which parse() has lowered
    assert (
        headers["authorization"]
        == f"basic {base64.b64encode(f'{SECRET}:'.encode()).decode()}".lower()
    )


def test_a_service_account_names_its_project(wire: Any) -> None:
    server = wire(OK)
    post(server.url + "/base", user="robot", password="pw", project_id="42")
    assert b"POST /base/import?strict=1&project_id=42 HTTP/1.1" in server.requests[0]
    assert base64.b64encode(b"robot:pw") in server.requests[0]


def test_the_emulator_takes_it(mixpanel: Emulator) -> None:
    event = {"event": "a", "properties": {"time": int(time.time()), "distinct_id": "u",
             "$insert_id": "i-1"}}  # fmt: skip
    answer = post(mixpanel.url, gzip.compress(json.dumps([event]).encode()))
    assert answer.status == 200
    assert mixpanel.insert_ids() == ["i-1"]
    assert post(mixpanel.url, user="wrong").status == 401


def test_netrc_does_not_replace_the_credentials(
    wire: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server = wire(OK)
    post(server.url)
    assert base64.b64encode(f"{SECRET}:".encode()) in server.requests[0]


def test_a_proxy_of_the_environment_is_not_used_for_loopback(
    wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = wire(OK), wire(OK)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("http_proxy", proxy.url)
    assert post(server.url).status == 200
    assert not proxy.requests


def _through(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)


def test_a_proxy_of_the_environment(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = wire(OK)
    _through(monkeypatch, proxy.url.replace("//", "//me:pw@"))
    answer = post("http://mixpanel.test/base")
    assert (answer.status, answer.error) == (200, "")
    first, headers, body = parse(proxy.requests[0])
    assert first == "POST http://mixpanel.test/base/import?strict=1 HTTP/1.1"
    assert headers["host"] == "mixpanel.test"
    assert headers["proxy-authorization"].startswith("basic ")
    assert body == BODY


def test_a_lost_response_is_not_the_proxys(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = wire()  # reads the request, and ends the connection
    _through(monkeypatch, proxy.url)
    answer = post("http://mixpanel.test")
    assert len(proxy.requests) == 1
    assert (answer.error, answer.reached_server) == ("the connection broke", True)


@pytest.mark.parametrize("status", [b"407 Proxy Authentication Required", b"502 Bad Gateway"])
def test_a_proxy_that_opens_no_way(
    wire: Any, monkeypatch: pytest.MonkeyPatch, status: bytes
) -> None:
    proxy = wire(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
    _through(monkeypatch, proxy.url)
    answer = post("https://mixpanel.test")
    assert proxy.requests[0].startswith(b"CONNECT mixpanel.test:443 ")
    assert (answer.status, answer.error) == (0, f"the proxy: {status.decode()}")
    assert not answer.reached_server


def _behind_tls(context: ssl.SSLContext, server: Wire) -> tuple[socket.socket, str]:
    """A listener that speaks TLS and passes everything on to a server; and its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while part := one.recv(65536):
                other.sendall(part)
        other.close()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near = context.wrap_socket(listener.accept()[0], server_side=True)
                far = socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener, f"https://localhost:{listener.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_tls_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, scheme: str
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("mixpanel.test", "localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    dripping, lost = threading.Event(), threading.Event()

    def tunnel(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection, server_side=True) as there:
            asked = b""
            while not asked.endswith(BODY) and (part := there.recv(65536)):
                asked += part
            if lost.is_set():
                return
            while dripping.is_set():  # headers without an end
                there.sendall(b"H")
                time.sleep(0.05)
            there.sendall(OK)

    proxy = Wire(tunnel)
    listener, url = _behind_tls(context, proxy)
    _through(monkeypatch, url if scheme == "https" else proxy.url)
    if scheme == "http":
        assert post("https://mixpanel.test").untrusted
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    answer = post("https://mixpanel.test")
    assert (answer.status, answer.error) == (200, "")
    dripping.set()
    assert post("https://mixpanel.test", read=0.5).error == "no response within the timeout"
    dripping.clear()
    lost.set()
    answer = post("https://mixpanel.test")
    assert answer.reached_server, answer.error
    proxy.close()
    listener.close()


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        ("socks5h://127.0.0.1:9", "a SOCKS proxy needs PySocks"),
        ("ftp://me:pw@127.0.0.1:9", "it is not one of http, https"),
        ("http://me:pw/pw@127.0.0.1:9", "it is not a URL whose port is a number"),
    ],
)
def test_a_proxy_that_cannot_be_used(
    monkeypatch: pytest.MonkeyPatch, proxy: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.delitem(sys.modules, "urllib3.contrib.socks", raising=False)
    _through(monkeypatch, proxy)
    match = f"HTTPS_PROXY, .* cannot be used: .*{said}"
    with pytest.raises(DestinationError, match=match) as found:
        client("https://mixpanel.test")
    assert "me:pw" not in str(found.value)


def test_no_proxy_at_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    _through(monkeypatch, f"http://127.0.0.1:{port}")
    answer = post("https://mixpanel.test")
    assert answer.error == "the proxy: the connection was refused"
    assert not answer.reached_server


def test_idle_connections_are_kept_alive_by_tcp(wire: Any) -> None:
    one = client(wire(OK).url)
    connection = one._transport._route.pool._get_conn()  # type: ignore[attr-defined]
    connection.connect()
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    connection.close()
    one.close()


def test_redirects_are_not_followed(wire: Any) -> None:
    other = wire(OK)
    head = f"HTTP/1.1 307 Temporary\r\nLocation: {other.url}/import\r\nContent-Length: 0\r\n\r\n"
    server = wire(head.encode())
    assert post(server.url).status == 307
    assert len(server.requests) == 1
    assert not other.requests


def test_interim_responses_are_not_the_response(wire: Any) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    server = wire(b"HTTP/1.1 100 Continue\r\n\r\n", hints, b"HTTP/1.1 102 Processing\r\n\r\n", OK)
    answer = post(server.url)
    assert (answer.status, answer.body, answer.error) == (200, b'{"status":1}', "")


@pytest.mark.parametrize("count", [1, 10_000])
def test_interim_responses_alone_are_none(wire: Any, count: int) -> None:
    answer = post(wire(b"HTTP/1.1 103 Early Hints\r\n\r\n" * count).url)
    assert (answer.status, answer.error) == (0, "the connection broke")


@pytest.mark.parametrize(
    "pieces",
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"status":1}',),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n1",),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",),
        (b"HTTP/1.1 2",),
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",),
        (),
    ],
)
def test_a_broken_answer_is_none(wire: Any, pieces: tuple[bytes, ...]) -> None:
    answer = post(wire(*pieces).url)
    assert answer.status == 0
    assert answer.error
    assert answer.reached_server


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("head", "endless", "pause"),
    [
        # as fast as it can
        (HEAD + b"\r\n", b"x" * 65536, 0.0),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536, 0.0),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"4000\r\n" + b"x" * 0x4000 + b"\r\n", 0.0),
        # or in drips, each of them in time
        (HEAD + b"\r\n", b"x", 0.1),
        (HEAD + b"Content-Length: 5000\r\n\r\n", b"x", 0.1),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.1),
        (HEAD + b"X: ", b"x", 0.1),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", 0.1),
    ],
)
def test_an_endless_answer_is_bounded(wire: Any, head: bytes, endless: bytes, pause: float) -> None:
    begin = time.monotonic()
    answer = post(wire(head, endless=endless, pause=pause).url, connect=0.3, read=0.7)
    assert answer.status == 0
    assert answer.error
    assert time.monotonic() - begin < 4


def test_a_gzip_bomb_is_bounded(wire: Any) -> None:
    bomb = gzip.compress(b"\0" * (40 * MAX_RESPONSE_BYTES))
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    answer = post(wire(head + bomb).url, read=20)
    assert (answer.status, answer.error) == (0, f"a response of over {MAX_RESPONSE_BYTES} bytes")


def test_a_large_answer_within_the_bound_is_whole(wire: Any) -> None:
    body = json.dumps({"failed_records": ["x" * 100] * 20_000}).encode()
    answer = post(wire(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body).url)
    assert (answer.status, len(answer.body)) == (200, len(body))


def test_no_answer_in_time(wire: Any) -> None:
    answer = post(wire(b"", endless=b"", pause=2.0).url, read=0.3)
    assert (answer.status, answer.error) == (0, "no response within the timeout")
    assert answer.reached_server


def test_a_refused_connection_never_reached_the_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answer = post(f"http://127.0.0.1:{port}")
    assert (answer.status, answer.error) == (0, "the connection was refused")
    assert not answer.reached_server


def test_an_unknown_host_never_got_it() -> None:
    answer = post("https://mixpanel.invalid")
    assert (answer.error, answer.reached_server) == ("the host's name was not found", False)


def resetting(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_a_reset_is_ambiguous(mixpanel: Emulator) -> None:
    mixpanel.faults([{"kind": "reset", "stored": True, "path": "/import"}])
    answer = post(mixpanel.url)
    assert (answer.status, answer.error, answer.reached_server) == (0, "the connection broke", True)


@pytest.fixture
def tls() -> Iterator[str]:
    """A TLS server whose certificate is signed by an authority that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
                context.wrap_socket(connection, server_side=True).close()
            except ssl.SSLError:
                continue
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://localhost:{listener.getsockname()[1]}"
    listener.close()


def test_tls_is_verified(tls: str) -> None:
    answer = post(tls)
    assert answer.status == 0
    assert answer.error.startswith("TLS failed")


def test_threads_share_a_client(mixpanel: Emulator) -> None:
    one = client(mixpanel.url)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(one.post(BODY).status for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one.close()
    assert len(answers) == 20
    assert set(answers) <= {200, 400}
    assert mixpanel.stats()["requests"] == 20


def test_no_error_holds_the_secret(wire: Callable[..., Any], tls: str) -> None:
    urls = [wire(b"HTTP/1.1 2").url, "http://127.0.0.1:9", tls, wire().url]
    for url in urls:
        answer = post(url)
        assert answer.error
        assert SECRET not in repr(answer)
        assert base64.b64encode(f"{SECRET}:".encode()).decode() not in repr(answer)
    assert SECRET not in repr(client("http://127.0.0.1:9"))


@pytest.mark.parametrize("kind", ["API secret", "service account", "token"])
def test_a_server_that_repeats_the_secret_is_not_heard(wire: Any, kind: str) -> None:
    resolved = {
        "API secret": ResolvedCredentials(SECRET, ""),
        "service account": ResolvedCredentials("robot", SECRET, "7"),
        "token": ResolvedCredentials("robot", "pass-word", "7", SECRET),
    }[kind]
    basic = base64.b64encode(f"{resolved.user}:{resolved.password}".encode())
    said = b"who is " + SECRET.encode() + b" (" + basic + b")"
    server = wire(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
    one = IngestionClient(Destination.of(endpoint=server.url), resolved, 2, 2)
    assert one.post(BODY).body == b"who is *** (***)"


class TestTLS:
    """Against the emulator with a certificate of its own."""

    @pytest.fixture
    def emulator(self) -> Iterator[Emulator]:
        with Emulator(api_secret=SECRET, tls=True) as running:
            yield running

    def test_an_authority_of_ones_own(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.certificate)
        assert post(emulator.url).status in (200, 400)
        assert emulator.stats()["requests"] == 1

    def test_without_it_nothing_is_sent(self, emulator: Emulator) -> None:
        answer = post(emulator.url)
        assert (answer.status, answer.reached_server, answer.untrusted) == (0, False, True)
        assert emulator.stats()["requests"] == 0

    def test_http_on_a_tls_port(self, emulator: Emulator) -> None:
        plain = post(emulator.url.replace("https", "http"))
        assert (plain.status, plain.error) == (0, "the connection broke")

    def test_tls_on_a_port_of_something_else(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def greet() -> None:
                with listener.accept()[0] as connection:
                    connection.sendall(b"220 a mail server\r\n")
                    connection.recv(4096)

            threading.Thread(target=greet, daemon=True).start()
            answer = post(f"https://127.0.0.1:{listener.getsockname()[1]}")
        assert (answer.status, answer.untrusted) == (0, False)
        assert answer.error.startswith("TLS failed: the connection broke")


class SlowLine:
    """A server that reads a body at so many bytes a second, then answers."""

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.body = bytearray()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            data = b""
            while b"\r\n\r\n" not in data:
                data += connection.recv(4096)
            head, _, first = data.partition(b"\r\n\r\n")
            length = int(parse(head + b"\r\n\r\n")[1]["content-length"])
            body = bytearray(first)
            while len(body) < length:
                more = connection.recv(self._rate // 20)
                if not more:
                    return
                body += more
                time.sleep(len(more) / self._rate)
            self.body = body
            connection.sendall(OK)


def test_a_body_may_take_longer_than_any_timeout_while_it_moves() -> None:
    line = SlowLine(8_000_000)
    body = os.urandom(32_000_000)
    began = time.monotonic()
    one = client(line.url, connect=2.0, read=3.0)
    answer = one.post(body)
    one.close()
    assert (answer.status, answer.error) == (200, "")
    assert time.monotonic() - began > 3.0
    assert line.body == body
