"""Shared by the tests of the sink: a running emulator, and a tiny server for odd answers."""

from __future__ import annotations

import contextlib
import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from mixpanel_sink.settings.credentials import ApiSecret

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SECRET = "s3cr3t-0123456789abcdef"
TOKEN = "t0ken-0123456789abcdef"
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")
_DEFAULTS: dict[str, Any] = {
    "quota": "none",
    "variant": "reference",
    "failed_records_as": "objects",
    "max_batch": 2000,
    "max_body_bytes": 10 * 1024 * 1024,
    "max_event_bytes": None,
    "latency_ms": 0,
}


@pytest.fixture(autouse=True)
def _loggers_are_heard() -> None:
    """Runners and libraries configure logging for the whole process; each test begins afresh."""
    logging.disable(logging.NOTSET)
    logging.root.setLevel(min(logging.root.level, logging.WARNING))
    for name, logger in logging.root.manager.loggerDict.items():
        if name.partition(".")[0] == "mixpanel_sink" and isinstance(logger, logging.Logger):
            logger.disabled, logger.propagate = False, True
    logging.getLogger("mixpanel_sink").setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium, one for the whole process: Playwright starts only once in a thread."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    assert chromium, "Chromium is missing; `make test` installs it"
    quiet = ["--no-sandbox", "--disable-background-networking", "--no-first-run"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium,
            args=[*quiet, "--disable-component-update", "--disable-sync"],
        )
        yield started
        started.close()


@pytest.fixture(scope="session")
def _mixpanel() -> Iterator[Emulator]:
    with Emulator(api_secret=SECRET, project_token=TOKEN, variant="reference") as running:
        yield running


@pytest.fixture
def mixpanel(_mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """An empty emulator without a quota; the sink remembers nothing of earlier tests."""
    _mixpanel.reset(**_DEFAULTS)
    forget()
    monkeypatch.setenv("TEST_API_SECRET", SECRET)
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    return _mixpanel


@pytest.fixture
def credentials(mixpanel: Emulator) -> ApiSecret:
    return ApiSecret("env:TEST_API_SECRET")


class Wire:
    """A server that answers each connection's request with the given bytes, word for word."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                if not (more := connection.recv(65536)):
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            length = sum(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            while len(body) < length:
                body += connection.recv(65536)
            self.requests.append(head + b"\r\n\r\n" + body)
            self._answer(connection)


@pytest.fixture
def wire() -> Iterator[Callable[..., Wire]]:
    """Starts a server that sends the pieces, `pause` seconds apart, and then closes."""
    servers: list[Wire] = []

    def start(*pieces: bytes, pause: float = 0.0, endless: bytes = b"") -> Wire:
        def answer(connection: socket.socket) -> None:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            while endless:
                connection.sendall(endless)
                time.sleep(pause)

        servers.append(Wire(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
