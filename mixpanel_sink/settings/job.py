"""`Job`: the settings of a write, in one object that both of its stages hold. No Beam here."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.api.plain import make_plain, plain
from mixpanel_sink.errors import MappingError, SettingError, kind_of, with_article
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.kinds import check_count, check_flag, check_kind, check_seconds
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.profile_mapping import UpdateMapping
from mixpanel_sink.settings.project import Project, Route, Target
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.settings.run_mark import RunMark

OnAmbiguous = Literal["fail", "retry"]
"""What to do with an update that Mixpanel may have applied already, and that would change the
profile once more: fail it (nothing is counted twice), or send it again (nothing is missed)."""


OnFailure = Literal["dead_letter", "fail"]
"""Whether failed records are only an output of the write, or make the pipeline fail as well."""


class RateLimiter(Protocol):
    """The part of Beam's rate limiters (`apache_beam.io.components.rate_limiter`) that we use."""

    def allow(self) -> bool:
        """Waits until one more request may go; False if it may not go yet."""
        ...


@dataclasses.dataclass(frozen=True)
class Job:
    """The settings of one write; picklable, without secrets.

    Attributes:
        endpoint: of Mixpanel's API.
        mapping: None for raw events or updates.
        targets: the projects; one, where there is no route.
        route: which of them a record goes to.
        lanes: of each project.
        max_in_flight: requests at the same time, at most, on each worker and lane.
        max_latency: seconds that an event of a stream may wait for others.
        retry: how long to try.
        on_ambiguous: see `OnAmbiguous`.
        rate_limiter: asked before each request, besides the quota; shared by several jobs.
        checkpoint: where accepted chunks are remembered.
        privacy: what must not leave the worker.
        clock: seconds since 1970, for what counts as too old or in the future.
        check_accounting: whether a bounded write adds up what became of its records.
        on_failure: see `OnFailure`.
        accepted: whether each accepted record is an output.
        spent: requests that a preflight made, by project: when, in seconds since 1970.
        window_coder: of the input.
        only_changed: whether updates of profiles are left out that do not differ from the last
            ones; the checkpoint holds what these were.
        forgets: whether the checkpoint forgets the profiles of accepted updates instead.
        run: tells one pipeline's failures from another's in a worker's log.
        mark: what every event of this run carries.

    Raises:
        SettingError: for a setting that is wrong.
    """

    endpoint: Endpoint
    mapping: EventMapping | UpdateMapping | None
    targets: tuple[Target, ...]
    route: Route | None = None
    lanes: int = 1
    max_in_flight: int = 128
    max_latency: float | None = None
    retry: RetryPolicy = dataclasses.field(default_factory=RetryPolicy)
    on_ambiguous: OnAmbiguous = "fail"
    rate_limiter: RateLimiter | None = None
    checkpoint: Checkpoint | None = None
    privacy: Privacy | None = None
    clock: Callable[[], float] = time.time
    check_accounting: bool = True
    on_failure: OnFailure = "dead_letter"
    accepted: bool = False
    spent: Mapping[str, float] = dataclasses.field(default_factory=dict)
    window_coder: Any = None
    run: str = ""
    mark: RunMark | None = None
    only_changed: bool = False
    forgets: bool = False

    def __post_init__(self) -> None:
        make_plain(self)
        check_count("max_in_flight", self.max_in_flight)
        if self.max_latency is not None:
            check_seconds("max_latency", self.max_latency)
        check_kind("retry", self.retry, RetryPolicy, "a RetryPolicy")
        check_kind("clock", self.clock, Callable, "a function that returns seconds since 1970")
        for name in ("check_accounting", "accepted", "only_changed"):
            check_flag(name, getattr(self, name))
        if self.on_ambiguous not in ("fail", "retry"):
            raise SettingError(f'on_ambiguous is {self.on_ambiguous!r}; it is "fail" or "retry".')
        check_on_failure(self.on_failure)
        if self.rate_limiter is not None:
            _check_rate_limiter(self.rate_limiter, len(self.targets))
        if isinstance(self.checkpoint, str):
            object.__setattr__(self, "checkpoint", Checkpoint(self.checkpoint))
        if not isinstance(self.checkpoint, Checkpoint | None):
            raise SettingError("checkpoint is a folder, local or gs://, or a Checkpoint.")
        if self.only_changed:
            _check_only_changed(self.checkpoint, self.mapping)
        if self.privacy is not None:
            _check_privacy(self.privacy, self.mapping, self.route)
        if self.mark is not None:
            self.mark.check(self.mapping)

    def resolve(self) -> list[tuple[Target, ResolvedCredentials]]:
        """Each project with its secrets.

        Raises:
            CredentialsError: if a secret does not resolve.
        """
        return [(target, target.credentials.resolve()) for target in self.targets]

    def check_columns(self, columns: list[str]) -> None:
        """Refuses an input that lacks a column which a setting names.

        Raises:
            MappingError: names it.
        """
        if self.mapping is None:
            _check_raw(self.endpoint, columns)
            return
        self.mapping.check_columns(columns)
        if self.mark is not None:
            self.mark.check(self.mapping, columns)
        if self.route is not None:
            self.route.check_columns(columns)


