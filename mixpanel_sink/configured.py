"""The write that `Settings` describe, for those who have no Python objects: the commands, Beam
YAML, and pipelines in other languages. Only `write_of` imports Beam."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from mixpanel_sink.api.endpoints import ENDPOINTS, Endpoint
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.files import open_file
from mixpanel_sink.secrets import decoded
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.credentials import (
    ApiSecret,
    Credentials,
    ProjectToken,
    credentials_named,
)
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.options import BY_NAME, OPTIONS, Settings
from mixpanel_sink.settings.options_to_read import CREDENTIALS
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping
from mixpanel_sink.settings.project import Project, Target, projects_from_yaml
from mixpanel_sink.settings.quota import Quota, default_quota
from mixpanel_sink.settings.retry import RetryPolicy

if TYPE_CHECKING:
    from mixpanel_sink.write import WriteToMixpanel
    from mixpanel_sink.write_profiles import WriteGroupsToMixpanel, WriteProfilesToMixpanel

    Write = WriteToMixpanel | WriteProfilesToMixpanel | WriteGroupsToMixpanel

AnyMapping = EventMapping | ProfileMapping | GroupMapping

MAPPINGS: dict[str, type[EventMapping | ProfileMapping | GroupMapping]] = {
    "import": EventMapping,
    "track": EventMapping,
    "engage": ProfileMapping,
    "groups": GroupMapping,
}
"""The mapping's class, by endpoint_kind."""
_CREDENTIALS = (
    "api_secret", "service_account", "service_account_secret", "project_id", "project_token"
)  # fmt: skip
_OF_ONE_PROJECT = (*_CREDENTIALS, "region", "endpoint", "quota", "allow_http")
assert {*_CREDENTIALS} == {each.name for each in OPTIONS if each.group == CREDENTIALS}


def credentials_of(settings: Settings, prefix: str = "--") -> Credentials:
    """The credentials that the settings name.

    Raises:
        CredentialsError: for none, two, or half of one.
    """
    return credentials_named(prefix, *(getattr(settings, name) for name in _CREDENTIALS))


def endpoint_of(settings: Settings) -> Endpoint:
    """Where the records go."""
    return ENDPOINTS[settings.endpoint_kind]


def quota_of(settings: Settings) -> Quota:
    """What the project takes; without a limit where several projects have quotas of their own."""
    if settings.projects:
        return Quota.none()
    return settings.quota or default_quota(endpoint_of(settings))


def privacy_of(settings: Settings, prefix: str = "--") -> Privacy | None:
    """What must not leave the workers, if anything.

    Raises:
        SettingError: if the settings contradict each other.
    """
    drop, hashed = settings.drop_properties, settings.hash_properties
    if not drop and not hashed:
        if settings.hash_key:
            raise SettingError(
                f"{named(prefix, 'hash_key')} goes with {named(prefix, 'hash_properties')}."
            )
        return None
    return Privacy(drop, hashed, settings.hash_key)


def limits_of(settings: Settings) -> Limits | None:
    """The sizes of events and batches, if any is given.

    Raises:
        SettingError: if one is out of range.
    """
    return _made(Limits, settings)


def retry_of(settings: Settings) -> RetryPolicy | None:
    """How long to try, if anything of it is given.

    Raises:
        SettingError: if a number is not positive.
    """
    return _made(RetryPolicy, settings)


def _made(kind: Any, settings: Settings) -> Any:
    """An object whose fields are settings of the same names; None if none is given."""
    names = [field.name for field in dataclasses.fields(kind) if field.name in BY_NAME]
    given = {name: value for name in names if (value := getattr(settings, name)) is not None}
    return kind(**given) if given else None


def text_of(path: str, option: str) -> str:
    """A small file's text.

    Raises:
        SettingError: if it cannot be read; names the option.
    """
    try:
        with open_file(path) as file:
            return decoded(file.read())
    except (OSError, UnicodeDecodeError) as error:
        not_utf8 = "it is not text in UTF-8"
        reason = not_utf8 if isinstance(error, UnicodeError) else error.strerror or str(error)
        raise SettingError(
            f"The {option} file {path} cannot be read ({reason}). Check {named('--', option)}."
        ) from None


