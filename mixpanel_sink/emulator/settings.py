"""What an emulator is told: projects, variant, limits. Values, checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from mixpanel_sink.emulator.quota import Quota

Variant = Literal["page", "reference"]
FailedRecordsAs = Literal["objects", "strings"]

MIB = 1024 * 1024
DEFAULT_QUOTA = Quota(60, 3600.0)


@dataclass(frozen=True, slots=True)
class Project:
    """One Mixpanel project: its id, its keys and its /import quota (None: no limit)."""

    id: int = 1
    token: str | None = None
    api_secret: str | None = field(default=None, repr=False)
    quota: Quota | None = DEFAULT_QUOTA


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A service account and the projects that it may write to."""

    user: str
    secret: str = field(repr=False)
    project_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that shapes the emulator's answers.

    `variant` chooses between the product page's answers and rules and the API reference's.
    `dedupe` and `max_event_bytes` follow the variant unless they are given. `dedupe_window` is
    in seconds and used by the page's rule only. `max_body_bytes` counts uncompressed bytes.

    Raises:
        ValueError: a value is out of range; the text is one sentence for the user.
    """

    projects: tuple[Project, ...] = (Project(),)
    service_accounts: tuple[ServiceAccount, ...] = ()
    variant: Variant = "page"
    dedupe: Variant | None = None
    dedupe_window: float = 86400.0
    failed_records_as: FailedRecordsAs = "objects"
    max_batch: int = 2000
    max_body_bytes: int = 10 * MIB
    max_event_bytes: int | None = None
    latency_ms: float = 0.0
    region: str | None = None

    def __post_init__(self) -> None:
        _one_of("variant", self.variant, get_args(Variant))
        _one_of("dedupe", self.dedupe, (None, *get_args(Variant)))
        _one_of("failed_records_as", self.failed_records_as, get_args(FailedRecordsAs))
        _one_of("region", self.region, (None, "us", "eu", "in"))
        for name, least in (
            ("max_batch", 1),
            ("max_body_bytes", 1),
            ("max_event_bytes", 1),
            ("dedupe_window", 0),
            ("latency_ms", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")

    @property
    def dedupe_rule(self) -> Variant:
        """Which document's rule decides what a duplicate is."""
        return self.dedupe or self.variant

    @property
    def event_limit(self) -> int:
        """The largest event in bytes: 2 MiB on the page, 1 MiB in the reference."""
        return self.max_event_bytes or (2 * MIB if self.variant == "page" else MIB)

    def project_by_token(self, token: object) -> Project | None:
        """The project that this token belongs to; a project without a token takes any."""
        for project in self.projects:
            if project.token is not None and project.token == token:
                return project
        for project in self.projects:
            if project.token is None:
                return project
        return None

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """These settings with the named changes, as they come in over JSON.

        ``quota`` (a text such as ``10/second``, or ``none``) is set on every project.

        Raises:
            ValueError: a name is unknown, cannot change at run time, or its value is wrong.
        """
        changes = dict(changes)
        result = self
        if "quota" in changes:
            quota = Quota.parse(str(changes.pop("quota")))
            result = replace(
                result, projects=tuple(replace(p, quota=quota) for p in result.projects)
            )
        for name, value in changes.items():
            if name not in _CHANGEABLE:
                raise ValueError(
                    f"the setting {name!r} cannot be changed while the emulator runs: "
                    f"choose from {', '.join(sorted((*_CHANGEABLE, 'quota')))}"
                )
            kinds = _CHANGEABLE[name]
            if isinstance(value, bool) or not isinstance(value, kinds):
                raise ValueError(f"the setting {name!r} cannot be {value!r}")
        return replace(result, **changes)

    def public(self) -> dict[str, Any]:
        """The settings as JSON values, without any secret."""
        shown = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("projects", "service_accounts")
        }
        shown["dedupe"] = self.dedupe_rule
        shown["max_event_bytes"] = self.event_limit
        shown["projects"] = [
            {"id": p.id, "quota": str(p.quota) if p.quota else None} for p in self.projects
        ]
        return shown


_CHANGEABLE: dict[str, tuple[type, ...]] = {
    "variant": (str,),
    "dedupe": (str, type(None)),
    "dedupe_window": (int, float),
    "failed_records_as": (str,),
    "max_batch": (int,),
    "max_body_bytes": (int,),
    "max_event_bytes": (int, type(None)),
    "latency_ms": (int, float),
    "region": (str, type(None)),
}


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        names = ", ".join(str(c) for c in choices if c is not None)
        raise ValueError(f"{name} must be one of {names}, not {value!r}")
