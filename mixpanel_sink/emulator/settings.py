"""What an emulator is told: projects, variant, limits. Values, checked when they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args

from mixpanel_sink.emulator.quota import Quota

Variant = Literal["page", "reference"]
FailedRecordsAs = Literal["objects", "strings"]
IdentityMode = Literal["simplified", "original", "legacy"]
Region = Literal["us", "eu", "in"]
StrictCount = Literal["num_good_events", "num_records_imported"]
ExportShape = Literal["mixpanel", "sent"]

MIB = 1024 * 1024
DEFAULT_QUOTA = Quota(60, 3600.0)
EXPORT_QUOTAS = (Quota(60, 3600.0), Quota(3, 1.0))


def _one_of(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        names = ", ".join(str(c) for c in choices if c is not None)
        raise ValueError(f"{name} must be one of {names}, not {value!r}")


@dataclass(frozen=True, slots=True)
class Project:
    """One Mixpanel project: its id, its keys and its /import quota (None: no limit).

    `region` is where its data lives: an emulator of another region does not know the project.
    None: any. `identity_mode` says which identity events have an effect.
    """

    id: int = 1
    token: str | None = field(default=None, repr=False)
    api_secret: str | None = field(default=None, repr=False)
    quota: Quota | None = DEFAULT_QUOTA
    identity_mode: IdentityMode = "simplified"
    region: Region | None = None

    def __post_init__(self) -> None:
        _one_of("identity_mode", self.identity_mode, get_args(IdentityMode))
        _one_of("region", self.region, (None, *get_args(Region)))

    def public(self) -> dict[str, Any]:
        """The project as JSON values, without its keys."""
        return {
            "id": self.id,
            "quota": str(self.quota) if self.quota else None,
            "identity_mode": self.identity_mode,
            "region": self.region,
        }


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
    `strict_count` names the count in strict answers of /engage, /groups and /track, where
    documents differ. With `refuse_identity`, identity events that have no effect in the
    project's mode are refused; Mixpanel takes and ignores them. `region` None serves projects
    of every region. `export_shape` says whether the raw export adds and leaves out what
    Mixpanel does; `export_quotas` hold for the raw export. `keep_duplicates` keeps duplicates
    for the raw export, which is not deduplicated.

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
    region: Region | None = None
    strict_count: StrictCount = "num_good_events"
    refuse_identity: bool = False
    export_shape: ExportShape = "mixpanel"
    export_quotas: tuple[Quota, ...] = EXPORT_QUOTAS
    keep_duplicates: bool = True

    def __post_init__(self) -> None:
        _one_of("variant", self.variant, get_args(Variant))
        _one_of("dedupe", self.dedupe, (None, *get_args(Variant)))
        _one_of("failed_records_as", self.failed_records_as, get_args(FailedRecordsAs))
        _one_of("region", self.region, (None, *get_args(Region)))
        _one_of("strict_count", self.strict_count, get_args(StrictCount))
        _one_of("export_shape", self.export_shape, get_args(ExportShape))
        _all_different(self.projects)
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

    @property
    def served(self) -> tuple[Project, ...]:
        """The projects whose data lives in this emulator's region."""
        if self.region is None:
            return self.projects
        return tuple(p for p in self.projects if p.region in (None, self.region))

    def tokens(self) -> "Tokens":
        """The lookup from a project token to its project."""
        return Tokens(self.served)

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
            result = result._each_project(quota=quota)
        if "identity_mode" in changes:
            result = result._each_project(identity_mode=changes.pop("identity_mode"))
        if "projects" in changes:
            result = result._changed_projects(changes.pop("projects"))
        if "export_quotas" in changes:
            changes["export_quotas"] = quotas(changes.pop("export_quotas"))
        for name, value in changes.items():
            if name not in _CHANGEABLE:
                choices = sorted((*_CHANGEABLE, "quota", "identity_mode", "projects"))
                raise ValueError(
                    f"the setting {name!r} cannot be changed while the emulator runs: "
                    f"choose from {', '.join(choices)}"
                )
            kinds = _CHANGEABLE[name]
            wrong_bool = isinstance(value, bool) and bool not in kinds
            if wrong_bool or not isinstance(value, kinds):
                raise ValueError(f"the setting {name!r} cannot be {value!r}")
        return replace(result, **changes)

    def _each_project(self, **changes: Any) -> "Settings":
        return replace(self, projects=tuple(replace(p, **changes) for p in self.projects))

    def _changed_projects(self, changes: Any) -> "Settings":
        """``[{"id": 2, "quota": "5/second", "identity_mode": "original"}]``: known ids only."""
        by_id = {project.id: project for project in self.projects}
        if not isinstance(changes, list) or not changes:
            raise ValueError("the setting 'projects' must be a list of objects with an id")
        for change in changes:
            known = by_id.get(change.get("id", -1)) if isinstance(change, dict) else None
            if known is None:
                raise ValueError(
                    f"the setting 'projects' names no project of this emulator: {change!r}"
                )
            allowed = {"id", "quota", "identity_mode", "region"}
            if not change.keys() <= allowed:
                raise ValueError(
                    f"of a project {', '.join(sorted(allowed))} can be named, not {sorted(change)}"
                )
            given = dict(change)
            if "quota" in given:
                given["quota"] = Quota.parse(str(given["quota"]))
            by_id[known.id] = replace(known, **given)
        return replace(self, projects=tuple(by_id.values()))

    def public(self) -> dict[str, Any]:
        """The settings as JSON values, without any secret."""
        shown = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in ("projects", "service_accounts", "export_quotas")
        }
        shown["dedupe"] = self.dedupe_rule
        shown["max_event_bytes"] = self.event_limit
        shown["export_quotas"] = [str(quota) for quota in self.export_quotas]
        shown["projects"] = [project.public() for project in self.projects]
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
    "strict_count": (str,),
    "refuse_identity": (bool,),
    "export_shape": (str,),
    "export_quotas": (tuple,),
    "keep_duplicates": (bool,),
}


class Tokens:
    """From a project token to its project; a project without a token takes any."""

    def __init__(self, projects: tuple[Project, ...]) -> None:
        self._by_token = {p.token: p for p in reversed(projects) if p.token is not None}
        self._any = next((p for p in projects if p.token is None), None)

    def get(self, token: object) -> Project | None:
        """The project that this token belongs to, or None; only texts are tokens."""
        if not isinstance(token, str):
            return None
        return self._by_token.get(token) or self._any


def quotas(value: Any) -> tuple[Quota, ...]:
    """Quotas from ``"60/hour, 3/second"``, from a list of such texts, or from ``none``.

    Raises:
        ValueError: one of them is not understood.
    """
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError(f"quotas must be texts such as 60/hour, not {value!r}")
    found = (Quota.parse(str(part)) for part in parts)
    return tuple(quota for quota in found if quota is not None)


def _all_different(projects: tuple[Project, ...]) -> None:
    for name in ("id", "token", "api_secret"):
        values = [v for p in projects if (v := getattr(p, name)) is not None]
        if len(set(values)) != len(values):
            raise ValueError(f"two projects have the same {name}")
