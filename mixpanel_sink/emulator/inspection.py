"""What the emulator holds, as JSON under ``/emulator/``, for tests and people."""

import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mixpanel_sink.emulator import body, clock, profiles
from mixpanel_sink.emulator.answers import Refused
from mixpanel_sink.emulator.counts import UNITS
from mixpanel_sink.emulator.exchange import json_response, project_of, state_of
from mixpanel_sink.emulator.queries import HOT
from mixpanel_sink.emulator.quota import busiest_window
from mixpanel_sink.emulator.settings import Project
from mixpanel_sink.emulator.state import State
from mixpanel_sink.emulator.store import Store

MAX_ROWS = 10_000
MAX_ANSWER = 64 * 1024
"""How much of an answer, or of a body that cannot be read, is shown."""
MAX_BODY = 1024**3


async def stats(request: Request) -> Response:
    """Counts of everything, and how busy the busiest quota window was."""
    state = state_of(request)
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
    state = state_of(request)
    names = ("event", "distinct_id", "insert_id")
    filters = {name: query[name] for name in names if name in query}
    limit, offset = page_of(request)
    if query.get("detail") in ("1", "true"):
        number_of(request, "project")
        more = {name: query[name] for name in ("project", "search") if query.get(name)}
        rows = await state.read(
            _details, state, {**filters, **more}, limit, number_of(request, "before")
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
    state, query = state_of(request), request.query_params
    unit, project = query.get("unit", "hour"), number_of(request, "project")
    if unit not in UNITS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}")
    if query.get("by") == "arrival":
        since = float(number_of(request, "since") or time.time() - 120 * UNITS[unit])
        rows = await state.read(state.store.log.arrivals, since, UNITS[unit], project)
        outcomes = ("refused", "good", "failed", "broken", "latency_ms", "counted")
        names = ("start", "requests", "stored", *outcomes)
        periods = [dict(zip(names, row, strict=True)) for row in rows]
        return json_response({"unit": unit, "periods": periods})
    # A page asks for a part now and the rest later; a test wants them all.
    partial = query.get("partial") == "1"
    more = await state.read(state.counts.catch_up, state.store, unit)
    while more and not partial:
        more = await state.read(state.counts.catch_up, state.store, unit)
    found = await state.read(state.counts.by_name, unit, project)
    return json_response({**found, "complete": not more} if partial else found)


