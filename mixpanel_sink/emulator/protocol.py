"""uvicorn's HTTP protocol with what an emulator needs besides: arrival stamps and the socket.

A stamp is taken when a request's head has been read, before its body is and before the
application gets its turn. The transport is what cuts a connection without an answer, which ASGI
has no word for.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mixpanel_sink.emulator import clock
from mixpanel_sink.emulator.answers import Answer


class StampingProtocol(HttpToolsProtocol):
    """Puts ``arrived`` (epoch seconds) and ``transport`` into each request's state."""

    def on_headers_complete(self) -> None:
        """Stamp the request, then start it."""
        state = self.scope["state"]
        state["arrived"] = clock.stamp()
        state["transport"] = self.transport
        super().on_headers_complete()


class Cut(Response):
    """No answer: the connection is reset."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reset the connection and wait until the server has noticed."""
        transport: asyncio.Transport = scope["state"]["transport"]
        sock = transport.get_extra_info("socket")
        if sock is not None:
            # Linger of 0 s makes the close a TCP reset, whatever was read.
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
        await _gone(receive)


class CutShort(Response):
    """The first half of an answer, though its Content-Length promises all of it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body, answer.status, media_type=answer.content_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send half of the body, then close the connection."""
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        scope["state"]["transport"].close()
        await _gone(receive)


class Paced(Response):
    """An answer in parts, `pause` seconds apart, as long as the client is there."""

    def __init__(
        self, parts: Iterable[bytes], status: int, content_type: str, pause: float
    ) -> None:
        super().__init__(None, status, media_type=content_type)
        # Without a length: it is told by the answer's end.
        del self.headers["content-length"]
        self._parts = parts
        self._pause = pause

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the client waits for."""
        gone = asyncio.create_task(_gone(receive))
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        for part in self._parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            # Sending to a client that has gone does not wait, and would keep the loop for itself.
            await asyncio.sleep(self._pause)
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b""})
        gone.cancel()


def arrival(request: Request) -> float:
    """When the request's head arrived, in epoch seconds."""
    arrived: float = getattr(request.state, "arrived", 0.0) or clock.stamp()
    return arrived


async def _gone(receive: Receive) -> None:
    # Returning before the server knows of the cut would make it answer with a 500.
    while (await receive())["type"] != "http.disconnect":
        pass
