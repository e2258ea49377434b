"""The page for people, on the emulator's own address.

Plain files without a build or anything from elsewhere; they ask the JSON of `inspection.py`.
"""

import ipaddress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from mixpanel_sink.emulator.exchange import json_response, state_of

_FOLDER = Path(__file__).parent / "page"
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEADERS = {
    # What clients sent is shown here: none of it may run.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


async def home(request: Request) -> Response:
    """The page. What its searches and charts need is loaded meanwhile."""
    load = BackgroundTask(import_module, "mixpanel_sink.emulator.search")
    index = _FOLDER / "index.html"
    return FileResponse(index, media_type="text/html", headers=_HEADERS, background=load)


async def part(request: Request) -> Response:
    """One of its files."""
    path = _FOLDER / request.path_params["name"]
    if path.suffix not in _KINDS or not path.is_file():
        return Response(status_code=404)
    return FileResponse(path, media_type=_KINDS[path.suffix], headers=_HEADERS)


async def to_page(request: Request) -> Response:
    """From the bare address to the page."""
    return RedirectResponse("/emulator/")


async def about(request: Request) -> Response:
    """The version, and how to connect: the keys only for a page on this very machine."""
    project = state_of(request).settings.projects[0]
    local = _is_local(request)
    return json_response(
        {
            "version": _version(),
            "project": project.id,
            "api_secret": project.api_secret if local else None,
            "token": project.token if local else None,
            "tls": request.url.scheme == "https",
        }
    )


def _is_local(request: Request) -> bool:
    """Whether both ends are this machine's, and the page was opened by a name of it.

    The name matters: a page from elsewhere could have its own name point to this machine.
    """
    client = request.client.host if request.client else ""
    return _is_loopback(client) and _is_loopback(request.url.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _version() -> str:
    try:
        return version("mixpanel-sink")
    except PackageNotFoundError:
        return "development"


ROUTES = [
    Route("/", to_page),
    Route("/emulator/", home),
    Route("/emulator/about", about),
    Route("/emulator/page/{name}", part),
]