def _check_raw(endpoint: Endpoint, columns: list[str]) -> None:
    needed = endpoint.identity or ("event", "properties")
    if missing := [name for name in needed if name not in columns]:
        raise MappingError(
            f"Without a mapping, records must be Mixpanel's {endpoint.unit}, and the input has no "
            f"{missing[0]!r}: its columns are {', '.join(map(repr, columns))}. Give a mapping."
        )


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a write goes: to one project, or to several with a route between them.

    Args:
        credentials, region, endpoint, quota, allow_http: of the one project.
        projects: several, by name; with `destination`.
        destination: a column, or a function of the record, that names the project.

    Raises:
        SettingError: if both or neither are given, or one is wrong.
    """

    credentials: Any = None
    region: str | None = None
    endpoint: str | None = None
    quota: Quota | str | None = None
    allow_http: bool = False
    projects: Any = None
    destination: Any = None

    @property
    def route(self) -> Route | None:
        """What routes records to projects; None with one project."""
        return None if self.destination is None else Route(self.destination)

    def targets(self, endpoint: Endpoint, lanes: int, limits: Limits | None) -> tuple[Target, ...]:
        """The projects, at this endpoint of the API."""
        lanes = plain(lanes)
        check_count("lanes", lanes)
        check_kind("limits", limits, Limits | None, "a Limits")
        return tuple(
            Target.of(name, project, endpoint, lanes, limits) for name, project in self._named()
        )

    def _named(self) -> list[tuple[str | None, Project]]:
        if self.projects is None and self.destination is None:
            only = Project(
                self.credentials, self.region, self.endpoint, self.quota, self.allow_http
            )
            return [(None, only)]
        if self.credentials is not None or self.region or self.endpoint or self.quota is not None:
            raise SettingError(
                "Give one project's credentials, region, endpoint and quota, or several projects "
                "with theirs in projects=, not both."
            )
        if not self.projects or self.destination is None:
            raise SettingError(
                "Several projects need both projects={name: Project(...)} and destination=, a "
                "column or a function that gives the name."
            )
        check_kind("projects", self.projects, Mapping, "a dict of names and their Projects")
        for name, project in self.projects.items():
            if not isinstance(name, str) or not name or not name.isprintable():
                raise SettingError(f"{name!r} is not a valid name for a project; use a short text.")
            if not isinstance(project, Project):
                raise SettingError(f"projects[{name!r}] is {kind_of(project)}, not a Project.")
        return list(self.projects.items())


def check_on_failure(given: Any) -> None:
    """Raises SettingError for what is not one of `OnFailure`."""
    if given not in ("dead_letter", "fail"):
        raise SettingError(f'on_failure is {given!r}; it is "dead_letter" or "fail".')


def check_mapping(mapping: Any, kind: type[Any]) -> None:
    """Refuses anything but a mapping of this kind, or None for raw events or updates.

    Raises:
        MappingError: names both kinds.
    """
    if mapping is not None and not isinstance(mapping, kind):
        raise MappingError(f"mapping is {kind_of(mapping)}; give {with_article(kind.__name__)}.")


def _check_only_changed(checkpoint: Checkpoint | None, mapping: Any) -> None:
    if checkpoint is None:
        raise SettingError(
            "only_changed needs a checkpoint, which remembers what was last sent for each profile."
        )
    for operation in ("add", "append", "remove"):
        if mapping is not None and mapping.columns_of(operation):
            raise MappingError(
                f"only_changed compares what each profile should be, and the mapping's {operation} "
                "changes a profile every time it is sent. Map these columns with set or union, or "
                "send them by a job of their own without only_changed."
            )


def _check_rate_limiter(given: Any, targets: int) -> None:
    if not callable(getattr(given, "allow", None)):
        raise SettingError(
            f"rate_limiter is {kind_of(given)}; give one of Beam's, such as "
            "apache_beam.io.components.rate_limiter.EnvoyRateLimiter."
        )
    if targets > 1:
        raise SettingError(
            "rate_limiter holds the quota of one project, and projects= has several. Write to each "
            "project with a sink of its own, or leave it out: each project's quota is kept."
        )


def _check_privacy(privacy: Any, mapping: Any, route: Route | None) -> None:
    check_kind("privacy", privacy, Privacy, "a Privacy")
    needed = {} if mapping is None else mapping.named_columns()
    for name in privacy.drop:
        if name in needed:
            raise MappingError(
                f"Privacy drops the column {name!r}, which the mapping needs for {needed[name]}. "
                "Hash it instead, or map another column."
            )
    column = None if route is None else route.column
    if column in (*privacy.drop, *privacy.hash):
        raise SettingError(
            f"Privacy drops or hashes the column {column!r}, which destination needs as it is. To "
            "keep it out of the events, exclude it in the mapping."
        )
