"""What the emulator holds, as JSON under ``/emulator/``, for tests and people."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mixpanel_sink.emulator.faults import FaultPlan
from mixpanel_sink.emulator.quota import busiest_window
from mixpanel_sink.emulator.state import State
from mixpanel_sink.emulator.store import Store

MAX_ROWS = 10_000


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON value as a response."""
    return Response(orjson.dumps(value), status, media_type="application/json")


async def stats(request: Request) -> Response:
    """Counts of everything, and how busy the busiest quota window was."""
    state = _state(request)
    return json_response(await state.read(_stats, state))


def _stats(state: State) -> dict[str, Any]:
    store, settings = state.store, state.settings
    statuses = store.statuses()
    counted = attempted = 0
    for project in settings.projects:
        seconds = project.quota.seconds if project.quota else 3600.0
        counted = max(counted, busiest_window(store.stamps(project.id, "counted"), seconds))
        attempts = store.stamps(project.id, "counted", "refused")
        attempted = max(attempted, busiest_window(attempts, seconds))
    quota = settings.projects[0].quota
    return {
        **store.totals(),
        "requests": sum(sum(counts.values()) for counts in statuses.values()),
        "requests_by_endpoint": statuses,
        "quota": str(quota) if quota else None,
        "max_requests_in_window": counted,
        "max_attempts_in_window": attempted,
        "settings": settings.public(),
    }


async def events(request: Request) -> Response:
    """Stored events in the order of arrival: limit, offset, event, distinct_id, insert_id."""
    query = request.query_params
    names = ("event", "distinct_id", "insert_id")
    filters = {name: query[name] for name in names if name in query}
    limit, offset = _page(request)
    rows = await _state(request).read(_store(request).events, limit, offset, filters)
    return Response(b'{"events":[' + b",".join(rows) + b"]}", media_type="application/json")


async def updates(request: Request) -> Response:
    """Stored profile updates as they came: kind (engage or groups), limit, offset."""
    kind = request.query_params.get("kind", "engage")
    rows = await _state(request).read(_store(request).updates, kind, *_page(request))
    return Response(b'{"updates":[' + b",".join(rows) + b"]}", media_type="application/json")


async def requests(request: Request) -> Response:
    """The request log: limit, offset."""
    rows = await _state(request).read(_store(request).requests, *_page(request))
    return json_response({"requests": rows})


async def insert_ids(request: Request) -> Response:
    """The ``$insert_id`` of every stored event, one a line, streamed."""
    state = _state(request)
    portions = state.store.insert_ids()

    async def lines() -> AsyncIterator[bytes]:
        while (portion := await state.read(next, portions, None)) is not None:
            if portion:
                yield "\n".join(portion).encode() + b"\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def reset(request: Request) -> Response:
    """Forget all events, requests, quotas and faults; the body may change settings."""
    state = _state(request)
    settings = state.settings.changed(await _object(request))
    await state.write(state.store.clear)
    state.windows.clear()
    state.faults = FaultPlan()
    state.settings = settings
    return json_response(settings.public())


async def settings(request: Request) -> Response:
    """Show the settings (GET) or change some of them (POST)."""
    state = _state(request)
    if request.method == "POST":
        state.settings = state.settings.changed(await _object(request))
    return json_response(state.settings.public())


async def faults(request: Request) -> Response:
    """Set the fault plan (POST), show what remains of it (GET), or drop it (DELETE)."""
    state = _state(request)
    if request.method == "POST":
        state.faults = FaultPlan.parse(await _json(request))
    elif request.method == "DELETE":
        state.faults = FaultPlan()
    return json_response(state.faults.as_json())


async def wrong_value(request: Request, error: Exception) -> Response:
    """A wrong value in an inspection request: 400 and the sentence that says so."""
    return json_response({"error": str(error)}, 400)


ROUTES = [
    Route("/emulator/stats", stats),
    Route("/emulator/events", events),
    Route("/emulator/updates", updates),
    Route("/emulator/requests", requests),
    Route("/emulator/insert_ids", insert_ids),
    Route("/emulator/reset", reset, methods=["POST"]),
    Route("/emulator/settings", settings, methods=["GET", "POST"]),
    Route("/emulator/faults", faults, methods=["GET", "POST", "DELETE"]),
]


def _state(request: Request) -> State:
    state: State = request.app.state.emulator
    return state


def _store(request: Request) -> Store:
    return _state(request).store


def _page(request: Request) -> tuple[int, int]:
    try:
        limit = int(request.query_params.get("limit", "100"))
        offset = int(request.query_params.get("offset", "0"))
    except ValueError:
        raise ValueError("limit and offset must be whole numbers") from None
    if limit < 0 or offset < 0:
        raise ValueError("limit and offset must not be negative")
    return min(limit, MAX_ROWS), offset


async def _json(request: Request) -> Any:
    try:
        return orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not valid JSON: {error}") from None


async def _object(request: Request) -> dict[str, Any]:
    value = await _json(request)
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object of settings")
    return value
