"""The page for people: Events, Users, Requests and Faults, on the emulator's own address.

Plain files without a build or anything from elsewhere; they ask the JSON of `inspection.py`.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "page"
_KINDS = {"app.js": "text/javascript", "style.css": "text/css"}
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
    """The page."""
    return FileResponse(_FOLDER / "index.html", media_type="text/html", headers=_HEADERS)


async def part(request: Request) -> Response:
    """One of its files."""
    name = request.path_params["name"]
    if name not in _KINDS:
        return Response(status_code=404)
    return FileResponse(_FOLDER / name, media_type=_KINDS[name], headers=_HEADERS)


async def to_page(request: Request) -> Response:
    """From the bare address to the page."""
    return RedirectResponse("/emulator/")


ROUTES = [
    Route("/", to_page),
    Route("/emulator/", home),
    Route("/emulator/page/{name}", part),
]
