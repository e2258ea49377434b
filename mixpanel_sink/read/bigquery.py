"""BigQuery tables and queries, read as Arrow tables by the Storage Read API.

A table is named `bq://PROJECT.DATASET.TABLE`. BigQuery promises no order of rows, so a row has no
position: `insert_id` needs a key column, or `{from: content}`.

Source: the BigQuery Storage API reference (`CreateReadSession`, `ReadRows`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from mixpanel_sink import extras
from mixpanel_sink.errors import InputError, SettingError

SCHEME = "bq://"
EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"
"""Environment variable: host and port of a server that speaks the Storage Read API without TLS, for
tests. `BIGQUERY_EMULATOR_HOST` is Google's own for the REST API, which runs queries."""
SLICE_BYTES = 8_000_000
"""Record batches are put together up to so many bytes: a response holds as little as a few rows."""
_TABLE = re.compile(r"(?P<project>[a-z][a-z0-9.:-]+)[.:](?P<dataset>\w+)\.(?P<table>[\w$ -]+)")


@dataclasses.dataclass(frozen=True)
class BigQueryTable:
    """What to read: a table, or the result of a query.

    Args:
        table: "PROJECT.DATASET.TABLE", with or without `bq://`; "" with a query.
        query: GoogleSQL, run once by `project`.
        project: which pays for the session and runs the query; by default the table's.
        columns: to read; None for all.
        where: a filter in SQL that BigQuery applies before rows are sent, such as
            `DATE(created_at) >= '2024-01-01'`.
        streams: how many workers may read at the same time; 0 lets BigQuery choose.

    Raises:
        SettingError: if neither or both of table and query are given, or a name is wrong.

    >>> BigQueryTable("bq://shop-prod.sales.orders").path
    'projects/shop-prod/datasets/sales/tables/orders'
    """

    table: str = ""
    query: str = ""
    project: str = ""
    columns: Sequence[str] | None = None
    where: str = ""
    streams: int = 0

    def __post_init__(self) -> None:
        if bool(self.table) == bool(self.query):
            raise SettingError("Give either a BigQuery table or a query, and not both.")
        if self.query and not self.project:
            raise SettingError("A query needs the project that runs it: give project as well.")
        if self.query and self.where:
            raise SettingError("where filters a table; put the condition into the query instead.")
        if self.table:
            _parts(self.table)
        if self.columns is not None:
            object.__setattr__(self, "columns", tuple(self.columns))

    @property
    def name(self) -> str:
        """The table's address, or the beginning of the query, for people."""
        if self.table:
            return SCHEME + self.table.removeprefix(SCHEME)
        return "query " + " ".join(self.query.split())[:60]

    @property
    def path(self) -> str:
        """The table as the API names it."""
        return "projects/{}/datasets/{}/tables/{}".format(*_parts(self.table))

    @property
    def payer(self) -> str:
        """The project that the session belongs to."""
        return self.project or _parts(self.table)[0]

    def schema(self) -> pa.Schema:
        """The columns that will be read, without reading a row.

        Raises:
            InputError: if the table is missing, forbidden, or lacks a column.
        """
        return open_session(self, streams=1).schema

    def tables(self) -> Iterator[pa.Table]:
        """All rows in this process, without Beam.

        Raises:
            InputError: if the table is missing or forbidden, or the query fails.
        """
        session = open_session(self, streams=1)
        for stream in session.streams:
            yield from read_stream(self, session.schema, stream)


@dataclasses.dataclass(frozen=True)
class Session:
    """A consistent view of a table, cut into streams that may be read side by side.

    Attributes:
        schema: of every table.
        streams: names, each for one reader.
        rows: in all streams, as BigQuery estimates; None if it does not say.
    """

    schema: pa.Schema
    streams: tuple[str, ...]
    rows: int | None


