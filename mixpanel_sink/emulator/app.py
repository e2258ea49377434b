"""The HTTP face: a request's way through authentication, quota, faults, body and store."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_sink.emulator import (
    answers,
    body,
    control,
    deletion_endpoints,
    export,
    ingest_events,
    ingest_updates,
    inspection,
    lookup_tables,
    pages,
    search_endpoints,
)
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.auth import authenticate
from mixpanel_sink.emulator.delivery import Delivery, Desk, Tampering
from mixpanel_sink.emulator.exchange import open_entry, read_body, response_of, state_of
from mixpanel_sink.emulator.export_endpoint import export_events
from mixpanel_sink.emulator.injection import inject, tampering
from mixpanel_sink.emulator.rows import Detail, Entry
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.state import State

Take = Callable[[Delivery, Desk, Entry, Tampering], tuple[int, Answer]]
_TRUE = ("1", "true")
_METHODS = ["GET", "POST", "OPTIONS"]
# What Mixpanel's library for browsers calls; it sends cookies, so the origin is named.
_FROM_BROWSERS = ("/track", "/engage", "/groups")


def make_app(state: State) -> Starlette:
    """The ASGI application of one emulator."""
    app = Starlette(
        routes=[
            *_routes("/import", ingest_events.import_events),
            *_routes("/track", ingest_events.track_events),
            *_routes("/engage", ingest_updates.update_profiles),
            *_routes("/groups", ingest_updates.update_profiles),
            Route(export.PATH, export_events),
            *lookup_tables.ROUTES,
            *deletion_endpoints.ROUTES,
            *search_endpoints.ROUTES,
            *inspection.ROUTES,
            *control.ROUTES,
            *pages.ROUTES,
        ],
        exception_handlers={ValueError: control.wrong_value},
    )
    app.router.redirect_slashes = False
    app.state.emulator = state
    return app


def _routes(path: str, take: Take) -> list[Route]:
    endpoint = _endpoint(take)
    return [Route(path + end, endpoint, methods=_METHODS) for end in ("", "/")]


def _endpoint(take: Take) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        state, entry = state_of(request), open_entry(request)
        if request.method == "OPTIONS":
            return _with_origin(request, entry.path, Response(status_code=204))
        if request.method != "POST" and "data" not in request.query_params:
            return Response("Method Not Allowed", 405, {"Allow": "POST"})
        try:
            response = await _handle(request, state, entry, take)
        except Refused as refusal:
            answer = answers.refused(state.settings.variant, refusal)
            entry.status, entry.error = answer.status, refusal.error
            detail = Detail(answer=answer.body)
            await state.write(state.store.writer.record, entry, detail=detail)
            response = response_of(answer)
        except ClientDisconnect:
            entry.error = "the client went away before its request was read"
            await state.write(state.store.writer.record, entry)
            response = Response()
        if state.settings.latency_ms:
            await asyncio.sleep(state.settings.latency_ms / 1000)
        return _with_origin(request, entry.path, response)

    return endpoint


def _with_origin(request: Request, path: str, response: Response) -> Response:
    """The response with what a browser asks for before a page of another origin may see it."""
    origin = request.headers.get("origin")
    if origin and path in _FROM_BROWSERS:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Vary"] = "Origin"
        if request.method == "OPTIONS":
            asked = request.headers.get("access-control-request-headers", "Content-Type")
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
            response.headers["Access-Control-Allow-Headers"] = asked
            response.headers["Access-Control-Max-Age"] = "86400"
    return response


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
        number, answer = await state.write(take, delivery, state.desk, entry, tampering(fault))
    elif fault.kind not in ("reset", "refuse"):
        # Answered before the upload is through, a client may see a broken pipe instead.
        entry.raw_bytes = len(await read_body(request, state.settings.max_body_bytes))
    if fault is None:
        return response_of(answer)
    return await inject(state, entry, fault, number, answer)


async def _deliver(
    request: Request, state: State, entry: Entry, project: Project | None
) -> Delivery:
    raw = await read_body(request, state.settings.max_body_bytes)
    entry.raw_bytes = len(raw)
    content_type = request.headers.get("content-type", "application/json")
    legacy = request.method == "GET" or body.is_form(raw, content_type)
    options = {**body.form_fields(raw, content_type), **request.query_params}
    if request.method == "GET":
        raw = urlencode({"data": options["data"]}).encode()
        content_type = entry.content_type = body.FORM
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
        pixel=options.get("img", "0").lower() in _TRUE,
        callback=options.get("callback", ""),
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
