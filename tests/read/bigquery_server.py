"""BigQuery on loopback, for tests: the Storage Read API over gRPC, and as much of REST as a
query needs. Google's own clients talk to it. It shares no code with the reader."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import re
import threading
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pyarrow as pa
from google.cloud.bigquery_storage_v1 import types

SERVICE = "google.cloud.bigquery.storage.v1.BigQueryRead"


class BigQueryServer:
    """Tables by path; every session cuts a table into `streams` streams of small batches.

    Attributes:
        tables: by "projects/P/datasets/D/tables/T".
        forbidden: paths that nobody may read.
        partitioned: paths of tables that are partitioned by day, and by which column: None by the
            time of ingestion.
        breaks: how many more times a stream breaks after its first batch.
        results: of queries, by their text: a path in `tables`, or an error's message.
        queries, sessions: how many queries were run, and every session that was asked for.
    """

    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}
        self.forbidden: set[str] = set()
        self.partitioned: dict[str, str | None] = {}
        self.breaks = 0
        self.results: dict[str, str] = {}
        self.queries = 0
        self.sessions: list[Any] = []
        self.batch_rows = 700
        self._streams: dict[str, list[pa.RecordBatch]] = {}
        self._lock = threading.Lock()
        self._grpc = grpc.server(futures.ThreadPoolExecutor(8))
        handlers = {
            "CreateReadSession": grpc.unary_unary_rpc_method_handler(
                self._create,
                types.CreateReadSessionRequest.deserialize,
                types.ReadSession.serialize,
            ),
            "ReadRows": grpc.unary_stream_rpc_method_handler(
                self._read, types.ReadRowsRequest.deserialize, types.ReadRowsResponse.serialize
            ),
        }
        self._grpc.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        self.host = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _rest_of(self))
        self.rest_url = f"http://127.0.0.1:{self._rest.server_port}"

    @contextlib.contextmanager
    def running(self) -> Iterator[BigQueryServer]:
        """Serves until the block ends."""
        self._grpc.start()
        thread = threading.Thread(target=self._rest.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._grpc.stop(None)
            self._rest.shutdown()
            self._rest.server_close()

    def _create(self, request: Any, context: Any) -> Any:
        wanted = request.read_session
        self.sessions.append(request)
        if wanted.table in self.forbidden:
            context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "bigquery.tables.getData denied on table"
            )
        table = self.tables.get(wanted.table)
        if table is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: Table {wanted.table}")
        columns = list(wanted.read_options.selected_fields)
        if unknown := [name for name in columns if name not in table.column_names]:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"The following selected fields do not exist in the table schema: {unknown[0]}",
            )
        try:
            table = filtered(table, wanted.read_options.row_restriction)
        except ValueError:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Row filter for {wanted.table} is invalid. Syntax error",
            )
        if columns:
            table = table.select([name for name in table.column_names if name in columns])
        count = request.max_stream_count or 3
        with self._lock:
            number = len(self._streams)
            names = [f"{wanted.table}/sessions/{number}/streams/{i}" for i in range(count)]
            batches = table.to_batches(max_chunksize=self.batch_rows)
            for i, name in enumerate(names):
                self._streams[name] = batches[i::count]
        return types.ReadSession(
            name=f"{wanted.table}/sessions/{number}",
            data_format=types.DataFormat.ARROW,
            arrow_schema={"serialized_schema": table.schema.serialize().to_pybytes()},
            streams=[{"name": name} for name in names],
            estimated_row_count=len(table),
        )

    def _read(self, request: Any, context: Any) -> Iterator[Any]:
        sent = 0
        for batch in self._streams[request.read_stream]:
            sent += len(batch)
            if sent <= request.offset:
                continue
            yield types.ReadRowsResponse(
                arrow_record_batch={"serialized_record_batch": batch.serialize().to_pybytes()},
                row_count=len(batch),
            )
            with self._lock:
                broken, self.breaks = self.breaks > 0, max(0, self.breaks - 1)
            if broken:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")


def filtered(table: pa.Table, restriction: str) -> pa.Table:
    """The rows that a restriction keeps, as far as the tests write SQL; ValueError for others."""
    for part in restriction.split(" AND ") if restriction else []:
        part = re.sub(r"\(`(\w+)` (>= .*) OR `\1` IS NULL\)", r"\1 \2", part)
        match = re.fullmatch(r"\(?(\w+) (>=|<) (?:(\d+)|\w+ '([\d :.+-]+)')\)?", part)
        if match is None:
            raise ValueError(part)
        column = table["at" if match[1] == "_PARTITIONTIME" else match[1]]
        value = int(match[3]) if match[3] else _moment(match[4])
        compare = pa.compute.greater_equal if match[2] == ">=" else pa.compute.less
        kept = compare(column, value)
        table = table.filter(pa.compute.fill_null(kept, "NULL" in restriction))
    return table


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc)


def _rest_of(server: BigQueryServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Rest(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            query = body.get("query") or body["configuration"]["query"]["query"]
            self._answer(query)

        def do_GET(self) -> None:
            if match := re.search(r"/(projects/[^/]+/datasets/[^/]+/tables/[^/?]+)", self.path):
                self._describe(match[1])
            else:
                self._answer(self.server.last)  # type: ignore[attr-defined]

        def _describe(self, path: str) -> None:
            _, project, _, dataset, _, table = path.split("/")
            if path not in server.tables:
                self._refuse(404, "notFound", f"Not found: Table {path}")
                return
            told: dict[str, Any] = {
                "tableReference": {"projectId": project, "datasetId": dataset, "tableId": table},
                "schema": {"fields": [{"name": "at", "type": "TIMESTAMP"}]},
            }
            if path in server.partitioned:
                by = server.partitioned[path]
                told["timePartitioning"] = {"type": "DAY"} | ({"field": by} if by else {})
            self._send(200, told)

        def _refuse(self, status: int, reason: str, message: str) -> None:
            error = {"reason": reason, "message": message}
            self._send(status, {"error": {"code": status, "message": message, "errors": [error]}})

        def _answer(self, query: str) -> None:
            self.server.last = query  # type: ignore[attr-defined]
            server.queries += self.command == "POST"
            found = server.results.get(query, "Syntax error: Unexpected end of script")
            reference = {"projectId": "payer", "jobId": "job1", "location": "EU"}
            if found.startswith("Access Denied"):
                self._refuse(403, "accessDenied", found)
                return
            if not found.startswith("projects/"):
                self._refuse(400, "invalidQuery", found)
                return
            _, project, _, dataset, _, table = found.split("/")
            destination = {"projectId": project, "datasetId": dataset, "tableId": table}
            self._send(
                200,
                {
                    "kind": "bigquery#job",
                    "jobReference": reference,
                    "jobComplete": True,
                    "configuration": {
                        "jobType": "QUERY",
                        "query": {"query": query, "destinationTable": destination},
                    },
                    "status": {"state": "DONE"},
                    "statistics": {"query": {"statementType": "SELECT"}},
                    "schema": {"fields": []},
                    "rows": [],
                    "totalRows": "0",
                },
            )

        def _send(self, status: int, body: object) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    return Rest
