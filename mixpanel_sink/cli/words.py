"""The words of a command line, sorted out before typer reads them: which options are ours, which
are Beam's, and which words are files."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.option import FLAG, Option, is_cloud_region
from mixpanel_sink.settings.options import COMMANDS, options_of

TAKE_BEAM = ("import", "replay")
"""Commands that hand on what they do not know to Beam, such as --runner=PrismRunner."""


def sorted_out(words: Sequence[str], also: Collection[str] = ()) -> tuple[list[str], list[str]]:
    """The words for typer, and Beam's.

    Our options may be written with hyphens or underscores; typer gets hyphens. An option of Beam's
    has the word after it as its value if Beam says that it takes one. What comes after -- is
    Beam's as it is.

    Args:
        words: the command and what follows it.
        also: names of options of this command that are not in the table.

    Raises:
        SettingError: for an unknown option without "=", where it is unclear whether the word
            after it is its value or a file.
    """
    named = next((list(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), None)
    if named is None:
        return list(words), []
    command, rest = " ".join(named), words[len(named) :]
    own = {each.name: each for each in options_of(command)}
    ours, beam = named, list[str]()
    place = 0
    while place < len(rest):
        word, following = rest[place], rest[place + 1 : place + 2]
        place += 1
        name, sign, value = word[2:].partition("=")
        plain = name.replace("-", "_").replace("mixpanel_region", "region")
        option = own.get(plain)
        if plain == "region" and is_cloud_region(value if sign else "".join(following)):
            option = None
        if word == "--" and command in TAKE_BEAM:
            return ours, [*beam, *rest[place:]]
        if not word.startswith("--"):
            ours.append(word)
        elif option is not None:
            ours += _spelled(option, sign, value)
        elif plain in also or command not in TAKE_BEAM:
            ours.append(f"--{name.replace('_', '-')}{sign}{value}" if name else word)
        elif sign or not _takes_value(name):
            beam.append(word)
        else:
            beam += [word, *following]
            place += 1
    return ours, beam


def _spelled(option: Option, sign: str, value: str) -> list[str]:
    """One of our options, as typer knows it."""
    if option.name == "input":
        return [value] if sign else []  # files need no option
    name = f"--{option.name.replace('_', '-')}"
    if option.kind is FLAG and sign:
        return [name] if option.kind.parse(value) else []
    if option.kind.alone is not None and option.kind is not FLAG and not sign:
        return [f"{name}={option.kind.alone}"]
    return [f"{name}{sign}{value}"]


def _takes_value(name: str) -> bool:
    """Whether an option of Beam's takes the word after it."""
    from mixpanel_sink.jobs.beam_options import beam_parser

    action = beam_parser()._option_string_actions.get(f"--{name}")
    if action is None:
        raise SettingError(
            f"The option --{name} is unknown. If a runner knows it, write --{name}=VALUE, or put "
            "it after -- at the end of the command."
        )
    return action.nargs not in (0, "?")