async def names(request: Request) -> Response:
    """Names of events, or with ``of=distinct_id`` users' ids: search (a beginning), after."""
    query = request.query_params
    limit, _ = page_of(request)
    found = await state_of(request).read(
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
    rows = await state_of(request).read(_store(request).people.updates, kind, *page_of(request))
    return Response(b'{"updates":[' + b",".join(rows) + b"]}", media_type="application/json")


async def user_profiles(request: Request) -> Response:
    """User profiles: limit, offset, search, project; or one user's: distinct_id, project.

    A user's profile is what the updates of all of the user's ids make.
    """
    state, query = state_of(request), request.query_params
    if "distinct_id" in query:
        project = _project(request)
        return json_response(await state.read(_profile, state, project, query["distinct_id"]))
    return json_response({"profiles": await _profile_list(request, "engage")})


async def group_profiles(request: Request) -> Response:
    """Group profiles: limit, offset, search, project; or one: group_key, group_id, project."""
    state, query = state_of(request), request.query_params
    if "group_id" in query:
        if "group_key" not in query:
            raise ValueError("group_id needs group_key beside it")
        name = profiles.group_key(query["group_key"], query["group_id"])
        project = _project(request)
        return json_response(await state.read(_one_profile, state, "groups", project, [name]))
    return json_response({"groups": await _profile_list(request, "groups")})


async def _profile_list(request: Request, kind: str) -> list[dict[str, Any]]:
    limit, offset = page_of(request)
    search = request.query_params.get("search", "")
    return await state_of(request).read(
        _store(request).people.profiles, kind, limit, offset, search, number_of(request, "project")
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
    return json_response({"users": await state_of(request).read(_users, request)})


def _users(request: Request) -> list[dict[str, Any]]:
    query, store = request.query_params, _store(request)
    limit, _ = page_of(request)
    project = _project(request)
    search, after = query.get("search", ""), query.get("after", "")
    ids = store.events.beginning("distinct_id", search, limit, after)
    canonical = store.people.users_of(project.id, ids)
    return [{"id": id, "distinct_id": canonical.get(id, id)} for id in ids]


async def user(request: Request) -> Response:
    """One user, by any of its ids: canonical id, all ids, profile, events; limit, offset."""
    return json_response(await state_of(request).read(_user, request))


def _user(request: Request) -> dict[str, Any]:
    state, project = state_of(request), _project(request)
    store = state.store
    limit, offset = page_of(request)
    canonical, ids = store.people.cluster(project.id, request.path_params["id"])
    count, numbers = store.events.user_events(project.id, ids, limit, offset)
    return {
        "project": project.id,
        "distinct_id": canonical,
        "ids": ids,
        "profile": _one_profile(state, "engage", project, ids),
        "events_count": count,
        "hot_days": store.events.hot_days(project.id, ids) if count > HOT else {},
        "events": store.events.details(numbers),
    }


async def identities(request: Request) -> Response:
    """What identity events did, newest first; `ignored` says why one had no effect."""
    rows = await state_of(request).read(_store(request).people.links, *page_of(request))
    return json_response({"links": rows})


async def quota(request: Request) -> Response:
    """How much of each project's quotas is used up at this moment."""
    state, now = state_of(request), clock.stamp()
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
    rows = await state_of(request).read(
        _store(request).log.requests, *page_of(request), newest=order == "newest", filters=filters
    )
    return json_response({"requests": rows})


async def one_request(request: Request) -> Response:
    """One request with its answer, failed records and first records: limit (20)."""
    state, number = state_of(request), request.path_params["id"]
    limit = int(request.query_params.get("limit", "20"))
    found = await state.read(_request_detail, state, number, limit)
    return json_response(found)


def _request_detail(state: State, number: int, limit: int) -> dict[str, Any]:
    found = state.store.log.detail(number)
    if found is None:
        raise ValueError(f"there is no request {number} here")
    raw, answer = found.pop("body"), found.pop("answer")
    return {
        **found,
        "failed_records": orjson.loads(found["failed_records"] or b"[]"),
        "answer": None if answer is None else answer[:MAX_ANSWER].decode(errors="replace"),
        "body": _shown_body(found, raw, limit),
    }


def _shown_body(row: Mapping[str, Any], raw: bytes | None, limit: int) -> dict[str, Any]:
    """The first records of a body; or why they cannot be shown."""
    if raw is None:
        return {"kept": False, "records": [], "total": row["events"]}
    try:
        text = body.decode(raw, row["content_encoding"] or "", MAX_BODY)
        batch = body.parse(text, row["content_type"] or "application/json")
    except Refused as refusal:
        start = raw[:MAX_ANSWER].decode(errors="replace")
        return {"kept": True, "records": [], "total": 0, "error": refusal.error, "text": start}
    records = [
        item.message if isinstance(item, body.Broken) else item for item in batch.objects[:limit]
    ]
    return {"kept": True, "records": records, "total": len(batch.objects)}


async def lookup_tables(request: Request) -> Response:
    """Lookup tables: project; or one's content as CSV: id, project."""
    state = state_of(request)
    if id := request.query_params.get("id"):
        project = _project(request)
        text = await state.read(state.store.log.lookup_table, project.id, id)
        if text is None:
            raise ValueError(f"there is no lookup table {id!r} here")
        return Response(text, media_type="text/csv")
    tables = await state.read(state.store.log.lookup_tables, number_of(request, "project"))
    return json_response({"lookup_tables": tables})


async def insert_ids(request: Request) -> Response:
    """The ``$insert_id`` of every stored event, one a line, streamed."""
    state = state_of(request)
    portions = state.store.events.insert_ids()

    async def lines() -> AsyncIterator[bytes]:
        while (portion := await state.read(next, portions, None)) is not None:
            if portion:
                yield "\n".join(portion).encode() + b"\n"

    return StreamingResponse(lines(), media_type="text/plain")


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
    Route("/emulator/requests/{id:int}", one_request),
    Route("/emulator/lookup_tables", lookup_tables, methods=["GET"]),
    Route("/emulator/insert_ids", insert_ids),
]


def _store(request: Request) -> Store:
    return state_of(request).store


def page_of(request: Request) -> tuple[int, int]:
    """Limit and offset of the query."""
    try:
        limit = int(request.query_params.get("limit", "100"))
        offset = int(request.query_params.get("offset", "0"))
    except ValueError:
        raise ValueError("limit and offset must be whole numbers") from None
    if limit < 0 or offset < 0:
        raise ValueError("limit and offset must not be negative")
    return min(limit, MAX_ROWS), offset


def number_of(request: Request, name: str) -> int | None:
    """The whole number of this name in the query, or None."""
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be a whole number, not {text!r}") from None


def _project(request: Request) -> Project:
    """The project that the query names; the first one unless it does."""
    return project_of(state_of(request), number_of(request, "project"))
