"""One Mixpanel project, and which of several a record goes to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.api.plain import make_plain
from mixpanel_sink.errors import CredentialsError, MappingError, RecordError, SettingError, kind_of
from mixpanel_sink.settings.credentials import (
    Credentials,
    check_credentials,
    credentials_named,
)
from mixpanel_sink.settings.kinds import check_flag
from mixpanel_sink.settings.names import near
from mixpanel_sink.settings.quota import Quota, default_quota
from mixpanel_sink.settings.yaml import load_yaml


@dataclasses.dataclass(frozen=True)
class Project:
    """Where a project lives, who we are to it, and how much it takes.

    Args:
        credentials: `ApiSecret`, `ServiceAccount` or `ProjectToken`, with references.
        region: "us" (default), "eu" or "in".
        endpoint: a base URL instead of a region, for tests and proxies.
        quota: a `Quota` or its text; None for the endpoint's default.
        allow_http: permit an unencrypted endpoint on another machine.

    Raises:
        SettingError: for a setting that is wrong.

    >>> Project(ApiSecret("env:SHOP_SECRET"), region="eu", quota="60/hour").destination.host
    'api-eu.mixpanel.com'
    """

    credentials: Credentials
    region: str | None = None
    endpoint: str | None = None
    quota: Quota | str | None = None
    allow_http: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        check_credentials(self.credentials)
        check_flag("allow_http", self.allow_http)
        if isinstance(self.quota, str):
            object.__setattr__(self, "quota", Quota.parse(self.quota))
        elif not isinstance(self.quota, Quota | None):
            raise SettingError(
                f"quota is {kind_of(self.quota)}; give a Quota or a text such as '60/hour'."
            )
        _ = self.destination

    @classmethod
    def from_dict(cls, settings: Any) -> Project:
        """From what a projects file says of one; see `projects_from_yaml`.

        Raises:
            SettingError: names the setting that is unknown or wrong.
        """
        if not isinstance(settings, dict):
            raise SettingError("it needs settings, such as api_secret: env:NAME.")
        for key, value in settings.items():
            if key not in (*_CREDENTIALS, *_PLACE):
                raise SettingError(
                    f"{key!r} is unknown.{near(str(key), (*_CREDENTIALS, *_PLACE))} The file's "
                    "keys are the names of projects, and below each are its settings."
                )
            plain = str | int if key == "project_id" else str
            if not isinstance(value, bool if key == "allow_http" else plain):
                raise SettingError(f"{key} is {kind_of(value)}; write it as text.")
        place = {key: value for key, value in settings.items() if key in _PLACE}
        return cls(credentials_named("", *map(settings.get, _CREDENTIALS)), **place)

    @property
    def destination(self) -> Destination:
        """The host of the project."""
        return Destination.of(self.region, self.endpoint, self.allow_http)


_CREDENTIALS = (
    "api_secret", "service_account", "service_account_secret", "project_id", "project_token"
)  # fmt: skip
_PLACE = ("region", "endpoint", "quota", "allow_http")


def projects_from_yaml(text: str) -> dict[str, Project]:
    """Several projects by name, from YAML text; see configs/projects.yaml.

    Raises:
        SettingError: names the project and the setting that is wrong. No secret is repeated.
    """
    settings = load_yaml(text, "projects file")
    if not isinstance(settings, dict) or not settings:
        raise SettingError(
            "The projects file is a list of names, each with the project's settings below it."
        )
    projects = {}
    for name, given in settings.items():
        try:
            projects[name] = Project.from_dict(given)
        except SettingError as error:
            raise SettingError(f"The projects file, project {name!r}: {error}") from None
    return projects


@dataclasses.dataclass(frozen=True)
class Target:
    """A project as one write sees it; picklable, without secrets.

    Attributes:
        name: in lane keys, results and metrics: the user's, or the host.
        limits: of its batches.
        part: which part of the project's quota it has, where sinks of a pipeline share one.
    """

    name: str
    destination: Destination
    credentials: Credentials
    quota: Quota
    limits: Limits
    part: int = 0

    def part_of_quota(self, number: int, sinks: int, lanes: int) -> Target:
        """The same project for one of several sinks, each with as many lanes.

        Raises:
            SettingError: if the quota is too small.
        """
        quota = self.quota.share(number, sinks)
        limits = _within(self.limits, quota.share(lanes - 1, lanes))
        return dataclasses.replace(self, quota=quota, limits=limits, part=number)

    @classmethod
    def of(
        cls,
        name: str | None,
        project: Project,
        endpoint: Endpoint,
        lanes: int,
        limits: Limits | None,
    ) -> Target:
        """A project at an endpoint. Without limits it has those that come with the quota.

        Raises:
            SettingError: if the endpoint cannot do with its credentials, or the limits with
                its quota.
        """
        if not endpoint.basic_auth and project.credentials.token is None:
            raise CredentialsError(
                f"/{endpoint.name} knows a project by its token alone. Give ProjectToken("
                '"env:MIXPANEL_TOKEN"), --project-token in a command, or token= beside other '
                "credentials."
            )
        quota = default_quota(endpoint) if project.quota is None else project.quota
        assert isinstance(quota, Quota)
        share = quota.share(lanes - 1, lanes)
        limits = limits or limits_of(quota)
        if limits.max_age_seconds is None:
            limits = dataclasses.replace(limits, max_age_seconds=endpoint.max_age_seconds)
        destination = project.destination
        return cls(
            name or destination.host,
            destination,
            project.credentials,
            quota,
            _within(limits, share),
        )


@dataclasses.dataclass(frozen=True)
class Route:
    """Which project a record goes to: a column, or a function of the record.

    >>> Route("shop").name_of({"shop": "eu", "price": 3})
    'eu'
    """

    by: str | Callable[[Any], str]

    def __post_init__(self) -> None:
        if not (isinstance(self.by, str) and self.by) and not callable(self.by):
            raise SettingError(
                "destination is a column's name, or a function that takes a record and gives the "
                "name of a project."
            )

    @property
    def column(self) -> str | None:
        """The column that names the project; None for a function."""
        return self.by if isinstance(self.by, str) else None

    def check_columns(self, columns: Sequence[str]) -> None:
        """Refuses a column that the input does not have.

        Raises:
            MappingError: names it, the nearest one, and lists them all.
        """
        if self.column is not None and self.column not in columns:
            raise MappingError(
                f"destination names the column {self.column!r}, which the input does not have."
                f"{near(self.column, columns)} Its columns are: {', '.join(map(repr, columns))}."
            )

    def name_of(self, record: Mapping[Any, Any]) -> Any:
        """What the record says; a raw event may say it among its properties, or beside them.

        Raises:
            RecordError: if there is no such column, or the function fails.
        """
        if not isinstance(self.by, str):
            try:
                return self.by(record)
            except Exception as error:  # a user's function; one bad record costs one record
                raise RecordError(
                    "destination_unknown",
                    f"The destination function failed for this record ({type(error).__name__}: "
                    f"{error}).",
                ) from None
        if self.by in record:
            return record[self.by]
        properties = record.get("properties")
        if isinstance(properties, Mapping) and self.by in properties:
            return properties[self.by]
        raise RecordError(
            "destination_unknown",
            f"The record has no column {self.by!r}, which names its project.",
            self.by,
        )


def unknown_project(name: Any, known: Mapping[str, Any], field: str | None) -> RecordError:
    """The error for a record whose project is not among `projects`."""
    return RecordError(
        "destination_unknown",
        f"The record is for the project {shown(name)}, and projects has none of that name: it has "
        f"{', '.join(map(repr, known))}. Add it, or correct the record.",
        field,
    )


def shown(name: Any) -> str:
    """A project's name for a message; never raises."""
    try:
        return repr(name)[:100]
    except Exception:  # an Arrow scalar whose text is not UTF-8, a user's class
        return f"({type(name).__name__})"


def limits_of(quota: Quota) -> Limits:
    """The default limits of a project's requests and events."""
    return Limits() if quota.event_bytes is None else Limits(event_bytes=quota.event_bytes)


def _within(limits: Limits, share: Quota) -> Limits:
    """Batches that the smallest lane's share lets through: a heavier one would break it."""
    events, size = share.most("events"), share.most("bytes")
    if size is not None and size < limits.event_bytes + 4:
        raise SettingError(
            f"The quota gives a lane {size} bytes, which is less than one event may have "
            f"({limits.event_bytes}). Use fewer lanes, a larger quota, or Limits(event_bytes=...)."
        )
    return dataclasses.replace(
        limits,
        batch_events=min(limits.batch_events, events or limits.batch_events),
        batch_bytes=min(limits.batch_bytes, size or limits.batch_bytes),
    )
