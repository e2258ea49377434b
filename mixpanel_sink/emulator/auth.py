"""Who may write: HTTP Basic with an API secret, a service account or a project token."""

import base64
import binascii
import hmac

from mixpanel_sink.emulator.answers import Refused
from mixpanel_sink.emulator.settings import Project, Settings

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="mixpanel"'}


def authenticate(
    settings: Settings,
    header: str | None,
    project_id: str | None,
    *,
    by_token: bool = True,
    by_secret: bool = True,
) -> Project:
    """The project that the Authorization header opens.

    The API secret (with `by_secret`) and the project token (with `by_token`) stand as the user
    with an empty password; a service account needs `project_id`, and access to that project. A
    project of another region than the emulator's is not known here.

    Raises:
        Refused: 401 without valid credentials.
    """
    user, password = _basic(header)
    for project in settings.served:
        opens = (by_secret and _same(user, project.api_secret)) or (
            by_token and _same(user, project.token)
        )
        if opens and not password:
            return project
    for account in settings.service_accounts:
        if _same(user, account.user) and _same(password, account.secret):
            if not project_id:
                raise Refused(401, "project_id is required with a service account", _CHALLENGE)
            for project in settings.served:
                if str(project.id) == project_id and project.id in account.project_ids:
                    return project
            raise Refused(
                401, f"the service account has no access to project {project_id}", _CHALLENGE
            )
    raise Refused(
        401,
        "Invalid credentials: check the API secret, service account or project token",
        _CHALLENGE,
    )


def _basic(header: str | None) -> tuple[str, str]:
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        raise Refused(401, "HTTP Basic credentials are required for this endpoint", _CHALLENGE)
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(401, "the Basic credentials are not valid base64", _CHALLENGE) from None
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        text = plain.decode("latin-1")
    user, colon, password = text.partition(":")
    if not colon:
        raise Refused(401, "the Basic credentials lack the colon after the user", _CHALLENGE)
    return user, password


def _same(given: str, known: str | None) -> bool:
    return known is not None and hmac.compare_digest(given.encode(), known.encode())
