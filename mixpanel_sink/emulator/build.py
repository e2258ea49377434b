"""From option values to what `server.serve` needs; every mistake is one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from mixpanel_sink.emulator import projects as projects_file
from mixpanel_sink.emulator.faults import FaultPlan, preset
from mixpanel_sink.emulator.options import DEFAULTS
from mixpanel_sink.emulator.quota import Quota
from mixpanel_sink.emulator.settings import Project, ServiceAccount, Settings, quotas

_KEYS = ("api_secret", "project_token", "service_account")
# Options that are settings under the same name and need no conversion.
_PLAIN = (
    *("variant", "dedupe", "dedupe_window", "failed_records_as", "max_batch", "max_body_bytes"),
    *("max_event_bytes", "latency_ms", "region", "strict_count", "refuse_identity"),
    *("export_shape", "keep_duplicates"),
)


@dataclass(frozen=True, slots=True)
class Launch:
    """The settings and fault plan of an emulator that is about to start."""

    settings: Settings
    faults: FaultPlan


def launch(given: Mapping[str, Any]) -> Launch:
    """Settings and faults from option values by name; a missing name takes its default.

    Raises:
        ValueError: options contradict each other or a value is wrong; one sentence.
    """
    values = {**DEFAULTS, **given}
    _check(values)
    several, accounts = _projects(values)
    settings = Settings(
        projects=several,
        service_accounts=accounts,
        export_quotas=quotas(values["export_quotas"]),
        **{name: values[name] for name in _PLAIN},
    )
    return Launch(settings, _faults(values))


def _check(values: Mapping[str, Any]) -> None:
    keys = [name for name in _KEYS if values[name]]
    if values["requests_per_hour"] is not None and values["quota"] is not None:
        raise ValueError("give --quota or --requests-per-hour, not both")
    if values["projects"] and keys:
        raise ValueError("give --projects or the keys of one project, not both")
    if not (keys or values["projects"]):
        raise ValueError(
            "no credentials: give --api-secret, --project-token or --service-account, or set "
            "MIXPANEL_API_SECRET"
        )
    if values["tls_certificate"] and not values["tls"]:
        raise ValueError("--tls-certificate needs --tls")


def _projects(
    values: Mapping[str, Any],
) -> tuple[tuple[Project, ...], tuple[ServiceAccount, ...]]:
    hourly = values["requests_per_hour"]
    if hourly is not None and hourly < 1:
        raise ValueError(f"--requests-per-hour must be at least 1, not {hourly}")
    limit = Quota.parse(values["quota"] or f"{hourly or 60}/hour")
    if values["projects"]:
        return projects_file.read(values["projects"], limit)
    number = values["project_id"] if values["project_id"] is not None else 1
    only = Project(
        number, values["project_token"], values["api_secret"], limit, values["identity_mode"]
    )
    return (only,), _accounts(values, number)


def _accounts(values: Mapping[str, Any], number: int) -> tuple[ServiceAccount, ...]:
    if not values["service_account"]:
        return ()
    user, separator, secret = values["service_account"].partition(":")
    if not (user and separator and secret):
        raise ValueError("--service-account must have the form USER:SECRET")
    if values["project_id"] is None:
        raise ValueError("--service-account needs --project-id")
    return (ServiceAccount(user, secret, frozenset((number,))),)


def _faults(values: Mapping[str, Any]) -> FaultPlan:
    path, seed, rate = (values[f"fault_{name}"] for name in ("plan", "seed", "rate"))
    if path is None:
        if seed is not None and rate is None:
            raise ValueError("--fault-seed needs --fault-rate")
        return FaultPlan(seed=seed, rate=rate or 0.0, kinds=preset(values["fault_kinds"]))
    if seed is not None or rate is not None:
        raise ValueError("give --fault-plan or --fault-seed and --fault-rate, not both")
    return _read_plan(path)


def _read_plan(path: Path) -> FaultPlan:
    try:
        return FaultPlan.parse(orjson.loads(path.read_bytes()))
    except OSError as error:
        raise ValueError(f"cannot read the fault plan {path}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the fault plan {path} is not valid JSON: {error}") from None
