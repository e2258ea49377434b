"""Prism starts and ends without idle seconds.

Beam connects to a server that it has only just started, is refused, and tries again after a second.
And once it has told a server to end, it looks after a second whether it has.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from typing import Any

from apache_beam.utils import subprocess_server

_LONGEST_SECONDS = 5.0
_PAUSE_SECONDS = 0.01


def wait_less() -> None:
    """Lets Beam connect to a server as soon as it answers, and go on as soon as it has ended."""
    server: Any = subprocess_server.SubprocessServer
    start, stop = server._really_start_process, server._really_stop_process

    def started(*of_server: Any) -> Any:
        process, endpoint = start(*of_server)
        deadline = time.monotonic() + _LONGEST_SECONDS
        while process.poll() is None and time.monotonic() < deadline and not _answers(endpoint):
            time.sleep(_PAUSE_SECONDS)
        return process, endpoint

    def stopped(process_and_endpoint: Any) -> None:
        process, _ = process_and_endpoint
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):  # no such signal
            process.send_signal(signal.SIGINT)
            process.wait(_LONGEST_SECONDS)
        stop(process_and_endpoint)

    server._cache._constructor, server._cache._destructor = started, stopped


def _answers(endpoint: str) -> bool:
    host, _, port = endpoint.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False
