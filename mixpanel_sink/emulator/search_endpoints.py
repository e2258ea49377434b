"""Searching events over HTTP, and downloading what was found or sent."""

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mixpanel_sink.emulator import body
from mixpanel_sink.emulator.counts import UNITS
from mixpanel_sink.emulator.exchange import json_response, state_of
from mixpanel_sink.emulator.inspection import MAX_BODY, number_of, page_of
from mixpanel_sink.emulator.state import State
from mixpanel_sink.emulator.wanted import Wanted

_FIRST_SECONDS, _SECONDS = 0.1, 0.4


async def search(request: Request) -> Response:
    """Events by anything in them: search, event, distinct_id, insert_id, project, from, to.

    One portion, newest first: `searched` of `total` events have been looked at; go on with
    `before`, which is null at the end. `above` leaves out what was searched before. Counts are
    by `unit`.
    """
    return json_response(await state_of(request).read(_portion, request))


def _portion(request: Request) -> dict[str, Any]:
    store, query = state_of(request).store, request.query_params
    unit = query.get("unit", "hour")
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
    limit, _ = page_of(request)
    before, above = number_of(request, "before"), number_of(request, "above") or 0
    found = store.search.portion(
        _wanted(request),
        before=before,
        above=above,
        limit=limit,
        unit=UNITS[unit],
        # The first rows soon, the others with few questions.
        seconds=_FIRST_SECONDS if before is None else _SECONDS,
    )
    return {
        "events": store.events.details(found.numbers),
        "matched": found.matched,
        "counts": found.counts,
        "searched": max(0, found.newest - max(found.floor, above)),
        "total": max(0, found.newest - above),
        "newest": found.newest,
        "before": found.floor + 1 if found.floor > above else None,
    }


def _wanted(request: Request) -> Wanted:
    query = request.query_params
    since, until = number_of(request, "from"), number_of(request, "to")
    return Wanted(
        text=query.get("search", ""),
        event=query.get("event") or None,
        distinct_id=query.get("distinct_id") or None,
        insert_id=query.get("insert_id") or None,
        project=number_of(request, "project"),
        request=number_of(request, "request"),
        since=None if since is None else since * 1000,
        until=None if until is None else until * 1000,
    )


async def download(request: Request) -> Response:
    """The same events as JSON lines, oldest first, to keep as a file."""
    state = state_of(request)
    portions = state.store.search.all(_wanted(request))

    async def lines() -> AsyncIterator[bytes]:
        while (portion := await state.read(next, portions, None)) is not None:
            if portion:
                yield b"\n".join(portion) + b"\n"

    return StreamingResponse(
        lines(), media_type="application/x-ndjson", headers=_as_file("events.jsonl")
    )


async def request_body(request: Request) -> Response:
    """A request's whole body, without its Content-Encoding."""
    state, number = state_of(request), request.path_params["id"]
    kind, text = await state.read(_body, state, number)
    return Response(text, media_type=kind, headers=_as_file(f"request-{number}.json"))


def _body(state: State, number: int) -> tuple[str, bytes]:
    found = state.store.log.detail(number)
    if found is None or found["body"] is None:
        raise ValueError(f"the body of request {number} is not kept")
    text = body.decode(found["body"], found["content_encoding"] or "", MAX_BODY)
    return found["content_type"] or "application/json", text


def _as_file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}


ROUTES = [
    Route("/emulator/search", search),
    Route("/emulator/download", download),
    Route("/emulator/requests/{id:int}/body", request_body),
]
