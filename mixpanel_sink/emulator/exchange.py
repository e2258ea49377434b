"""From Starlette's requests to log entries, and from answers to Starlette's responses."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from mixpanel_sink.emulator import body
from mixpanel_sink.emulator.answers import Answer
from mixpanel_sink.emulator.protocol import arrival
from mixpanel_sink.emulator.rows import Entry
from mixpanel_sink.emulator.settings import Project
from mixpanel_sink.emulator.state import State


def state_of(request: Request) -> State:
    """The emulator that the request came to."""
    state: State = request.app.state.emulator
    return state


def project_of(state: State, number: int | None) -> Project:
    """The project of this id; the first one for None.

    Raises:
        ValueError: there is no such project.
    """
    if number is None:
        return state.settings.projects[0]
    for project in state.settings.projects:
        if project.id == number:
            return project
    raise ValueError(f"there is no project {number} here")


def json_response(value: Any, status: int = 200) -> Response:
    """A JSON value as a response."""
    text = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS)
    return Response(text, status, media_type="application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body as it is on the wire.

    Raises:
        Refused: 413 beyond `limit` bytes.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        # Compressed JSON is never larger than its text by more than gzip's few bytes.
        if size > limit + 1024:
            raise body.too_large(limit)
        parts.append(part)
    return b"".join(parts)


def open_entry(request: Request) -> Entry:
    """The log's entry of a request whose head has arrived."""
    headers = request.headers
    return Entry(
        path=request.url.path.rstrip("/"),
        arrived=arrival(request),
        content_encoding=headers.get("content-encoding"),
        content_type=headers.get("content-type"),
        user_agent=headers.get("user-agent"),
        remote=f"{request.client.host}:{request.client.port}" if request.client else None,
    )


def response_of(answer: Answer) -> Response:
    """The answer as a response."""
    response = Response(answer.body, answer.status, media_type=answer.content_type)
    for name, value in answer.headers.items():
        response.headers[name] = value
    return response