def projects_of(settings: Settings, prefix: str = "--") -> dict[str, Project] | None:
    """The projects of a projects file; None if there is one project, by other settings.

    Raises:
        SettingError: if the file cannot be read, or other settings contradict it.
    """
    if bool(settings.projects) != bool(settings.destination):
        raise SettingError(
            f"{prefix}projects and {prefix}destination, the column that names a project, go "
            "together."
        )
    if not settings.projects:
        return None
    for name in _OF_ONE_PROJECT:
        if getattr(settings, name):
            raise SettingError(
                f"{named(prefix, name)} is of one project; with {prefix}projects it is in the file."
            )
    return projects_from_yaml(text_of(settings.projects, "projects"))


def project_of(settings: Settings, credentials: Credentials) -> Project:
    """The one project that the settings describe.

    Raises:
        SettingError: if they contradict each other.
    """
    return Project(
        credentials, settings.region, settings.endpoint, settings.quota, settings.allow_http
    )


def target_of(settings: Settings) -> Target:
    """Where a dry run would send; credentials need not be given.

    Raises:
        SettingError: what is wrong.
    """
    endpoint = endpoint_of(settings)
    if endpoint.identity:
        raise SettingError(
            "A dry run shows events only; leave --endpoint-kind out, or set it to track."
        )
    if settings.projects or settings.destination:
        raise SettingError(
            "A dry run looks at one project: leave --projects and --destination out. Which project "
            "a row goes to changes nothing in its event."
        )
    given = any(getattr(settings, name) for name in _CREDENTIALS)
    credentials: Credentials
    if given:
        credentials = credentials_of(settings)
    else:
        credentials = ApiSecret("env:NONE") if endpoint.basic_auth else ProjectToken("env:NONE")
    lanes = 1 if settings.lanes is None else settings.lanes
    if lanes < 1:
        raise SettingError("lanes must be at least 1.")
    limits = limits_of(settings)
    return Target.of(None, project_of(settings, credentials), endpoint, lanes, limits)


def write_of(
    settings: Settings,
    mapping: AnyMapping | None,
    checkpoint: Checkpoint | None = None,
    prefix: str = "--",
) -> Write:
    """The transform that the settings describe.

    Args:
        settings: of the user; `mapping` and `checkpoint` in them are not looked at.
        mapping: how records become events or updates; None if they are such already.
        checkpoint: where accepted batches are remembered.
        prefix: of the settings' names in messages.

    Raises:
        SettingError: what is wrong.
    """
    from mixpanel_sink.write import WriteToMixpanel
    from mixpanel_sink.write_profiles import WriteGroupsToMixpanel, WriteProfilesToMixpanel

    projects = projects_of(settings, prefix)
    keywords: dict[str, Any] = {
        "checkpoint": checkpoint,
        "privacy": privacy_of(settings, prefix),
        "max_latency": settings.max_latency,
        "limits": limits_of(settings),
        "retry": retry_of(settings),
    }
    for name in ("lanes", "max_in_flight"):
        if (value := getattr(settings, name)) is not None:
            keywords[name] = value
    if projects is not None:
        keywords |= {"projects": projects, "destination": settings.destination}
    else:
        project = project_of(settings, credentials_of(settings, prefix))
        keywords |= vars(project)
    given: Any = mapping
    kind = settings.endpoint_kind
    if kind in ("import", "track"):
        if settings.only_changed:
            raise SettingError(
                f"{prefix}only_changed is for profiles ({prefix}endpoint_kind engage or groups); "
                "events are recognised by their ids."
            )
        keywords |= {"run_property": settings.run_property, "run_id": settings.run_id}
        return WriteToMixpanel(given, endpoint_kind=kind, **keywords)
    if "max_in_flight" in keywords:
        raise SettingError(
            f"{named(prefix, 'max_in_flight')} is for events: updates of profiles keep their "
            f"order, so that each lane sends one request at a time. Use {prefix}lanes."
        )
    if settings.run_property or settings.run_id:
        raise SettingError(
            f"{named(prefix, 'run_property')} marks events; profiles have no run to delete. "
            "Leave it out."
        )
    write = WriteProfilesToMixpanel if kind == "engage" else WriteGroupsToMixpanel
    keywords["only_changed"] = settings.only_changed
    return write(given, on_ambiguous=settings.on_ambiguous, **keywords)  # type: ignore[arg-type]
