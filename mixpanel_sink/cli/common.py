"""What the commands share."""

from __future__ import annotations

import shlex
import sys
from typing import Annotated, NoReturn

import typer

from mixpanel_sink.settings.options import Settings, options_of

CREDENTIALS_FROM_ENVIRONMENT = {
    "api_secret": "MIXPANEL_API_SECRET",
    "project_token": "MIXPANEL_PROJECT_TOKEN",
}
"""Used where no credentials are given, the first that is set."""
CREDENTIALS_BY_DEFAULT = {(k, f"env:{v}") for k, v in CREDENTIALS_FROM_ENVIRONMENT.items()}
"""What those amount to, as options."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def finish(code: int) -> None:
    """Ends the command with an exit code."""
    if code:
        raise typer.Exit(code)


def fail(message: str, code: int = 2) -> NoReturn:
    """Ends the command with one sentence."""
    print(f"Error: {message}", file=sys.stderr)
    raise typer.Exit(code)


def following(face: str, settings: Settings, mapping: object) -> str:
    """A command to run after this one, with the same input, as a shell takes it.

    Args:
        face: the following command.
        settings: of this one; those that the following one has as well are repeated.
        mapping: its file; None for none.
    """
    has = {each.name for each in options_of(face)} - {"input", "mapping"}
    words = [f"mixpanel-sink {face}"]
    words += [f"'{word}'" for word in settings.input]
    words += [f"--mapping {mapping}"] if mapping else []
    for name, value in settings.given().items():
        if name not in has or (name, value) in CREDENTIALS_BY_DEFAULT:
            continue
        option = f"--{name.replace('_', '-')}"
        words.append(option if value is True else f"{option} {shlex.quote(str(value))}")
    return " ".join(words)
