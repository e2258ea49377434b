"""Who may write: HTTP Basic with an API secret, a service account or a project token."""

import base64
import binascii
import hmac

from mixpanel_sink.emulator.answers import Refused
from mixpanel_sink.emulator.settings import Project, Settings


def authenticate(
    settings: Settings, header: str | None, project_id: str | None, *, by_token: bool = True
) -> Project:
    """The project that the Authorization header opens.

    The API secret and, with `by_token`, the project token stand as the user with an empty
    password; a service account needs `project_id` beside it. A project of another region than
    the emulator's is not known here.

    Raises:
        Refused: 401 without valid credentials, 400 for a service account without a project id,
            403 for one that lacks the project.
    """
    user, password = _basic(header)
    for project in settings.served:
        opens = _same(user, project.api_secret) or (by_token and _same(user, project.token))
        if opens and not password:
            return project
    for account in settings.service_accounts:
        if _same(user, account.user) and _same(password, account.secret):
            if not project_id:
                raise Refused(400, "project_id is required with a service account")
            for project in settings.served:
                if str(project.id) == project_id and project.id in account.project_ids:
                    return project
            raise Refused(403, f"the service account has no access to project {project_id}")
    raise Refused(
        401,
        "Invalid credentials: check the API secret, service account or project token",
        {"WWW-Authenticate": 'Basic realm="mixpanel"'},
    )


def _basic(header: str | None) -> tuple[str, str]:
    challenge = {"WWW-Authenticate": 'Basic realm="mixpanel"'}
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        raise Refused(401, "HTTP Basic credentials are required for this endpoint", challenge)
    try:
        plain = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(401, "the Basic credentials are not valid base64", challenge) from None
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        text = plain.decode("latin-1")
    user, _, password = text.partition(":")
    return user, password


def _same(given: str, known: str | None) -> bool:
    return known is not None and hmac.compare_digest(given.encode(), known.encode())
