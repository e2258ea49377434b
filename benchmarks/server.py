"""A loopback server that reads requests, counts their events, and says that all is well.

    python -m benchmarks.server [--port 0] [--latency-ms 200] [--quota 100/10] [--ids]

It prints its port. GET /stats tells what arrived since POST /reset, and what that cost
the server. One thread and no framework: it shares the cores with what is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import re
import sys
import time
from collections import deque

from benchmarks.counting import count_events, decompress, insert_ids

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)", re.IGNORECASE)
_GZIPPED = re.compile(rb"\r\ncontent-encoding:\s*gzip", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:\s*close", re.IGNORECASE)
_ROOM = 1 << 20


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the server behaves.

    Attributes:
        latency: seconds between a request's last byte and its answer.
        quota: requests that it takes in any window; 0 for no quota.
        window: seconds of the quota's window.
        ids: whether to keep every `$insert_id`, which costs time and memory.
    """

    latency: float = 0.0
    quota: int = 0
    window: float = 0.0
    ids: bool = False


class Counter:
    """What arrived since the last reset."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forgets all."""
        self._events = self._bytes = self._refused = self._bad = 0
        self._arrivals: list[float] = []
        self._taken: deque[float] = deque()
        self._ids: set[bytes] = set()
        self._cpu = time.process_time()

    def arrived(self, body: memoryview, gzipped: bool, at: float) -> tuple[int, bytes]:
        """Takes a request; gives the status and the answer's body."""
        self._arrivals.append(at)
        if self._over_quota(at):
            self._refused += 1
            return 429, b'{"code":429,"error":"rate limit exceeded","status":"Too Many Requests"}'
        try:
            text = decompress(body) if gzipped else bytes(body)
            count = count_events(text)
        except Exception as error:  # a contestant may send anything
            self._bad += 1
            return 400, json.dumps({"code": 400, "error": str(error)}).encode()
        self._events += count
        self._bytes += len(body)
        if self._settings.ids:
            self._ids.update(insert_ids(text))
        return 200, b'{"code":200,"num_records_imported":%d,"status":"OK"}' % count

    def stats(self) -> dict[str, object]:
        """For GET /stats; stamps and CPU in seconds."""
        return {
            "events": self._events,
            "requests": len(self._arrivals),
            "bytes": self._bytes,
            "status_429": self._refused,
            "status_400": self._bad,
            "distinct_ids": len(self._ids) if self._settings.ids else None,
            "cpu": time.process_time() - self._cpu,
            "arrivals": self._arrivals,
        }

    def _over_quota(self, at: float) -> bool:
        if not self._settings.quota:
            return False
        while self._taken and self._taken[0] <= at - self._settings.window:
            self._taken.popleft()
        if len(self._taken) >= self._settings.quota:
            return True
        self._taken.append(at)
        return False


class Connection(asyncio.BufferedProtocol):
    """One keep-alive connection; requests on it may follow each other without a wait."""

    def __init__(self, counter: Counter, settings: Settings) -> None:
        self._counter = counter
        self._settings = settings
        self._buffer = bytearray(_ROOM)
        self._used = 0
        self._head: bytes | None = None
        self._arrived = 0.0
        self._body = self._end = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio calls it."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        """Room for what comes next."""
        self._make_room(self._used + 1)
        return memoryview(self._buffer)[self._used :]

    def buffer_updated(self, nbytes: int) -> None:
        """Handles every request that is complete."""
        self._used += nbytes
        while self._used:
            if self._head is None and not self._read_head():
                return
            if self._used < self._end:
                self._make_room(self._end)
                return
            assert self._head is not None
            with memoryview(self._buffer) as whole, whole[self._body : self._end] as body:
                self._handle(self._head, body)
            left = self._used - self._end
            if left:
                self._buffer[:left] = self._buffer[self._end : self._used]
            self._used, self._head = left, None

    def _make_room(self, size: int) -> None:
        if size > len(self._buffer):
            # asyncio may hold a view of the old one, which could not grow then
            larger = bytearray(size + _ROOM)
            larger[: self._used] = memoryview(self._buffer)[: self._used]
            self._buffer = larger

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, self._used)
        if end < 0:
            return False
        self._head = bytes(self._buffer[: end + 2])
        self._arrived = time.monotonic()
        length = _LENGTH.search(self._head)
        self._body = end + 4
        self._end = self._body + (int(length[1]) if length else 0)
        return True

    def _handle(self, head: bytes, body: memoryview) -> None:
        method, path, _ = head.split(b" ", 2)
        delay = 0.0
        if method == b"GET":
            status, answer = 200, json.dumps(self._counter.stats()).encode()
        elif path == b"/reset":
            self._counter.reset()
            status, answer = 200, b"{}"
        else:
            gzipped = _GZIPPED.search(head) is not None
            status, answer = self._counter.arrived(body, gzipped, self._arrived)
            delay = self._settings.latency
        whole = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        self._answer(whole % (status, len(answer), answer), delay, bool(_CLOSE.search(head)))

    def _answer(self, answer: bytes, delay: float, close: bool) -> None:
        def write() -> None:
            self._transport.write(answer)
            if close:
                self._transport.close()

        if delay:
            asyncio.get_running_loop().call_later(delay, write)
        else:
            write()


async def serve(port: int, settings: Settings) -> None:
    """Serves until it is killed; prints the port first."""
    counter = Counter(settings)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(counter, settings), "127.0.0.1", port, backlog=512
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    # Whoever started the server holds its stdin: without them it ends.
    await loop.run_in_executor(None, sys.stdin.read)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--quota", default="0/1", help="requests/seconds")
    parser.add_argument("--ids", action="store_true", help="count distinct $insert_ids")
    options = parser.parse_args()
    amount, _, window = options.quota.partition("/")
    settings = Settings(options.latency_ms / 1000, int(amount), float(window), options.ids)
    asyncio.run(serve(options.port, settings))


if __name__ == "__main__":
    main()
