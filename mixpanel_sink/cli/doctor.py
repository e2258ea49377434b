"""`mixpanel-sink doctor`: what on this machine may keep an import from working."""

from __future__ import annotations

import dataclasses
import email.utils
import importlib.metadata
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from mixpanel_sink.api.hosts import REGIONS, Destination
from mixpanel_sink.cli import common
from mixpanel_sink.errors import DestinationError, MixpanelSinkError, SettingError
from mixpanel_sink.settings.options import Settings

_PACKAGES = ("mixpanel-sink", "apache-beam", "pyarrow", "polars", "requests", "orjson", "isal")
_SKEW_SECONDS = 120


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at: "ok", "warning" or "problem"."""

    what: str
    state: Literal["ok", "warning", "problem"]
    said: str


def run(
    settings: Settings,
    offline: Annotated[bool, typer.Option("--offline", help="Do not try the network.")] = False,
    as_json: common.AsJson = False,
) -> None:
    """Check versions, credentials, network and clock; exit code 1 if something is wrong.

    It sends no credentials: `mixpanel-sink import --preflight` tries them.

    Example: mixpanel-sink doctor --region eu
    """
    findings = [*versions(), *runners(), *secrets(settings)]
    try:
        destination = Destination.of(settings.region, settings.endpoint)
    except SettingError as error:
        common.fail(error)
    if not offline:
        findings += network(destination)
    if as_json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        from rich.console import Console
        from rich.table import Table

        marks = {"ok": "[green]ok[/]", "warning": "[yellow]look[/]", "problem": "[red]bad[/]"}
        table = Table(box=None, show_header=False)
        for finding in findings:
            table.add_row(marks[finding.state], finding.what, finding.said)
        Console(soft_wrap=True).print(table)
        bad = [finding.what for finding in findings if finding.state == "problem"]
        common.next_step(
            f"fix {', '.join(bad)}, then run mixpanel-sink doctor again"
            if bad
            else "mixpanel-sink init events.parquet"
        )
    common.finish(int(any(finding.state == "problem" for finding in findings)))


def versions() -> Iterator[Finding]:
    """Python and the packages that matter."""
    ok = (3, 11) <= sys.version_info[:2] <= (3, 14)
    yield Finding("Python", "ok" if ok else "problem", platform.python_version())
    for name in _PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "problem", "is missing: pip install mixpanel-sink")


def runners() -> Iterator[Finding]:
    """Checks of the local runners."""
    yield Finding("cores", "ok", str(os.cpu_count()))
    prism = shutil.which("prism") or shutil.which("prism", path=os.path.join(sys.prefix, "bin"))
    said = prism or "is not installed; only --runner=PrismRunner needs it"
    yield Finding("Prism", "ok", said)


def secrets(settings: Settings) -> Iterator[Finding]:
    """Whether the references resolve here; the secrets themselves are not shown."""
    from mixpanel_sink.secrets import resolve

    named = {
        name: getattr(settings, name)
        for name in ("service_account_secret", "project_token", "api_secret")
    }
    if not any(named.values()):
        yield Finding(
            "credentials",
            "warning",
            "none are given, and MIXPANEL_API_SECRET is not set; --api-secret env:NAME names one",
        )
    for name, reference in named.items():
        if reference is None:
            continue
        try:
            secret = resolve(reference, f"--{name.replace('_', '-')}")
            yield Finding(name, "ok", f"{reference} resolves, to {len(secret)} characters")
        except MixpanelSinkError as error:
            yield Finding(name, "problem", str(error))


def network(destination: Destination) -> Iterator[Finding]:
    """Whether the host answers, and whether its clock and ours agree."""
    import requests

    from mixpanel_sink.api.proxy import proxies_for

    what = destination.host
    region = next((name for name, url in REGIONS.items() if url == destination.url), None)
    if region is not None:
        what += f" (region {region})"
    try:
        proxies = proxies_for(destination.url)
    except DestinationError as error:
        yield Finding(what, "problem", str(error))
        return
    try:
        started = time.time()
        answer = requests.head(destination.url, timeout=10, allow_redirects=False, proxies=proxies)
    except requests.exceptions.SSLError:
        yield Finding(
            what, "problem", "TLS failed: a proxy or firewall may stand between, with a "
            "certificate that this machine does not trust (REQUESTS_CA_BUNDLE names its own)",
        )  # fmt: skip
        return
    except requests.RequestException as error:
        reason = type(error).__name__
        yield Finding(
            what, "problem", f"cannot be reached ({reason}): check DNS, firewall and proxy"
        )
        return
    yield Finding(what, "ok", f"answers, in {1000 * (time.time() - started):.0f} ms")
    if (date := email.utils.parsedate_tz(answer.headers.get("Date", ""))) is not None:
        skew = started - email.utils.mktime_tz(date)
        said = f"differs from {destination.host}'s by {skew:+.0f} s"
        if abs(skew) > _SKEW_SECONDS:
            yield Finding("clock", "warning", f"{said}; set it, or events may lie in the future")
        else:
            yield Finding("clock", "ok", said)
