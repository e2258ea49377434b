"""Connections that fail: workers try again, and a command says it in one sentence."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from mixpanel_sink.errors import DestinationError, InputError

_PASSING = {
    "RequestException",  # of requests, and so Google's client of Cloud Storage
    "TransportError", "RetryError",  # of Google's other clients
    "EndpointConnectionError", "HTTPClientError",  # of Amazon's
    "ServiceRequestError", "ServiceResponseError",  # of Azure's
    "ProtocolError", "IncompleteRead", "IncompleteReadError",  # an answer that breaks off
    "SSLEOFError",
}  # fmt: skip
"""Names of errors of the network, besides Python's own."""
_UNREACHABLE = {errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
_BUSY = {408, 429}
"""Statuses of HTTP of a server that asks to try again, besides those from 500 on."""


class UnreachableError(InputError):
    """An input that may be in order, but the connection to it failed."""


def is_passing(error: BaseException) -> bool:
    """Whether a retry may help: the network's fault or the server's, not the file's."""
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return True
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return True
    names = {each.__name__ for each in type(error).__mro__}
    if not _PASSING.isdisjoint(names) or _is_busy(error):
        return True
    if "S3ClientError" in names and getattr(error, "code", None) is None:
        return True  # Beam's, of an error of Amazon's client that is not a response
    details = getattr(error, "exception_details", None)  # of Beam's file systems
    causes = [*(details.values() if isinstance(details, dict) else ()), error.__cause__]
    return any(is_passing(each) for each in causes if isinstance(each, BaseException))


def _is_busy(error: BaseException) -> bool:
    """Whether it is a server's answer that it cannot serve now."""
    statuses = (getattr(error, name, None) for name in ("code", "status_code"))
    return any(isinstance(s, int) and (s in _BUSY or 500 <= s < 600) for s in statuses)


@contextmanager
def reached(name: str) -> Iterator[None]:
    """What a command does with an input before it sends anything, when no runner would retry.

    Raises:
        UnreachableError: for an error that `is_passing`, or a proxy that cannot be used.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each cloud's client has errors of its own
        if "://" in name:
            _check_proxy()
        if not is_passing(error):
            raise
        raise UnreachableError(
            f"The connection to {name} failed ({short(error)}). Check the network and the address, "
            "and run the same command again."
        ) from None


def _check_proxy() -> None:
    """Says what is wrong with the proxy, if that is it: clients stumble over it in many ways."""
    from mixpanel_sink.api.proxy import proxy_of  # `check` starts faster without it

    try:
        proxy_of("https://storage.googleapis.com")
    except DestinationError as error:
        raise UnreachableError(str(error)) from None


def short(error: Exception) -> str:
    """An error's text, on one line."""
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__
