"""What the subcommands share: their options, and how they call the pipelines."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer

PASS_ON: dict[str, Any] = {"allow_extra_args": True, "ignore_unknown_options": True}
"""For commands that hand what they do not know to Beam, such as --runner=PrismRunner."""

Files = Annotated[
    list[str], typer.Argument(help="Parquet files or globs, local or gs://.", show_default=False)
]
Mapping_ = Annotated[
    str, typer.Option("--mapping", "-m", help="The mapping, a YAML file (see `init`).")
]
ApiSecret = Annotated[
    str | None,
    typer.Option(
        help="Where the API secret is: env:NAME, file:PATH or gcpsecret:… "
        "Default: env:MIXPANEL_API_SECRET, if that is set."
    ),
]
ServiceAccount = Annotated[
    str | None, typer.Option(help="A service account's username, instead of the API secret.")
]
ServiceAccountSecret = Annotated[
    str | None, typer.Option(help="Where the service account's secret is: env:NAME, …")
]
ProjectId = Annotated[str | None, typer.Option(help="The project's number; for service accounts.")]
ProjectToken = Annotated[str | None, typer.Option(help="Where the project token is: env:NAME, …")]
Region = Annotated[
    str | None, typer.Option(help="us, eu or in: where the project's data lives. Default: us.")
]
Endpoint = Annotated[
    str | None, typer.Option(help="A URL instead of a region, such as the emulator's.")
]
Quota = Annotated[
    str | None, typer.Option(help="Such as 60/hour (default), 600/minute, reference or none.")
]
FailedOutput = Annotated[
    str | None, typer.Option(help="Prefix of the JSON lines files of failed records.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def arguments(given: Mapping[str, Any]) -> list[str]:
    """Options of a pipeline from those of the command: names with underscores, no Nones."""
    made = []
    for name, value in given.items():
        if value is True:
            made.append(f"--{name}")
        elif value not in (None, False):
            made.append(f"--{name}={value}")
    return made


def credentials(
    api_secret: str | None,
    service_account: str | None,
    service_account_secret: str | None,
    project_id: str | None,
    project_token: str | None,
) -> dict[str, str | None]:
    """Options that say who we are; the usual environment variable stands in for none."""
    if not (api_secret or service_account or project_token):
        if os.environ.get("MIXPANEL_API_SECRET"):
            api_secret = "env:MIXPANEL_API_SECRET"
        elif os.environ.get("MIXPANEL_PROJECT_TOKEN"):
            project_token = "env:MIXPANEL_PROJECT_TOKEN"
    return {
        "api_secret": api_secret,
        "service_account": service_account,
        "service_account_secret": service_account_secret,
        "project_id": project_id,
        "project_token": project_token,
    }


def files_option(files: Iterable[str]) -> str:
    """Several files as the pipelines take them."""
    return ",".join(files)


def finish(code: int) -> None:
    """Ends the command with a pipeline's exit code."""
    if code:
        raise typer.Exit(code)


def fail(message: str, code: int = 2) -> NoReturn:
    """Ends the command with one sentence."""
    print(f"Error: {message}", file=sys.stderr)
    raise typer.Exit(code)


def split(given: Sequence[str]) -> tuple[list[str], list[str]]:
    """Files, and options that the command does not know, which typer lists among them: Beam's.

    An option without "=" has the word after it as its value, unless that is an option too.
    """
    files: list[str] = []
    options: list[str] = []
    for word in given:
        value_of_last = bool(options) and "=" not in options[-1] and options[-1][:2] == "--"
        if word.startswith("--") or (value_of_last and given[given.index(word) - 1] == options[-1]):
            options.append(word)
        else:
            files.append(word)
    return files, options
