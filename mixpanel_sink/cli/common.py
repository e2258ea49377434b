"""What the commands share."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from mixpanel_sink.jobs.console import say_error
from mixpanel_sink.jobs.following import following

__all__ = ["AsJson", "fail", "finish", "following", "next_step", "show"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def finish(code: int) -> None:
    """Ends the command with an exit code."""
    if code:
        raise typer.Exit(code)


def fail(error: str | Exception, code: int = 2) -> NoReturn:
    """Ends the command with one sentence on stderr."""
    kind = "SettingError" if isinstance(error, str) else type(error).__name__
    say_error(str(error), kind)
    raise typer.Exit(code)


def show(markup: str) -> None:
    """Prints text with rich's markup, wrapped at the terminal's width."""
    from rich.console import Console

    Console(highlight=False).print(markup)


def next_step(text: str) -> None:
    """Prints, at the end of a command's output, the next command to run."""
    from rich.console import Console
    from rich.text import Text

    print()
    Console(highlight=False, soft_wrap=True).print(Text.assemble(("Next: ", "bold green"), text))
