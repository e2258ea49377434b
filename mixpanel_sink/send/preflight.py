"""Preflight: before any data is read, do the endpoint and the credentials fit?

One request with an empty array, which Mixpanel looks at only after the credentials and then
calls invalid: nothing is stored. It counts against the quota all the same: at 60 requests
an hour it costs 2000 events. So it is made only when it is asked for; without it a job sends
its first batch alone, and stops there if that is refused.

/track, /engage and /groups know a project by the token in each record: there an empty
array shows only that the endpoint is there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection

from isal import isal_zlib

from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.reach import unreached
from mixpanel_sink.api.responses import ProjectRefused, RequestContext, Retry, classify
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.send.lane import steady_clock
from mixpanel_sink.settings.project import Target
from mixpanel_sink.settings.retry import RetryPolicy

_EMPTY = isal_zlib.compress(b"[]", 1, wbits=31)


@dataclasses.dataclass(frozen=True)
class Preflight:
    """What one project's endpoint answered.

    Attributes:
        name: of the project.
        said: a sentence for people.
        at: when the request was answered, in seconds since 1970, for the quota; None if it
            never arrived.
        proven: whether the credentials are known to be good.
    """

    name: str
    said: str
    at: float | None
    proven: bool


def check(
    target: Target,
    endpoint: Endpoint,
    retry: RetryPolicy,
    clock: Callable[[], float] = steady_clock,
) -> Preflight:
    """Asks once.

    Raises:
        CredentialsError: if a secret does not resolve.
        DestinationError: if nothing of Mixpanel's answers there, or it refuses the credentials.
    """
    credentials = target.credentials.resolve()
    client = IngestionClient(
        target.destination, credentials, retry.connect_timeout, retry.read_timeout, endpoint
    )
    context = RequestContext(target.destination, credentials.kind, endpoint)
    try:
        response = client.post(_EMPTY)
    finally:
        client.close()
    now = clock()
    found = classify(response, [], context, now)
    host, what = target.destination.host, context.authenticated_by
    if isinstance(found, ProjectRefused):
        raise found.error
    if isinstance(found, Retry) and response.status == 0:
        raise DestinationError(
            f"{host} cannot be reached: {found.why.rstrip('.')}. Check the endpoint, the network "
            "and the proxy. Nothing was sent."
        )
    if isinstance(found, Retry) and found.throttled:
        said = f"{host} has the quota used up at the moment ({found.why}); the job will wait."
    elif isinstance(found, Retry):
        said = f"{host} has problems ({found.why}); the job will retry until it has recovered."
    elif not endpoint.basic_auth:
        said = f"{host} has /{endpoint.name}; the first batch will show if it accepts the token."
    else:
        return Preflight(target.name, f"{host} accepts the {what}.", now, True)
    return Preflight(target.name, said, now, False)


def check_connections(destinations: Collection[Destination], timeout: float) -> None:
    """Finds out, before any data is read, that no endpoint can be reached. That costs no request.

    Where some of several projects can be reached, the job goes on: it isolates failures.

    Args:
        destinations: of the job.
        timeout: for one connection, in seconds.

    Raises:
        DestinationError: says what went wrong.
    """
    found = [_no_connection(each, timeout) for each in destinations]
    if found and all(found):
        raise DestinationError(f"{found[0]} Nothing was sent.")


def _no_connection(destination: Destination, timeout: float) -> str | None:
    """Why there is no connection; None if there is one."""
    found = unreached(destination.url, timeout)
    if found is None:
        return None
    said = f"{found.where} could not be reached ({found.why})"
    if destination.is_loopback:
        return f"{said}: is the server running, and is the port right?"
    return (
        f"{said}. Check the network, the region or endpoint, and the proxy; mixpanel-sink doctor "
        "looks at them."
    )
