"""Starts the counting server, asks it, and stops it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import urllib.request
from types import TracebackType

from benchmarks import paths


@dataclasses.dataclass(frozen=True)
class Stats:
    """What the server got.

    Attributes:
        cpu: the server's own seconds.
        arrivals: stamps of every request's head, in seconds of one clock.
        distinct_ids: None unless the server was told to keep them.
    """

    events: int
    requests: int
    bytes: int
    status_429: int
    status_400: int
    distinct_ids: int | None
    cpu: float
    arrivals: tuple[float, ...]


class Server:
    """The counting server as a process of its own; a context manager.

    Args:
        arguments: of `benchmarks.server`.
    """

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.server", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=paths.REPOSITORY,
        )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        if not port:
            raise RuntimeError("the counting server did not start")
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def stats(self) -> Stats:
        """Since the last reset."""
        with urllib.request.urlopen(f"{self.url}/stats") as answer:
            fields = json.load(answer)
        return Stats(**{**fields, "arrivals": tuple(fields["arrivals"])})

    def reset(self) -> None:
        """Forgets what arrived."""
        urllib.request.urlopen(f"{self.url}/reset", data=b"").close()
