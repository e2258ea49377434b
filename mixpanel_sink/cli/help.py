"""What --help shows: options in their groups, in two columns, readable at 80 columns."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

import typer
import typer.core

_LEFT = 32
"""Where the second column begins."""
_WIDEST = 100
_OTHER = "Other"
_METAVARS = {"int": "N", "float": "N", "Path": "FILE"}

GROUPS = {
    "Import": ("init", "check", "import", "replay", "verify"),
    "Project": ("export", "lookup-table"),
    "Look up": ("status", "doctor", "explain"),
    "Try and test": ("demo", "emulator"),
}
"""The commands, as the help shows them."""

Row = tuple[str, str]


class Command(typer.core.TyperCommand):
    """A command that prints its help in our layout."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the help."""
        words = [str(each.metavar) for each in self.params if _is_argument(each)]
        usage = " ".join([ctx.command_path, *words])
        groups: dict[str, list[Row]] = {}
        each: Any
        for each in self.params:
            if not getattr(each, "hidden", False):
                group = getattr(each, "rich_help_panel", None) or _OTHER
                group = "Input" if _is_argument(each) else group
                groups.setdefault(group, []).append((_left(each), _right(each)))
        groups.setdefault(_OTHER, []).append(("--help, -h", "Show this message."))
        last = groups.pop(_OTHER)
        title = _OTHER if groups else "Options"
        show(f"{usage} [OPTIONS]", self.help or "", {**groups, title: last})


class Group(typer.core.TyperGroup):
    """The program itself, or several of its commands, with our help. It says where Ctrl-C has ended
    one that does not say so by itself."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from mixpanel_sink.jobs.command import interrupted  # not for --help, which is quick

            raise typer.Exit(interrupted()) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Prints the help."""
        listed = GROUPS if ctx.parent is None else {"Commands": tuple(self.commands)}
        groups = {
            title: [(name, _first_sentence(self.commands[name].help or "")) for name in names]
            for title, names in listed.items()
        }
        params: list[Any] = self.params
        options = [(_left(each), each.help or "") for each in params]
        options.append(("--help, -h", "Show this message, or with a command its options."))
        show(f"{ctx.command_path} COMMAND", self.help or "", {**groups, _OTHER: options}, 16)


def show(usage: str, about: str, groups: dict[str, list[Row]], indent: int = _LEFT) -> None:
    """Prints a help page, whose second column begins there."""
    from rich.console import Console
    from rich.text import Text

    width = min(shutil.get_terminal_size().columns, _WIDEST)
    console = Console(width=width, highlight=False, soft_wrap=True)
    console.print(Text.assemble(("Usage: ", "bold yellow"), usage))
    for paragraph in about.strip().split("\n\n"):
        console.print()
        for line in _paragraph(paragraph, width):
            console.print(Text(line))
    for title, rows in groups.items():
        console.print(Text(f"\n{title}", "bold yellow"))
        for left, right in rows:
            for first, rest in _row(left, right, width, indent):
                console.print(Text.assemble((first, "cyan"), rest))


def _row(left: str, right: str, width: int, indent: int) -> Iterator[Row]:
    """The lines of an option: its left column, and what stands beside it."""
    lines = textwrap.wrap(right, max(20, width - indent)) or [""]
    head = f"  {left}"
    if len(head) + 2 > indent:
        yield head, ""
        head = ""
    for line in lines:
        yield head.ljust(indent), line
        head = ""


def _paragraph(text: str, width: int) -> list[str]:
    text = " ".join(text.split())
    return [text] if text.startswith("Example:") else textwrap.wrap(text, width)


def _left(each: Any) -> str:
    if _is_argument(each):
        return str(each.metavar)
    long = next(name for name in each.opts if name.startswith("--"))
    short = "".join(f"{name}, " for name in each.opts if not name.startswith("--"))
    no = "".join(f", {name}" for name in each.secondary_opts)
    metavar = "" if each.is_flag else f" {each.metavar or _metavar(each)}"
    return f"{short}{long}{no}{metavar}"


def _right(each: Any) -> str:
    """The help, with the default and the environment variable that gives the value."""
    more = []
    if (
        not _is_argument(each)
        and each.show_default
        and not each.is_flag
        and each.default not in (None, "")
    ):
        more.append(f"default: {each.default}")
    if each.envvar:
        more.append(f"or {each.envvar} in the environment")
    return f"{each.help or ''}{' (' + '; '.join(more) + ')' if more else ''}"


def _metavar(each: Any) -> str:
    kind = str(each.type_descriptor.annotation)
    return next((word for name, word in _METAVARS.items() if name in kind), "TEXT")


def _is_argument(each: Any) -> bool:
    return each.param_type_name == "argument"


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".") + "."
