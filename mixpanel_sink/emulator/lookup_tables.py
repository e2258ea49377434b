"""Lookup tables: the list, and replacing one by a CSV, all or nothing.

The rules are those of the API reference's page "Replace a Lookup Table". Rows are counted from
the header, which is row 0.
"""

import csv
import io
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_sink.emulator import answers, body
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.auth import authenticate
from mixpanel_sink.emulator.exchange import open_entry, read_body, response_of, state_of
from mixpanel_sink.emulator.injection import inject
from mixpanel_sink.emulator.quota import Quota
from mixpanel_sink.emulator.rows import Detail, Entry
from mixpanel_sink.emulator.settings import Project
from mixpanel_sink.emulator.state import State

MAX_BYTES = 100 * 1024 * 1024
CALLS = Quota(100, 24 * 3600.0)
"""How often a project may replace tables."""
MAX_FAILED = 10
INVALID = "some data points in the request failed validation"
_quoted = re.compile(r'"(?:[^"]|"")*"')
# In a text whose quoted fields are empty: a field that goes on, or a quote without its pair.
_misplaced = re.compile(r'[^,\r\n]""|""[^,\r\n]|(?<!")"(?!")')


@dataclass(frozen=True, slots=True)
class Table:
    """A valid lookup table: its columns, of which the first is the key, and its row count."""

    columns: tuple[str, ...]
    rows: int


class Invalid(Exception):
    """The CSV breaks rules; `failed` names at most ten of the rows, as the answer does."""

    def __init__(self, failed: list[dict[str, Any]]) -> None:
        super().__init__(INVALID)
        self.failed = failed[:MAX_FAILED]


def check(raw: bytes) -> Table:
    """The table in a CSV.

    Raises:
        Invalid: it is not a CSV as in RFC 4180, or breaks a rule of lookup tables.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Invalid([_failure(0, "the file is not UTF-8")]) from None
    # With quoted fields emptied, a quote stands only between separators.
    plain = _quoted.sub('""', text)
    if bad := _misplaced.search(plain):
        row = plain.count("\n", 0, bad.start())
        raise Invalid([_failure(row, 'invalid row: bare " in a field')])
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(lines, None)
    if not header:
        raise Invalid([_failure(0, "a header row is required")])
    failed: list[dict[str, Any]] = []
    if len(set(header)) != len(header):
        failed.append(_failure(0, "invalid header: column names must be unique"))
    first: dict[str, int] = {}
    count = 0
    for count, fields in enumerate(lines, 1):
        if problem := _problem(fields, count, len(header), first):
            failed.append(_failure(count, problem))
            if len(failed) == MAX_FAILED:
                break
    if failed:
        raise Invalid(failed)
    return Table(tuple(header), count)


def _problem(row: list[str], index: int, width: int, first: dict[str, int]) -> str | None:
    if len(row) != width:
        return "invalid row: wrong number of fields"
    if not row[0]:
        return "primary key is required and cannot be blank"
    known = first.setdefault(row[0], index)
    if known != index:
        return f"invalid row: row indexes {known} and {index} have the same primary key"
    return None


def _failure(index: int, message: str) -> dict[str, Any]:
    return {"index": index, "message": message}


def _endpoint(
    serve: Callable[[Request, State, Entry], Awaitable[Answer]],
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        state, entry = state_of(request), open_entry(request)
        try:
            answer = await serve(request, state, entry)
        except Refused as refusal:
            answer = answers.refused("reference", refusal)
            entry.error = refusal.error
        entry.status = answer.status
        fault = state.faults.draw(entry.path, by_name_only=True)
        if fault is not None:
            entry.fault = fault.kind
            return await inject(state, entry, fault, None, answer)
        detail = Detail(answer=answer.body)
        await state.write(state.store.writer.record, entry, detail=detail)
        return response_of(answer)

    return endpoint


def _project(request: Request, state: State, entry: Entry, *, by_secret: bool) -> Project:
    project = authenticate(
        state.settings,
        request.headers.get("authorization"),
        request.query_params.get("project_id"),
        by_token=False,
        by_secret=by_secret,
    )
    entry.project = project.id
    return project


async def _list(request: Request, state: State, entry: Entry) -> Answer:
    project = _project(request, state, entry, by_secret=False)
    tables = await state.read(state.store.log.lookup_tables, project.id)
    results = [{"id": table["id"], "name": table["name"]} for table in tables]
    return answers.json_answer({"code": 200, "status": "OK", "results": results})


async def _replace(request: Request, state: State, entry: Entry) -> Answer:
    project = _project(request, state, entry, by_secret=True)
    state.charge_lookup(project, entry, CALLS)
    raw = await read_body(request, MAX_BYTES)
    entry.raw_bytes = len(raw)
    encoding = request.headers.get("content-encoding", "")
    text = await state.write(body.decode, raw, encoding, MAX_BYTES)
    entry.body_bytes = len(text)
    id = request.path_params["id"]
    try:
        table = await state.write(check, text)
    except Invalid as error:
        entry.error, entry.failed = INVALID, len(error.failed)
        content = {
            "code": 400,
            "error": INVALID,
            "status": "Bad Request",
            "failed_records": error.failed,
        }
        return answers.json_answer(content, 400)
    replace = state.store.writer.replace_lookup_table
    if not await state.write(replace, project.id, id, table.columns, table.rows, text):
        raise Refused(404, f"Lookup table with id '{id}' was not found.")
    entry.events = entry.accepted = table.rows
    return answers.json_answer({"code": 200, "status": "OK"})


ROUTES = [
    Route("/lookup-tables", _endpoint(_list), methods=["GET"]),
    Route("/lookup-tables/{id}", _endpoint(_replace), methods=["PUT"]),
]
