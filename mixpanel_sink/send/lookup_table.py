"""Replaces a lookup table, and lists those that there are. No Beam here.

One request replaces all of a table or nothing, and may safely be sent again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.endpoints import LOOKUP_TABLES, lookup_table
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.lookup_tables import ListedTable, TableContext, listed
from mixpanel_sink.api.responses import ProjectRefused, Settled
from mixpanel_sink.api.transport import Response
from mixpanel_sink.checkpoint.lookup_tables import TableLog
from mixpanel_sink.encode.lookup_table import LookupTable
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.send.lane import steady_clock
from mixpanel_sink.settings.credentials import Credentials
from mixpanel_sink.settings.lookup_table import TableJob
from mixpanel_sink.settings.retry import RetryPolicy

_LOGGER = logging.getLogger(__name__)


class TableResult(NamedTuple):
    """What became of a lookup table.

    Attributes:
        id: of the table.
        columns: its columns; the first is the key.
        rows: without the header.
        bytes: of the CSV.
        replaced: False where the table held these rows already.
        requests: how many were sent.
    """

    id: str
    columns: tuple[str, ...]
    rows: int
    bytes: int
    replaced: bool
    requests: int


def replace_table(table: LookupTable, job: TableJob) -> TableResult:
    """Sends a table, unless the checkpoint knows that Mixpanel holds it.

    Raises:
        CredentialsError, CheckpointError: before anything is sent.
        DestinationError: if Mixpanel does not take it. Then the table is as it was, or, if no
            clear response came, as it is given here.
    """
    credentials = job.credentials.resolve()
    log = None
    if job.checkpoint is not None:
        log = TableLog(job.checkpoint, job.destination, credentials, job.id)
        if log.holds(table.mark) and not job.force:
            return _result(table, job, replaced=False, requests=0)
    client = IngestionClient(
        job.destination,
        credentials,
        job.retry.connect_timeout,
        job.retry.read_timeout,
        lookup_table(job.id),
    )

    def put() -> Response:
        if log is not None:
            log.begin(steady_clock())
        return client.put(table.csv)

    try:
        context = TableContext(job.destination, credentials.kind, job.id)
        _, requests = _until_settled(put, context, job.retry)
    finally:
        client.close()
    if log is not None:
        log.end(table.mark)
    return _result(table, job, replaced=True, requests=requests)


def list_tables(
    credentials: Credentials,
    destination: Destination,
    retry: RetryPolicy,
) -> list[ListedTable]:
    """A project's lookup tables.

    Raises:
        CredentialsError: if a secret does not resolve.
        DestinationError: if Mixpanel does not answer, or refuses.
    """
    resolved = credentials.resolve()
    client = IngestionClient(
        destination, resolved, retry.connect_timeout, retry.read_timeout, LOOKUP_TABLES
    )
    try:
        context = TableContext(destination, resolved.kind)
        response, _ = _until_settled(client.get, context, retry)
    finally:
        client.close()
    return listed(response)


def _until_settled(
    ask: Callable[[], Response],
    context: TableContext,
    retry: RetryPolicy,
) -> tuple[Response, int]:
    """Tries until a response settles the request; that response and the number of tries."""
    began, waits, requests = steady_clock(), retry.waits(), 0
    while True:
        response = ask()
        requests += 1
        found = context.classify(response, steady_clock())
        if isinstance(found, Settled):
            return response, requests
        if isinstance(found, ProjectRefused):
            raise found.error
        wait = max(found.after or 0.0, next(waits))
        if steady_clock() - began + wait > retry.transient_seconds:
            raise DestinationError(_given_up(context, found.why, found.throttled, wait, requests))
        _LOGGER.warning(
            "%s: %s; attempt %d, next in %.1f s.",
            context.destination.host,
            found.why,
            requests,
            wait,
        )
        time.sleep(wait)


def _given_up(context: TableContext, why: str, throttled: bool, wait: float, requests: int) -> str:
    """What to tell the user, and when to come back."""
    host = context.destination.host
    tries = "1 request" if requests == 1 else f"{requests} requests"
    if throttled:
        hours = f"{wait / 3600:.1f} hours" if wait >= 3600 else f"{wait:.0f} seconds"
        return (
            f"{host} takes no more lookup tables for now ({why}); Mixpanel's limit is 100 in 24 "
            f"hours. The table is as it was. Run it again in {hours}."
        )
    return (
        f"{host} did not take the lookup table in {tries} ({why}). Run it again when the endpoint "
        "has recovered: sending a table twice is harmless."
    )


def _result(table: LookupTable, job: TableJob, replaced: bool, requests: int) -> TableResult:
    return TableResult(job.id, table.columns, table.rows, len(table.csv), replaced, requests)
