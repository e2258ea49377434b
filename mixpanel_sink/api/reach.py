"""Whether there is a connection to a server at all, which costs no request."""

from __future__ import annotations

import socket
import time
from typing import NamedTuple
from urllib.parse import urlsplit

from mixpanel_sink.api.proxy import port_of, proxy_of

_WAITS = (0.2, 0.5, 1.0)
"""Seconds between the tries: a server may be starting, and a packet may be lost."""


class Unreached(NamedTuple):
    """Where there is no connection to, as host:port, and why."""

    where: str
    why: str


def unreached(url: str, timeout: float) -> Unreached | None:
    """Why there is no connection to a URL's host or its proxy; None if there is one.

    Args:
        url: of http or https.
        timeout: for one connection, in seconds.

    Raises:
        DestinationError: if the proxy that the environment names cannot be used.
    """
    parts = proxy_of(url) or urlsplit(url)
    host, port = parts.hostname or "", port_of(parts)
    for wait in (*_WAITS, None):
        try:
            socket.create_connection((host, port), timeout).close()
            return None
        except OSError as error:
            why = error.strerror or str(error) or type(error).__name__
            if wait is not None:
                time.sleep(wait)
    return Unreached(f"{host}:{port}", why)
