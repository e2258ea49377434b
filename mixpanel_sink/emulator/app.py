"""The HTTP face: a request's way through authentication, quota, faults, body and store."""

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from time import time

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_sink.emulator import answers, body, ingest, inspection
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.auth import authenticate
from mixpanel_sink.emulator.faults import Fault
from mixpanel_sink.emulator.ingest import Delivery, Tampering
from mixpanel_sink.emulator.protocol import Cut, CutShort, arrival
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.state import State
from mixpanel_sink.emulator.store import Entry, Store

Take = Callable[[Delivery, Settings, Store, Entry, Tampering], tuple[int, Answer]]
_TRUE = ("1", "true")


def make_app(state: State) -> Starlette:
    """The ASGI application of one emulator."""
    app = Starlette(
        routes=[
            Route("/import", _endpoint(ingest.import_events), methods=["POST"]),
            Route("/track", _endpoint(ingest.track_events), methods=["POST"]),
            Route("/engage", _endpoint(ingest.update_profiles), methods=["POST"]),
            Route("/groups", _endpoint(ingest.update_profiles), methods=["POST"]),
            *inspection.ROUTES,
        ],
        exception_handlers={ValueError: inspection.wrong_value},
    )
    app.router.redirect_slashes = False
    app.state.emulator = state
    return app


def _endpoint(take: Take) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        state: State = request.app.state.emulator
        entry = _open_entry(request)
        try:
            response = await _handle(request, state, entry, take)
        except Refused as refusal:
            answer = answers.refused(state.settings.variant, refusal)
            entry.status, entry.error = answer.status, refusal.error
            await state.write(state.store.record, entry)
            response = _response(answer)
        except ClientDisconnect:
            entry.error = "the client went away before its request was read"
            await state.write(state.store.record, entry)
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
        number, answer = await state.write(
            take, delivery, state.settings, state.store, entry, tampering
        )
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
    if fault.kind == "reset" or fault.kind == "refuse":
        response = Cut()
        if fault.kind == "refuse" and state.refuse is not None:
            await state.refuse(fault.seconds)
    elif fault.kind == "truncate":
        response = CutShort(answer)
    else:
        answer = _disguise(state.settings, entry, fault, answer)
    entry.status = None if isinstance(response, Cut) else answer.status
    if number is None:
        await state.write(state.store.record, entry)
    else:
        await state.write(state.store.amend, number, entry)
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    return response or _response(answer)


def _disguise(settings: Settings, entry: Entry, fault: Fault, answer: Answer) -> Answer:
    """The answer of a fault that leaves the connection alone."""
    if fault.kind == "status":
        if isinstance(fault.body, str):
            return Answer(fault.status, fault.body.encode(), "text/plain", fault.headers)
        return Answer(fault.status, orjson.dumps(fault.body), headers=fault.headers)
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
    if fault.kind == "short_count" and answer.status == 200:
        # The page's shape has no count to be short of.
        count = entry.accepted if fault.really else max(0, entry.accepted - fault.drop)
        return answers.imported("reference", count)
    if fault.kind == "failed_records":
        count = entry.accepted if fault.stores else 0
        if fault.num_records_imported is not None:
            count = fault.num_records_imported
        return answers.partly_failed(settings, fault.records, count)
    return answer


def _tampering(fault: Fault | None) -> Tampering:
    if fault is None:
        return ingest.NO_TAMPERING
    if fault.kind == "short_count" and fault.really:
        return Tampering(drop=fault.drop)
    if fault.kind == "failed_records":
        indexes = (r.get("index") for r in fault.records if isinstance(r, dict))
        return Tampering(lost=frozenset(i for i in indexes if type(i) is int))
    return ingest.NO_TAMPERING


async def _deliver(
    request: Request, state: State, entry: Entry, project: Project | None
) -> Delivery:
    raw = await _read(request, state.settings.max_body_bytes)
    entry.raw_bytes = len(raw)
    content_type = request.headers.get("content-type", "application/json")
    options = {**body.form_fields(raw, content_type), **request.query_params}
    return Delivery(
        body=raw,
        encoding=request.headers.get("content-encoding", ""),
        content_type=content_type,
        accept=request.headers.get("accept", ""),
        strict=options.get("strict", "1").lower() in _TRUE,
        verbose=options.get("verbose", "0").lower() in _TRUE,
        project=project,
    )


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
