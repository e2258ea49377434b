"""A command line into `Settings`, by the table of options (settings/options.py). No Beam here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.option import Option, is_cloud_region
from mixpanel_sink.settings.options import Settings, options_of


def parse_all(argv: Sequence[str], command: str, prog: str, about: str | None) -> Settings:
    """Our settings, where Beam's options have no place; else as `parse`."""
    own = options_of(command)
    parser = Parser(
        prog=prog,
        usage="%(prog)s [--OPTION VALUE ...]",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser, own)
    return settings_of(parser.parse_args(spelled(argv, own)), own, command)


class Parser(argparse.ArgumentParser):
    """Raises a SettingError, as everything else here does."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises a SettingError."""
        raise SettingError(f"{message[0].upper()}{message[1:]}; --help shows all options.")


def add_arguments(parser: argparse.ArgumentParser, options: Sequence[Option]) -> None:
    """Adds options, in their groups. Their values stay text."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for each in options:
        if each.group not in groups:
            groups[each.group] = parser.add_argument_group(each.group)
        alone = each.kind.alone
        groups[each.group].add_argument(
            named("--", each.beside_beam),
            metavar=each.metavar or "true|false",
            nargs=None if alone is None else "?",
            const=alone,
            help=each.help.replace("%", "%%"),
        )


def settings_of(known: argparse.Namespace, options: Sequence[Option], face: str) -> Settings:
    """What `add_arguments` made of the words, as values.

    Raises:
        SettingError: for a value that cannot be read.
    """
    given = vars(known)
    return Settings.of({each.name: given[each.beside_beam] for each in options}, face)


def spelled(argv: Sequence[str], options: Sequence[Option]) -> list[str]:
    """The same words with our options as the parser knows them: with hyphens, and Mixpanel's
    --region told from Google Cloud's, for which Beam's own option has that name."""
    words: list[str] = []
    names = {each.name: each.beside_beam for each in options}
    for position, word in enumerate(argv):
        if not word.startswith("--"):
            words.append(word)
            continue
        name, sign, value = word[2:].partition("=")
        plain = name.replace("-", "_")
        name = plain if plain in (*names, *names.values()) else name
        if name in names and names[name] != name:
            given = value if sign else "".join(argv[position + 1 : position + 2])
            if given and not is_cloud_region(given):
                name = names[name]
        name = name.replace("_", "-") if name in {*names, *names.values()} else name
        words.append(f"--{name}{sign}{value}")
    return words
