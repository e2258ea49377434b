"""What the emulator holds, as JSON under ``/emulator/``, for tests and people."""

import time
from collections.abc import AsyncIterator
from dataclasses import MISSING, fields
from typing import Any, get_args

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mixpanel_sink.emulator import clock, profiles
from mixpanel_sink.emulator.counts import UNITS
from mixpanel_sink.emulator.faults import KINDS, Fault, FaultPlan, Indexes, Kind
from mixpanel_sink.emulator.quota import busiest_window
from mixpanel_sink.emulator.settings import Project
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
    statuses = store.log.statuses()
    counted = attempted = 0
    by_project = store.log.by_project()
    for project in settings.projects:
        seconds = project.quota.seconds if project.quota else 3600.0
        busiest = busiest_window(store.log.stamps(project.id, "counted"), seconds)
        attempts = store.log.stamps(project.id, "counted", "refused")
        tried = busiest_window(attempts, seconds)
        counted, attempted = max(counted, busiest), max(attempted, tried)
        sums = by_project.setdefault(project.id, {})
        sums |= {"max_requests_in_window": busiest, "max_attempts_in_window": tried}
    quota = settings.projects[0].quota
    return {
        **store.log.totals(),
        "requests": sum(sum(counts.values()) for counts in statuses.values()),
        "requests_by_endpoint": statuses,
        "quota": str(quota) if quota else None,
        "max_requests_in_window": counted,
        "max_attempts_in_window": attempted,
        "projects": {str(number): sums for number, sums in sorted(by_project.items())},
        "settings": settings.public(),
    }


async def events(request: Request) -> Response:
    """Stored events in the order of arrival: limit, offset, event, distinct_id, insert_id.

    With ``detail=1`` newest first, each with what is known beside it: limit, before (a number:
    older ones than that event), project, and search, the beginning of a name or id.
    """
    query = request.query_params
    state = _state(request)
    names = ("event", "distinct_id", "insert_id")
    filters = {name: query[name] for name in names if name in query}
    limit, offset = _page(request)
    if query.get("detail") in ("1", "true"):
        _number(request, "project")
        more = {name: query[name] for name in ("project", "search") if query.get(name)}
        rows = await state.read(
            _details, state, {**filters, **more}, limit, _number(request, "before")
        )
        return json_response({"events": rows})
    texts = await state.read(state.store.events.stored, limit, offset, filters)
    return Response(b'{"events":[' + b",".join(texts) + b"]}", media_type="application/json")


def _details(
    state: State, given: dict[str, str], limit: int, before: int | None
) -> list[dict[str, Any]]:
    return state.store.events.details(state.store.events.find(given, limit, before))


async def counts(request: Request) -> Response:
    """Events over time, by name: unit (minute, hour, day) of the events' time, project.

    ``by=arrival`` counts requests, stored events and refusals by their arrival instead: the
    last 120 units, or those since `since`, in epoch seconds.
    """
    state, query = _state(request), request.query_params
    unit, project = query.get("unit", "hour"), _number(request, "project")
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
    if query.get("by") == "arrival":
        since = float(_number(request, "since") or time.time() - 120 * UNITS[unit])
        rows = await state.read(state.store.log.arrivals, since, UNITS[unit], project)
        names = ("start", "requests", "stored", "refused")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return json_response({"unit": unit, "periods": found})
    while await state.read(state.counts.catch_up, state.store):
        pass
    return json_response(await state.read(state.counts.by_name, unit, project))


async def names(request: Request) -> Response:
    """Names of events, or with ``of=distinct_id`` users' ids: search (a beginning), after."""
    query = request.query_params
    limit, _ = _page(request)
    found = await _state(request).read(
        _store(request).events.beginning,
        query.get("of", "event"),
        query.get("search", ""),
        limit,
        query.get("after", ""),
    )
    return json_response({"names": found})


async def updates(request: Request) -> Response:
    """Stored profile updates as they came: kind (engage or groups), limit, offset."""
    kind = request.query_params.get("kind", "engage")
    rows = await _state(request).read(_store(request).people.updates, kind, *_page(request))
    return Response(b'{"updates":[' + b",".join(rows) + b"]}", media_type="application/json")


async def user_profiles(request: Request) -> Response:
    """User profiles: limit, offset, search, project; or one user's: distinct_id, project.

    A user's profile is what the updates of all of the user's ids make.
    """
    state, query = _state(request), request.query_params
    if "distinct_id" in query:
        project = _project(request)
        return json_response(await state.read(_profile, state, project, query["distinct_id"]))
    return json_response({"profiles": await _profile_list(request, "engage")})


async def group_profiles(request: Request) -> Response:
    """Group profiles: limit, offset, search, project; or one: group_key, group_id, project."""
    state, query = _state(request), request.query_params
    if "group_id" in query:
        if "group_key" not in query:
            raise ValueError("group_id needs group_key beside it")
        name = profiles.group_key(query["group_key"], query["group_id"])
        project = _project(request)
        return json_response(await state.read(_one_profile, state, "groups", project, [name]))
    return json_response({"groups": await _profile_list(request, "groups")})


async def _profile_list(request: Request, kind: str) -> list[dict[str, Any]]:
    limit, offset = _page(request)
    search = request.query_params.get("search", "")
    return await _state(request).read(
        _store(request).people.profiles, kind, limit, offset, search, _number(request, "project")
    )


def _profile(state: State, project: Project, id: str) -> dict[str, Any]:
    canonical, ids = state.store.people.cluster(project.id, id)
    return {"distinct_id": canonical, **_one_profile(state, "engage", project, ids)}


