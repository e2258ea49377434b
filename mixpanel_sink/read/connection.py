"""Connections that fail: workers try again, and a command says it in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mixpanel_sink.errors import InputError

_PASSING = {
    "RequestException",  # of requests, and so Google's client of Cloud Storage
    "TransportError", "RetryError", "ServiceUnavailable",  # of Google's other clients
    "EndpointConnectionError", "HTTPClientError",  # of Amazon's
    "ServiceRequestError", "ServiceResponseError",  # of Azure's
}  # fmt: skip
"""Names of errors of the network, besides Python's own."""


class UnreachableError(InputError):
    """An input that may be in order, but the connection to it failed."""


def is_passing(error: BaseException) -> bool:
    """Whether a retry may help: the network's fault, not the file's."""
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if not _PASSING.isdisjoint(each.__name__ for each in type(error).__mro__):
        return True
    details = getattr(error, "exception_details", None)  # of Beam's file systems
    causes = [*(details.values() if isinstance(details, dict) else ()), error.__cause__]
    return any(is_passing(each) for each in causes if isinstance(each, BaseException))


@contextmanager
def reached(name: str) -> Iterator[None]:
    """What a command does with an input before it sends anything, where nobody else tries again.

    Raises:
        UnreachableError: for an error that `is_passing`.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each cloud's client has errors of its own
        if not is_passing(error):
            raise
        raise UnreachableError(
            f"The connection to {name} failed ({short(error)}). Check the network and the address, "
            "and run the same command again."
        ) from None


def short(error: Exception) -> str:
    """An error's text, on one line."""
    text = " ".join(str(error).split())
    return text[:160] or type(error).__name__
