"""The deletion of users, by Mixpanel's public API, and Data Deletion, which people do on its pages.

`/api/app/data-deletions/v3.0` is that of the reference's page "GDPR API": by `distinct_ids`, with
the project's token and an OAuth token of a person's (any is taken here: there are no people).
`/emulator/deletions` stands for the section "Data Deletion" of a project's settings, which has no
API: one event's name, a range of days, and values of event properties.
"""

import datetime
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mixpanel_sink.emulator import clock
from mixpanel_sink.emulator.counts import Counts
from mixpanel_sink.emulator.deletions import DAY, OLDEST_DAYS, Deletion
from mixpanel_sink.emulator.exchange import json_response, project_of, state_of
from mixpanel_sink.emulator.settings import Project

PATH = "/api/app/data-deletions/v3.0"
MOST_USERS = 1999
_COMPLIANCE = ("gdpr", "ccpa")


async def delete_users(request: Request) -> Response:
    """Create a deletion task. It is done when it is answered."""
    state, project = state_of(request), _token_project(request)
    if not isinstance(project, Project):
        return project
    given = await _object(request)
    users, kind = given.get("distinct_ids"), str(given.get("compliance_type", "GDPR")).lower()
    if not isinstance(users, list) or not users or not all(isinstance(u, str) for u in users):
        return _error(400, "distinct_ids must be a list of strings")
    if len(users) > MOST_USERS:
        return _error(400, f"distinct_ids may have {MOST_USERS} entries")
    if kind not in _COMPLIANCE:
        return _error(400, "compliance_type must be GDPR or CCPA")
    deletion = Deletion(project.id, users=tuple(users))
    number, _ = await state.write(state.store.writer.deletions.delete, deletion, clock.stamp())
    state.counts = Counts()
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    task = {
        "status": "PENDING",
        "disclosure_type": "DATA",
        "date_requested": now.isoformat(),
        "tracking_id": str(number),
        "project_id": project.id,
        "compliance_type": kind,
        "destination_url": None,
        "requesting_user": "emulator@localhost",
        "distinct_id_count": len(users),
    }
    return json_response({"status": "ok", "results": [task]})


async def task(request: Request) -> Response:
    """Check a task (GET), or cancel it (DELETE), for which it is always too late."""
    state, project = state_of(request), _token_project(request)
    if not isinstance(project, Project):
        return project
    found = await state.write(state.store.writer.deletions.all, project.id)
    known = {str(each["id"]): each.get("distinct_ids") for each in found}
    users = known.get(request.path_params["id"].rstrip("/"))
    if users is None:
        return json_response({"status": "ok", "results": {"status": "NOT_FOUND"}}, 404)
    if request.method == "DELETE":
        return Response("Method Not Allowed", 405)
    results = {"status": "SUCCESS", "result": "", "distinct_ids": users}
    return json_response({"status": "ok", "results": results})


async def deletions(request: Request) -> Response:
    """Delete events of a name and some days (POST), or list what was deleted (GET).

    `days_ago` tells the emulator that the request was made so many days ago, to see what happens
    when days have passed.
    """
    state = state_of(request)
    if request.method == "GET":
        project = project_of(state, _number(request.query_params.get("project")))
        found = await state.write(state.store.writer.deletions.all, project.id)
        return json_response({"deletions": found})
    given = await _object(request)
    deletion, submitted = _asked(given, project_of(state, given.get("project")))
    number, count = await state.write(state.store.writer.deletions.delete, deletion, submitted)
    state.counts = Counts()
    return json_response({"id": number, "events": count})


async def undo(request: Request) -> Response:
    """Undo a Data Deletion, within seven days."""
    state = state_of(request)
    project = project_of(state, _number(request.query_params.get("project")))
    number = int(request.path_params["id"])
    count = await state.write(state.store.writer.deletions.undo, number, project.id)
    state.counts = Counts()
    return json_response({"id": number, "events": count})


def _asked(given: dict[str, Any], project: Project) -> tuple[Deletion, float]:
    """The deletion that a body describes, and when it was submitted."""
    event, where = given.get("event"), given.get("where", {})
    if not isinstance(event, str) or not event:
        raise ValueError("a data deletion needs the name of one event")
    if not isinstance(where, dict) or {"distinct_id", "$distinct_id"} & where.keys():
        raise ValueError("where has values of event properties; users are deleted by the API")
    submitted = clock.stamp() - float(given.get("days_ago", 0)) * DAY
    since, until = _midnight(given, "from"), _midnight(given, "to") + DAY
    if since < submitted - (OLDEST_DAYS + 1) * DAY:
        raise ValueError(f"events older than {OLDEST_DAYS} days cannot be deleted")
    return Deletion(project.id, event, since * 1000, until * 1000, tuple(where.items())), submitted


def _midnight(given: dict[str, Any], name: str) -> int:
    try:
        day = datetime.date.fromisoformat(given[name])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} must be a day such as 2024-05-31") from None
    return int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp())


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _token_project(request: Request) -> Project | Response:
    """The project of the token in the query, or the refusal."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        return _error(401, "an OAuth token is required: Authorization: Bearer ...")
    project = state_of(request).settings.tokens().get(request.query_params.get("token"))
    return project or _error(403, "there is no project of this token, or no access to it")


async def _object(request: Request) -> dict[str, Any]:
    try:
        value = orjson.loads(await request.body() or b"null")
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    return value


def _error(status: int, text: str) -> Response:
    return json_response({"status": "error", "error": text}, status)


ROUTES = [
    Route(PATH, delete_users, methods=["POST"]),
    Route(f"{PATH}/", delete_users, methods=["POST"]),
    Route(f"{PATH}/{{id}}", task, methods=["GET", "DELETE"]),
    Route(f"{PATH}/{{id}}/", task, methods=["GET", "DELETE"]),
    Route("/emulator/deletions", deletions, methods=["GET", "POST"]),
    Route("/emulator/deletions/{id:int}", undo, methods=["DELETE"]),
]
