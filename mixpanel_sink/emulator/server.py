"""Running an emulator: the socket, the server, the line that says it is ready, its end."""

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from mixpanel_sink.emulator.app import make_app
from mixpanel_sink.emulator.faults import FaultPlan
from mixpanel_sink.emulator.protocol import StampingProtocol
from mixpanel_sink.emulator.settings import Settings
from mixpanel_sink.emulator.state import State
from mixpanel_sink.emulator.store import Store


def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    db: Path | None = None,
    faults: FaultPlan | None = None,
    until_stdin_ends: bool = False,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Run an emulator until SIGINT or SIGTERM; port 0 takes a free one.

    With a `tls` context it speaks https only.

    With `until_stdin_ends` it also ends when its standard input does, so that it does not
    outlive the process that started it.

    Raises:
        OSError: the address cannot be bound.
        sqlite3.Error: the database cannot be opened.
    """
    sock = _listen(host, port)
    try:
        state = State(settings, Store(db), faults or FaultPlan())
    except BaseException:
        sock.close()
        raise
    try:
        address = sock.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        scheme = "https" if tls else "http"
        ready = f"mixpanel emulator on {scheme}://{shown}:{address[1]} ({_summary(settings)})"
        config = uvicorn.Config(
            make_app(state),
            http=StampingProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Clients wait long for a small quota; a connection must not vanish meanwhile.
            timeout_keep_alive=120,
            timeout_graceful_shutdown=2,
            ssl_context_factory=(lambda config, default: tls) if tls else None,
        )
        server = _Server(config, sock, ready)
        state.refuse = server.refuse
        if until_stdin_ends:
            _when_stdin_ends(server.stop)
        server.run(sockets=[sock])
    finally:
        state.close()


_REOPEN_TRIES, _REOPEN_SECONDS = 200, 0.05


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, sock: socket.socket, ready: str) -> None:
        super().__init__(config)
        self._address = sock.getsockname()
        self._family = sock.family
        self._ready = ready
        self._reopening: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            print(self._ready, flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # uvicorn raises the signal again at the end; here the end that was asked for is clean.
        def stop(number: int, frame: object) -> None:
            self.force_exit = self.should_exit
            self.should_exit = True

        before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        self.should_exit = True

    async def refuse(self, seconds: float) -> None:
        """Take no connections for a while; open ones stay."""
        if self._reopening is not None and not self._reopening.done():
            return
        self._reopening = asyncio.create_task(self._reopen_after(seconds))
        for server in self.servers:
            await close(server)

    async def _reopen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        # A client that tries to connect meanwhile may get this very port as its own, and hold it
        # for a moment.
        for _ in range(_REOPEN_TRIES):
            try:
                sock = _listen(self._address[0], self._address[1])
                break
            except OSError:
                await asyncio.sleep(_REOPEN_SECONDS)
        else:
            sock = _listen(self._address[0], self._address[1])
        server = await asyncio.get_running_loop().create_server(
            self._protocol, sock=sock, ssl=self.config.ssl
        )
        self.servers = [server]

    def _protocol(self) -> asyncio.Protocol:
        return StampingProtocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


async def close(server: asyncio.Server) -> None:
    """Take no more connections; those that have been accepted become connections first.

    asyncio accepts a connection in one turn of its loop and sets it up in the next. A server
    that is closed in between leaves the socket open and unread: its client waits for nothing.
    """
    loop = asyncio.get_running_loop()
    for sock in server.sockets:
        loop.remove_reader(sock)
    await asyncio.sleep(0)
    server.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's delay off only where it is: without,
    # each answer takes 40 ms more.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(2048)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _summary(settings: Settings) -> str:
    quota = settings.projects[0].quota
    if quota is None:
        limit = "no quota"
    else:
        number, _, window = str(quota).partition("/")
        limit = f"{number} requests/{window}"
    parts = [f"variant {settings.variant}", limit]
    if len(settings.projects) > 1:
        parts = [f"variant {settings.variant}", f"{len(settings.projects)} projects"]
    if settings.region:
        parts.append(f"region {settings.region}")
    return ", ".join(parts)


def _when_stdin_ends(stop: Callable[[], None]) -> None:
    def wait() -> None:
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin.buffer.read(1):
                pass
        stop()

    threading.Thread(target=wait, name="stdin", daemon=True).start()