def _one_profile(state: State, kind: str, project: Project, names: list[str]) -> dict[str, Any]:
    operations = state.store.people.operations(kind, project.id, names)
    properties = profiles.replay(operation["update"] for operation in operations)
    return {"project": project.id, "properties": properties, "operations": operations}


async def users(request: Request) -> Response:
    """Ids that events have, in their order: search (a beginning), after, limit, project."""
    return json_response({"users": await _state(request).read(_users, request)})


def _users(request: Request) -> list[dict[str, Any]]:
    query, store = request.query_params, _store(request)
    limit, _ = _page(request)
    project = _project(request)
    search, after = query.get("search", ""), query.get("after", "")
    ids = store.events.beginning("distinct_id", search, limit, after)
    canonical = store.people.users_of(project.id, ids)
    return [{"id": id, "distinct_id": canonical.get(id, id)} for id in ids]


async def user(request: Request) -> Response:
    """One user, by any of its ids: canonical id, all ids, profile, events; limit, offset."""
    return json_response(await _state(request).read(_user, request))


def _user(request: Request) -> dict[str, Any]:
    state, project = _state(request), _project(request)
    store = state.store
    limit, offset = _page(request)
    canonical, ids = store.people.cluster(project.id, request.path_params["id"])
    count, numbers = store.events.user_events(project.id, ids, limit, offset)
    return {
        "project": project.id,
        "distinct_id": canonical,
        "ids": ids,
        "profile": _one_profile(state, "engage", project, ids),
        "events_count": count,
        "events": store.events.details(numbers),
    }


async def identities(request: Request) -> Response:
    """What identity events did, newest first; `ignored` says why one had no effect."""
    rows = await _state(request).read(_store(request).people.links, *_page(request))
    return json_response({"links": rows})


async def quota(request: Request) -> Response:
    """How much of each project's quotas is used up at this moment."""
    state, now = _state(request), clock.stamp()
    rows = []
    for project in state.settings.projects:
        row: dict[str, Any] = {"project": project.id, "quota": None, "used": 0, "free_in": 0.0}
        if project.quota is not None:
            window = state.windows.get(project.id)
            used, wait = window.used(now, project.quota) if window else (0, 0.0)
            row |= {
                "quota": str(project.quota),
                "requests": project.quota.requests,
                "seconds": project.quota.seconds,
                "used": used,
                "free_in": round(wait, 3),
            }
        limits = state.settings.export_quotas
        row["exports"] = [
            {"quota": str(limit), "used": used}
            for limit, used in zip(limits, state.exports.used(project, now, limits), strict=True)
        ]
        rows.append(row)
    return json_response({"now": now, "projects": rows})


async def requests(request: Request) -> Response:
    """The request log: limit, offset, order (oldest or newest), path, status, project, fault."""
    query = request.query_params
    order = query.get("order", "oldest")
    if order not in ("oldest", "newest"):
        raise ValueError(f"order must be oldest or newest, not {order!r}")
    wanted = ("path", "status", "project", "fault")
    filters = {name: query[name] for name in wanted if query.get(name)}
    rows = await _state(request).read(
        _store(request).log.requests, *_page(request), newest=order == "newest", filters=filters
    )
    return json_response({"requests": rows})


async def insert_ids(request: Request) -> Response:
    """The ``$insert_id`` of every stored event, one a line, streamed."""
    state = _state(request)
    portions = state.store.events.insert_ids()

    async def lines() -> AsyncIterator[bytes]:
        while (portion := await state.read(next, portions, None)) is not None:
            if portion:
                yield "\n".join(portion).encode() + b"\n"

    return StreamingResponse(lines(), media_type="text/plain")


async def reset(request: Request) -> Response:
    """Forget all events, requests, quotas and faults; the body may change settings."""
    state = _state(request)
    settings = state.settings.changed(await _object(request))
    await state.clear()
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


async def fault_kinds(request: Request) -> Response:
    """What a fault can be made of: kinds, fields with defaults, and the named random sets."""
    shown = {
        f.name: f.default if f.default is not MISSING else None
        for f in fields(Fault)
        if f.name != "kind"
    }
    return json_response(
        {
            "kinds": get_args(Kind),
            "indexes": get_args(Indexes),
            "fields": shown,
            "random": {name: [f.as_json() for f in faults] for name, faults in KINDS.items()},
        }
    )


async def wrong_value(request: Request, error: Exception) -> Response:
    """A wrong value in an inspection request: 400 and the sentence that says so."""
    return json_response({"error": str(error)}, 400)


ROUTES = [
    Route("/emulator/stats", stats),
    Route("/emulator/events", events),
    Route("/emulator/counts", counts),
    Route("/emulator/names", names),
    Route("/emulator/updates", updates),
    Route("/emulator/profiles", user_profiles),
    Route("/emulator/groups", group_profiles),
    Route("/emulator/users", users),
    Route("/emulator/users/{id:path}", user),
    Route("/emulator/identities", identities),
    Route("/emulator/quota", quota),
    Route("/emulator/requests", requests),
    Route("/emulator/insert_ids", insert_ids),
    Route("/emulator/reset", reset, methods=["POST"]),
    Route("/emulator/settings", settings, methods=["GET", "POST"]),
    Route("/emulator/faults", faults, methods=["GET", "POST", "DELETE"]),
    Route("/emulator/faults/kinds", fault_kinds),
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


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be a whole number, not {text!r}") from None


def _project(request: Request) -> Project:
    """The project that the query names; the first one unless it does."""
    number, projects = _number(request, "project"), _state(request).settings.projects
    if number is None:
        return projects[0]
    for project in projects:
        if project.id == number:
            return project
    raise ValueError(f"there is no project {number} here")


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
