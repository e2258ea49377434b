"""The HTTP face: a request's way through authentication, quota, faults, body and store."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from email.utils import formatdate
from time import time
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mixpanel_sink.emulator import answers, body, export, ingest, inspection, pages
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.auth import authenticate
from mixpanel_sink.emulator.faults import Fault
from mixpanel_sink.emulator.ingest import Delivery, Desk, Tampering
from mixpanel_sink.emulator.protocol import Cut, CutShort, Paced, arrival
from mixpanel_sink.emulator.rows import Entry
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.state import State

Take = Callable[[Delivery, Desk, Entry, Tampering], tuple[int, Answer]]
_TRUE = ("1", "true")
_METHODS = ["GET", "POST"]
_STREAM_PART = b"x" * 65536


def make_app(state: State) -> Starlette:
    """The ASGI application of one emulator."""
    app = Starlette(
        routes=[
            Route("/import", _endpoint(ingest.import_events), methods=_METHODS),
            Route("/track", _endpoint(ingest.track_events), methods=_METHODS),
            Route("/engage", _endpoint(ingest.update_profiles), methods=_METHODS),
            Route("/groups", _endpoint(ingest.update_profiles), methods=_METHODS),
            Route(export.PATH, _export),
            *inspection.ROUTES,
            *pages.ROUTES,
        ],
        exception_handlers={ValueError: inspection.wrong_value},
    )
    app.router.redirect_slashes = False
    app.state.emulator = state
    return app


def _endpoint(take: Take) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        state: State = request.app.state.emulator
        if request.method != "POST" and "data" not in request.query_params:
            return Response("Method Not Allowed", 405, {"Allow": "POST"})
        entry = _open_entry(request)
        try:
            response = await _handle(request, state, entry, take)
        except Refused as refusal:
            answer = answers.refused(state.settings.variant, refusal)
            entry.status, entry.error = answer.status, refusal.error
            await state.write(state.store.writer.record, entry)
            response = _response(answer)
        except ClientDisconnect:
            entry.error = "the client went away before its request was read"
            await state.write(state.store.writer.record, entry)
            response = Response()
        if state.settings.latency_ms:
            await asyncio.sleep(state.settings.latency_ms / 1000)
        return response

    return endpoint


async def _handle(request: Request, state: State, entry: Entry, take: Take) -> Response:
    project: Project | None = None
    if entry.path == "/import":
        header = request.headers.get("authorization")
        project_id = request.query_params.get("project_id")
        project = authenticate(state.settings, header, project_id)
        entry.project = project.id
        state.charge(project, entry)
    fault = state.faults.draw(entry.path)
    entry.fault = fault.kind if fault else None
    if fault and fault.kind == "quota":
        state.settings = state.settings.changed({"quota": fault.quota})
    number: int | None = None
    answer = answers.imported(state.settings.variant, 0)
    if fault is None or fault.stores:
        delivery = await _deliver(request, state, entry, project)
        tampering = _tampering(fault)
        number, answer = await state.write(take, delivery, state.desk, entry, tampering)
    elif fault.kind not in ("reset", "refuse"):
        # Answered before the upload is through, a client may see a broken pipe instead.
        entry.raw_bytes = len(await _read(request, state.settings.max_body_bytes))
    if fault is None:
        return _response(answer)
    return await _spoil(state, entry, fault, number, answer)


async def _spoil(
    state: State, entry: Entry, fault: Fault, number: int | None, answer: Answer
) -> Response:
    """The response that the fault makes of the answer; the log gets what is really sent."""
    response: Response | None = None
    if fault.kind in ("reset", "refuse"):
        response = Cut()
        if fault.kind == "refuse" and state.refuse is not None:
            await state.refuse(fault.seconds)
    elif fault.kind == "truncate":
        response = CutShort(answer)
    elif fault.kind == "drip":
        drops = (answer.body[n : n + 1] for n in range(len(answer.body)))
        response = Paced(drops, answer.status, answer.content_type, fault.seconds)
    elif fault.kind == "huge":
        answer = Answer(200, b"")
        response = Paced(_much(fault.amount), 200, "application/json", 0)
    else:
        answer = _disguise(state.settings, entry, fault, answer)
    entry.status = None if isinstance(response, Cut) else answer.status
    if number is None:
        await state.write(state.store.writer.record, entry)
    else:
        await state.write(state.store.writer.amend, number, entry)
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    return response or _response(answer)


def _much(size: int) -> Iterator[bytes]:
    """A JSON object of about `size` bytes, or, for 0, one that never ends."""
    yield b'{"code":200,"status":"OK","error":"'
    sent = 0
    while not size or sent < size:
        part = _STREAM_PART if not size else _STREAM_PART[: size - sent]
        sent += len(part)
        yield part
    yield b'"}'


def _disguise(settings: Settings, entry: Entry, fault: Fault, answer: Answer) -> Answer:
    """The answer of a fault that leaves the connection alone."""
    if fault.kind == "status":
        if isinstance(fault.body, str):
            return Answer(fault.status, fault.body.encode(), "text/plain", fault.headers)
        return Answer(fault.status, orjson.dumps(fault.body), headers=fault.headers)
    if fault.kind == "redirect":
        status = fault.status if 300 <= fault.status <= 399 else 307
        return Answer(status, b"", "text/plain", {**fault.headers, "Location": fault.location})
    if fault.kind == "rate_limit":
        headers = {}
        if fault.retry_after_date is not None:
            headers["Retry-After"] = formatdate(time() + fault.retry_after_date, usegmt=True)
        elif fault.retry_after is not None:
            headers["Retry-After"] = fault.retry_after
        refusal = Refused(429, "Project exceeded rate limits (injected)", headers)
        return answers.refused(settings.variant, refusal)
    if fault.kind == "garbage":
        return Answer(200, b"<html><body>OK, probably</body></html>", "text/html")
    if fault.kind == "deep":
        return Answer(200, b"[" * fault.amount + b"]" * fault.amount)
    if fault.kind == "short_count" and answer.status == 200:
        # The page's shape has no count to be short of.
        count = entry.accepted if fault.really else max(0, entry.accepted - fault.drop)
        return answers.imported("reference", count)
    if fault.kind == "failed_records":
        count = entry.accepted if fault.stores else 0
        if fault.num_records_imported is not None:
            count = fault.num_records_imported
        answer = answers.partly_failed(settings, _named(fault, entry), count)
        if fault.indexes == "absent":
            content = orjson.loads(answer.body)
            del content["failed_records"]
            answer = answers.json_answer(content, 400)
    return answer


def _named(fault: Fault, entry: Entry) -> list[Any]:
    """The ``failed_records`` of a fault."""
    records = list(fault.records)
    made: list[Any] = []
    if fault.indexes == "wrong":
        made = [entry.events + 7, -1, "0", None]
    elif fault.indexes == "repeated":
        made = [0, 0]
    return records + [{"index": i, "field": "event", "message": "injected"} for i in made]


def _tampering(fault: Fault | None) -> Tampering:
    if fault is None:
        return ingest.NO_TAMPERING
    if fault.kind == "too_large":
        return Tampering(max_bytes=fault.amount)
    if fault.kind == "short_count" and fault.really:
        return Tampering(drop=fault.drop)
    if fault.kind == "failed_records":
        named = (r.get("index") for r in fault.records if isinstance(r, dict))
        lost = {i for i in named if type(i) is int}
        if fault.indexes == "repeated":
            lost.add(0)
        return Tampering(lost=frozenset(lost))
    return ingest.NO_TAMPERING


async def _deliver(
    request: Request, state: State, entry: Entry, project: Project | None
) -> Delivery:
    raw = await _read(request, state.settings.max_body_bytes)
    entry.raw_bytes = len(raw)
    content_type = request.headers.get("content-type", "application/json")
    legacy = request.method == "GET" or body.is_form(raw, content_type)
    options = {**body.form_fields(raw, content_type), **request.query_params}
    if request.method == "GET":
        raw, content_type = body.from_field(options["data"]), "application/json"
    strict = options.get("strict")
    if _geolocates(entry.path, options.get("ip"), state.settings):
        forwarded = request.headers.get("x-forwarded-for", "").partition(",")[0].strip()
        entry.geo = forwarded or (request.client.host if request.client else None)
    return Delivery(
        body=raw,
        encoding=request.headers.get("content-encoding", ""),
        content_type=content_type,
        accept=request.headers.get("accept", ""),
        strict=strict.lower() in _TRUE if strict is not None else None,
        verbose=options.get("verbose", "0").lower() in _TRUE,
        legacy=legacy,
        project=project,
    )


def _geolocates(path: str, asked: str | None, settings: Settings) -> bool:
    """Whether records that name no address are placed by the request's.

    The page says: always. The reference knows the query parameter ``ip``, which must be 1 on
    /track, may be 0 on /engage and /groups, and does not exist on /import.
    """
    if asked is not None:
        return asked.lower() in _TRUE and not (path == "/import" and settings.variant != "page")
    return settings.variant == "page" or path in ("/engage", "/groups")


async def _export(request: Request) -> Response:
    """The raw export API."""
    state: State = request.app.state.emulator
    entry = _open_entry(request)
    given, settings = request.query_params, state.settings
    try:
        header = request.headers.get("authorization")
        project = authenticate(settings, header, given.get("project_id"), by_token=False)
        entry.project = project.id
        query = export.Query.parse(given)
        state.exports.begin(project, entry.arrived, settings.export_quotas)
    except Refused as refusal:
        entry.status, entry.error = refusal.status, refusal.error
        await state.write(state.store.writer.record, entry)
        return _response(answers.refused("reference", refusal))
    exports = state.exports
    try:
        lines = export.Lines(state.store, settings, project, query)
        fault = state.faults.draw(entry.path, by_name_only=True)
        entry.fault = fault.kind if fault else None
        if fault is not None and fault.kind not in ("slow", "quota", "truncate"):
            exports.end(project)
            return await _spoil(state, entry, fault, None, Answer(200, b"", "text/plain"))
        if fault is not None and fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        first = await state.read(lines.next)
    except BaseException:
        exports.end(project)
        raise
    headers: dict[str, str] = {}
    pack = None
    # Mixpanel compresses what is larger than a packet.
    if "gzip" in request.headers.get("accept-encoding", "") and len(first or b"") > 1400:
        headers["Content-Encoding"] = "gzip"
        pack = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    parts = _parts(state, lines, first, fault is not None and fault.kind == "truncate")

    async def told() -> AsyncIterator[bytes]:
        try:
            async for part in parts:
                yield pack.compress(part) if pack else part
            if pack:
                yield pack.flush()
        finally:
            exports.end(project)
            entry.status, entry.events = 200, lines.count
            await asyncio.shield(state.write(state.store.writer.record, entry))

    return StreamingResponse(told(), headers=headers, media_type="text/plain")


async def _parts(
    state: State, lines: export.Lines, first: bytes | None, cut: bool
) -> AsyncIterator[bytes]:
    part = first
    while part is not None:
        if cut:
            yield part[: len(part) // 2]
            raise ConnectionAbortedError("the export is cut short (injected)")
        yield part
        part = await state.read(lines.next)


async def _read(request: Request, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        # Compressed JSON is never larger than its text by more than gzip's few bytes.
        if size > limit + 1024:
            raise body.too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _open_entry(request: Request) -> Entry:
    headers = request.headers
    return Entry(
        path=request.url.path,
        arrived=arrival(request),
        content_encoding=headers.get("content-encoding"),
        content_type=headers.get("content-type"),
        user_agent=headers.get("user-agent"),
        remote=f"{request.client.host}:{request.client.port}" if request.client else None,
    )


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status, media_type=answer.content_type)
    for name, value in answer.headers.items():
        response.headers[name] = value
    return response
