"""BigQuery tables and queries, read as Arrow tables by the Storage Read API.

A table is named `bq://PROJECT.DATASET.TABLE`. BigQuery promises no order of rows, so a row has no
position: `insert_id` needs a key column, or `{from: content}`.

Source: the BigQuery Storage API reference (`CreateReadSession`, `ReadRows`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pyarrow as pa

from mixpanel_sink import extras
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.bigquery_jobs import errors_of, partition_filter, run_query, span_of
from mixpanel_sink.read.tables import Look, TableSource

SCHEME = "bq://"
EMULATOR = "BIGQUERY_STORAGE_EMULATOR_HOST"
"""Environment variable: host and port of a server that speaks the Storage Read API without TLS, for
tests. `BIGQUERY_EMULATOR_HOST` is Google's own for the REST API, which runs queries."""
SLICE_BYTES = 8_000_000
"""Record batches are put together up to so many bytes: a response holds as little as a few rows."""
_TABLE = re.compile(r"(?P<project>[a-z][a-z0-9.:-]+)[.:](?P<dataset>\w+)\.(?P<table>[\w -]+)")


@dataclasses.dataclass(frozen=True)
class BigQueryTable:
    """What to read: a table, or the result of a query.

    Args:
        table: "PROJECT.DATASET.TABLE", with or without `bq://`; "" with a query. A partition may
            follow, as in "PROJECT.DATASET.TABLE$20240501".
        query: GoogleSQL, run once by `project`.
        project: which pays for reading and runs the query; by default the table's.
        columns: to read; None for all.
        where: a filter in SQL that BigQuery applies before rows are sent, such as
            `DATE(created_at) >= '2024-01-01'`.
        streams: how many workers may read at the same time; 0 lets BigQuery choose.
        partitions: of a table that is partitioned by time: one, such as "20240501" or "202405", or
            a range with both ends, "20240501-20240531".

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
    partitions: str = ""

    kind: ClassVar[str] = "BigQuery"
    element_type: ClassVar[Any] = pa.Table
    in_turns: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if bool(self.table) == bool(self.query):
            raise SettingError("Give either a BigQuery table or a query, and not both.")
        if self.query and not self.project:
            raise SettingError("A query needs the project that runs it: give project as well.")
        if self.query and (self.where or self.partitions or self.columns is not None):
            raise SettingError(
                "A query chooses its rows and columns itself: put them into the query, and leave "
                "columns, row restriction and partitions out."
            )
        put = functools.partial(object.__setattr__, self)
        table, _, decorator = self.table.partition("$")
        if decorator and self.partitions:
            raise SettingError(f"Both {self.table!r} and partitions name partitions; give one.")
        put("table", table)
        put("partitions", self.partitions or decorator)
        if self.table:
            _parts(self.table)
        if self.partitions:
            span_of(self.partitions)
        if self.columns is not None:
            put("columns", tuple(self.columns))

    @property
    def name(self) -> str:
        """The table's address, or the beginning of the query, for people."""
        if self.table:
            named = SCHEME + self.table.removeprefix(SCHEME)
            return f"{named}${self.partitions}" if self.partitions else named
        return "query " + " ".join(self.query.split())[:60]

    def since(self, condition: str) -> BigQueryTable:
        """The table restricted to rows that meet a condition in SQL."""
        if self.query:
            inner = self.query.strip().rstrip(";")
            query = f"SELECT * FROM (\n{inner}\n) WHERE {condition}"
            return dataclasses.replace(self, query=query)
        where = f"({self.where}) AND {condition}" if self.where else condition
        return dataclasses.replace(self, where=where)

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
        return self.look().schema

    def tables(self) -> Iterator[pa.Table]:
        """All rows in this process, without Beam.

        Raises:
            InputError: if the table is missing or forbidden, or the query fails.
        """
        for part in self.look().parts or ():
            yield from self.elements(part)

    def look(self) -> Look:
        """One session of one stream, which serves for columns, number of rows and rows."""
        table = self._resolved()
        session = open_session(table, streams=1)
        return Look(table, session.schema, session.rows, tuple(session.parts()))

    def parts(self, columns: Sequence[str] | None) -> Iterator[bytes]:
        """The streams of one session."""
        chosen = self if columns is None else dataclasses.replace(self, columns=columns)
        yield from open_session(chosen._resolved()).parts()

    def elements(self, part: bytes) -> Iterator[pa.Table]:
        """The rows of one stream."""
        stream, _, schema = part.partition(b"\n")
        yield from read_stream(self, pa.ipc.read_schema(pa.py_buffer(schema)), stream.decode())

    def _resolved(self) -> BigQueryTable:
        """The table with the query run, and the partitions as a filter."""
        if self.query:
            table = run_query(self)
            return BigQueryTable(table, project=self.project, streams=self.streams)
        if self.partitions:
            where = partition_filter(self)
            both = f"({self.where}) AND {where}" if self.where else where
            return dataclasses.replace(self, where=both, partitions="")
        return self


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

    def parts(self) -> Iterator[bytes]:
        """The streams, with all that a worker needs to read one."""
        schema = self.schema.serialize().to_pybytes()
        for stream in self.streams:
            yield stream.encode() + b"\n" + schema


def open_session(source: BigQueryTable, streams: int | None = None) -> Session:
    """Opens a session over a table.

    Raises:
        InputError: if that fails; the message names the cause and what to do.
    """
    extras.require(SCHEME)
    from google.cloud.bigquery_storage_v1 import types

    options = types.ReadSession.TableReadOptions(
        selected_fields=list(source.columns or ()), row_restriction=source.where
    )
    wanted = types.ReadSession(
        table=source.path, data_format=types.DataFormat.ARROW, read_options=options
    )
    with errors_of(source), _client() as client:
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
    with errors_of(source), _client() as client:
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


def _parts(table: str) -> tuple[str, str, str]:
    match = _TABLE.fullmatch(table.removeprefix(SCHEME))
    if match is None:
        raise SettingError(f"{table!r} does not name a table; write bq://PROJECT.DATASET.TABLE.")
    return match["project"], match["dataset"], match["table"]


def source_at(address: str, given: Mapping[str, Any]) -> TableSource:
    """The table at `bq://PROJECT.DATASET.TABLE`, or the query of `bq://PROJECT`.

    Args:
        address: of the table, or of the project that runs the query.
        given: query, bigquery_project, row_restriction, partitions, columns.

    Raises:
        SettingError: if they contradict each other.
    """
    named = address.removeprefix(SCHEME)
    project = given.get("bigquery_project", "")
    if query := given.get("query"):
        if named.count(".") >= 2:  # a project of a domain has one
            raise SettingError(
                f"Both {address} and --query say what to read. With a query, the address is only "
                f"the project that runs it: {SCHEME}{named.partition('.')[0]}."
            )
        named, project = "", project or named
    table = BigQueryTable(
        named,
        query=query or "",
        project=project,
        columns=given.get("columns"),
        where=given.get("row_restriction", ""),
        partitions=given.get("partitions", ""),
    )
    return TableSource(table)
