"""Changing a running emulator over HTTP: reset, settings, faults, lookup tables."""

from dataclasses import MISSING, fields
from typing import Any, get_args
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_sink.emulator.exchange import json_response, project_of, state_of
from mixpanel_sink.emulator.faults import KINDS, Fault, FaultPlan, Indexes, Kind


async def reset(request: Request) -> Response:
    """Forget all events, requests, quotas and faults; the body may change settings.

    With ``restore=1`` the changes are made to the settings of the emulator's start.
    """
    state = state_of(request)
    restore = request.query_params.get("restore") == "1"
    settings = (state.initial if restore else state.settings).changed(await _object(request))
    await state.clear()
    state.settings = settings
    return json_response(settings.public())


async def settings(request: Request) -> Response:
    """Show the settings (GET) or change some of them (POST)."""
    state = state_of(request)
    if request.method == "POST":
        state.settings = state.settings.changed(await _object(request))
    return json_response(state.settings.public())


async def faults(request: Request) -> Response:
    """Set the fault plan (POST), show what remains of it (GET), or drop it (DELETE)."""
    state = state_of(request)
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


async def lookup_tables(request: Request) -> Response:
    """Create an empty lookup table (POST), as Mixpanel's own pages do: name, id, project."""
    given, state = await _object(request), state_of(request)
    project = project_of(state, given.get("project"))
    id, name = given.get("id") or str(uuid4()), given.get("name")
    if not isinstance(name, str) or not name or not isinstance(id, str):
        raise ValueError("a lookup table needs a name, and may have an id and a project")
    await state.write(state.store.writer.create_lookup_table, project.id, id, name)
    return json_response({"project": project.id, "id": id, "name": name})


ROUTES = [
    Route("/emulator/lookup_tables", lookup_tables, methods=["POST"]),
    Route("/emulator/reset", reset, methods=["POST"]),
    Route("/emulator/settings", settings, methods=["GET", "POST"]),
    Route("/emulator/faults", faults, methods=["GET", "POST", "DELETE"]),
    Route("/emulator/faults/kinds", fault_kinds),
]


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