def open_session(source: BigQueryTable, streams: int | None = None) -> Session:
    """Runs the query if there is one, and opens a session over the result.

    Raises:
        InputError: if that fails; the message names the cause and what to do.
    """
    from google.cloud.bigquery_storage_v1 import types

    path = source.path if source.table else _run_query(source)
    options = types.ReadSession.TableReadOptions(
        selected_fields=list(source.columns or ()), row_restriction=source.where
    )
    wanted = types.ReadSession(table=path, data_format=types.DataFormat.ARROW, read_options=options)
    with _errors(source), _client() as client:
        session = client.create_read_session(
            parent=f"projects/{source.payer}",
            read_session=wanted,
            max_stream_count=source.streams if streams is None else streams,
        )
    schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
    names = tuple(stream.name for stream in session.streams)
    return Session(schema, names, int(session.estimated_row_count) or None)


def read_stream(source: BigQueryTable, schema: pa.Schema, stream: str) -> Iterator[pa.Table]:
    """The rows of one stream as tables of up to about `SLICE_BYTES`.

    A connection that breaks is taken up again where it broke; Google's client does that.

    Raises:
        InputError: if the stream cannot be read to its end.
    """
    waiting: list[pa.RecordBatch] = []
    size = 0
    with _errors(source), _client() as client:
        for response in client.read_rows(stream):
            buffer = pa.py_buffer(response.arrow_record_batch.serialized_record_batch)
            waiting.append(pa.ipc.read_record_batch(buffer, schema))
            size += waiting[-1].nbytes
            if size >= SLICE_BYTES:
                yield pa.Table.from_batches(waiting, schema)
                waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting, schema)


@contextlib.contextmanager
def _client() -> Iterator[Any]:
    extras.require(SCHEME)
    from google.cloud import bigquery_storage_v1
    from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
        BigQueryReadGrpcTransport,
    )

    make: Any = bigquery_storage_v1.BigQueryReadClient
    host = os.environ.get(EMULATOR)
    if host:
        import grpc

        options = [("grpc.max_receive_message_length", -1)]
        channel = grpc.insecure_channel(host, options)
        client = make(transport=BigQueryReadGrpcTransport(channel=channel))
    else:
        client = make()
    try:
        yield client
    finally:
        client.transport.close()


def _run_query(source: BigQueryTable) -> str:
    """Runs the query to its end; gives the path of the table that BigQuery keeps its result in."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    anonymous = AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None  # type: ignore[no-untyped-call]
    with _errors(source):
        client = bigquery.Client(source.project, credentials=anonymous)
        job = client.query(source.query)
        job.result(max_results=1)
        found = job.destination
    if found is None:
        raise InputError(f"{source.name}: BigQuery keeps no result of it. Give a SELECT statement.")
    return f"projects/{found.project}/datasets/{found.dataset_id}/tables/{found.table_id}"


@contextlib.contextmanager
def _errors(source: BigQueryTable) -> Iterator[None]:
    """Words what BigQuery refuses."""
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    try:
        yield
    except exceptions.NotFound:
        raise InputError(
            f"{source.name} does not exist. Check project, dataset and table, and the region."
        ) from None
    except exceptions.Forbidden as error:
        raise InputError(
            f"{source.name} is forbidden ({error.message}). The account needs "
            "roles/bigquery.dataViewer on the table and roles/bigquery.readSessionUser on the "
            f"project {source.payer}."
        ) from None
    except (exceptions.BadRequest, exceptions.FailedPrecondition) as error:
        raise InputError(f"{source.name} cannot be read: {error.message}.") from None
    except exceptions.GoogleAPIError as error:
        raise InputError(f"{source.name} cannot be read to its end: {error}.") from None
    except auth.GoogleAuthError as error:
        raise InputError(
            f"{source.name}: no Google credentials ({error}). Run gcloud auth application-default "
            "login, or set GOOGLE_APPLICATION_CREDENTIALS."
        ) from None


def _parts(table: str) -> tuple[str, str, str]:
    match = _TABLE.fullmatch(table.removeprefix(SCHEME))
    if match is None:
        raise SettingError(f"{table!r} does not name a table; write bq://PROJECT.DATASET.TABLE.")
    return match["project"], match["dataset"], match["table"]
