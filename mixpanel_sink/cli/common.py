"""What the commands share."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def finish(code: int) -> None:
    """Ends the command with an exit code."""
    if code:
        raise typer.Exit(code)


def fail(message: str, code: int = 2) -> NoReturn:
    """Ends the command with one sentence."""
    print(f"Error: {message}", file=sys.stderr)
    raise typer.Exit(code)


def quoted(words: tuple[str, ...]) -> str:
    """Files and globs as a shell takes them."""
    return " ".join(f"'{word}'" for word in words)
