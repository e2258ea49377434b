"""The projects file: several projects, each with its keys, quota, region and identity mode.

::

    projects:
      - {id: 1, token: token-1, api_secret: secret-1, quota: 60/hour}
      - {id: 2, token: token-2, api_secret: secret-2, region: eu, identity_mode: original}
    service_accounts:
      - {user: robot, secret: robot-secret, projects: [1, 2]}

JSON or YAML; a bare list is read as the projects.
"""

from pathlib import Path
from typing import Any

import yaml

from mixpanel_sink.emulator.quota import Quota
from mixpanel_sink.emulator.settings import DEFAULT_QUOTA, Project, ServiceAccount

_PROJECT: dict[str, type] = {
    "id": int,
    "token": str,
    "api_secret": str,
    "quota": str,
    "identity_mode": str,
    "region": str,
}
_ACCOUNT: dict[str, type] = {"user": str, "secret": str, "projects": list}


def read(
    path: Path, quota: Quota | None = DEFAULT_QUOTA
) -> tuple[tuple[Project, ...], tuple[ServiceAccount, ...]]:
    """The projects and service accounts of a file; `quota` is that of projects without one.

    Raises:
        ValueError: the file cannot be read or does not have this form; one sentence, which
            names no key's value.
    """
    try:
        # YAML is a superset of JSON.
        value = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ValueError(f"cannot read the projects file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError(f"the projects file {path} is neither JSON nor YAML") from None
    return parse(value, quota)


def parse(
    value: Any, quota: Quota | None = DEFAULT_QUOTA
) -> tuple[tuple[Project, ...], tuple[ServiceAccount, ...]]:
    """The same from the file's parsed content."""
    if isinstance(value, list):
        value = {"projects": value}
    if not isinstance(value, dict) or not value.keys() <= {"projects", "service_accounts"}:
        raise ValueError("a projects file must hold projects and, if need be, service_accounts")
    projects = tuple(_project(item, quota) for item in _list(value, "projects"))
    if not projects:
        raise ValueError("a projects file must hold at least one project")
    accounts = tuple(_account(item) for item in _list(value, "service_accounts"))
    known = {project.id for project in projects}
    for account in accounts:
        if strangers := account.project_ids - known:
            raise ValueError(
                f"service account {account.user!r} names project {min(strangers)}, "
                "which the projects file does not have"
            )
    return projects, accounts


def _project(value: Any, quota: Quota | None) -> Project:
    given = _typed(value, _PROJECT, "project", {"id"})
    if "quota" in given:
        quota = Quota.parse(given.pop("quota"))
    return Project(quota=quota, **given)


def _account(value: Any) -> ServiceAccount:
    given = _typed(value, _ACCOUNT, "service account", {"user", "secret", "projects"})
    if not all(type(number) is int for number in given["projects"]):
        raise ValueError(f"service account {given['user']!r} must list project ids as numbers")
    return ServiceAccount(given["user"], given["secret"], frozenset(given["projects"]))


def _typed(value: Any, types: dict[str, type], what: str, needed: set[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"a {what} in the projects file must be an object")
    if unknown := value.keys() - types.keys():
        names = ", ".join(types)
        raise ValueError(f"a {what} has no {min(map(str, unknown))!r}: choose from {names}")
    if missing := needed - value.keys():
        raise ValueError(f"a {what} in the projects file needs {min(missing)!r}")
    given = {name: item for name, item in value.items() if item is not None}
    for name, item in given.items():
        # Not the value itself: it may be a secret.
        if type(item) is not types[name]:
            kind = "an int" if types[name] is int else f"a {types[name].__name__}"
            raise ValueError(f"a {what}'s {name!r} must be {kind}")
    return given


def _list(value: dict[str, Any], name: str) -> list[Any]:
    items = value.get(name) or []
    if not isinstance(items, list):
        raise ValueError(f"{name} in the projects file must be a list")
    return items
