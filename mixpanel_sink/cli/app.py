"""The program: its commands, and what a command line that cannot be understood comes to."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import NoReturn

import typer

from mixpanel_sink.cli import (
    check,
    demo,
    doctor,
    explain,
    export,
    imports,
    init,
    lookup_table,
    replay,
    status,
    streams,
    table,
    verify,
)
from mixpanel_sink.cli.help import Command, Group
from mixpanel_sink.cli.words import sorted_out
from mixpanel_sink.emulator import command
from mixpanel_sink.errors import is_of_writing, unwritten
from mixpanel_sink.jobs import launcher
from mixpanel_sink.jobs.console import say_error
from mixpanel_sink.settings.names import is_text
from mixpanel_sink.version import __version__

__all__ = ["leave", "make_app", "run"]

_HELP = """Load events into Mixpanel: each once, within the rate limit, every record accounted for.

Start with: mixpanel-sink init events.parquet"""


_MADE: dict[str, Callable[..., None]] = {
    "init": init.run,
    "check": check.run,
    "import": imports.run,
    "replay": replay.run,
    "verify": verify.run,
    "export": export.run,
    "lookup-table upload": lookup_table.upload,
    "lookup-table list": lookup_table.list_all,
    "doctor": doctor.run,
}
"""Commands that are made from the table of options, in the order of the help."""
_GROUPS = {"lookup-table": "Replace a lookup table with the rows of a file, or list the tables."}


def make_app(beam: Sequence[str] = ()) -> typer.Typer:
    """The command with all of its subcommands.

    Args:
        beam: options for Beam.
    """
    app = typer.Typer(
        name="mixpanel-sink",
        help=_HELP,
        no_args_is_help=True,
        rich_markup_mode="rich",
        cls=Group,
        add_completion=False,
        context_settings={"obj": list(beam), "help_option_names": ["--help", "-h"]},
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", help="Show the version.", callback=_show_version, is_eager=True
        ),
    ) -> None: ...

    groups = {name: typer.Typer(help=text, cls=Group) for name, text in _GROUPS.items()}
    for name, function in _MADE.items():
        group, _, own = name.rpartition(" ")
        groups.get(group, app).command(own, cls=Command)(table.command(name, function))
    for name, group_app in groups.items():
        app.add_typer(group_app, name=name, no_args_is_help=True)
    app.command("status", cls=Command)(status.run)
    app.command("emulator", cls=Command)(command.emulator)
    app.command("demo", cls=Command)(demo.run)
    app.command("explain", cls=Command)(explain.run)
    return app


def leave(code: int) -> NoReturn:
    """Ends the process; with 1 for success that could not be printed, such as to a full disk."""
    if error := streams.lost():
        say_error(unwritten("Standard output", error), "OutputError")
    launcher.leave(code or int(error is not None))


def run(args: Sequence[str]) -> int:
    """Runs a command line, without the program's name, and returns the exit code."""
    given = list(args)
    if odd := next((word for word in given if not is_text(word)), None):
        shown = odd.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        say_error(
            f"{shown!r} is not text in this machine's encoding, {sys.getfilesystemencoding()}. "
            "Rename the file, or set LC_ALL=C.UTF-8.",
            "SettingError",
        )
        return 2
    function = _MADE.get(" ".join(given[:2])) or _MADE.get("".join(given[:1]))
    try:
        words, beam = sorted_out(given, table.extras_of(function) if function else ())
    except ValueError as error:
        say_error(str(error), "SettingError")
        return 2
    try:
        result = make_app(beam)(words, prog_name="mixpanel-sink", standalone_mode=False)
    except typer.Abort:
        return 130
    except OSError as error:
        if isinstance(error, FileNotFoundError) and _is_folder_gone():
            say_error("The current folder was removed. Change to another one (cd).", "InputError")
            return 2
        if not is_of_writing(error):
            raise
        place = error.filename or f"a file, perhaps a temporary one in {tempfile.gettempdir()},"
        say_error(unwritten(str(place), error), "OutputError")
        return 1
    except typer.TyperException as error:
        if message := error.format_message():  # none where a group's help was shown
            say_error(_plain(message), "SettingError")
        return error.exit_code
    return result if isinstance(result, int) else 0


def _is_folder_gone() -> bool:
    """Whether the folder that the command was started in was removed."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _plain(message: str) -> str:
    """What is wrong with a command line, as we say it."""
    if found := re.match(r"No such option: (\S+)(?: \(Possible options: (.*)\))?", message):
        meant = f" Did you mean {found[2].replace(', ', ' or ')}?" if found[2] else ""
        return f"The option {found[1]} is unknown.{meant} --help shows all options."
    if found := re.match(r"Missing \w+ '(.*)'", message):
        return f"{found[1].partition(chr(39))[0]} is missing; --help shows all options."
    if message.startswith("No such command"):
        return f"{message} mixpanel-sink --help lists all commands."
    return message if message.endswith((".", "?")) else f"{message}."


def _show_version(asked: bool) -> None:
    if asked:
        print(f"mixpanel-sink {__version__}")
        raise typer.Exit()
