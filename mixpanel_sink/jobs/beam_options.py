"""Beam's options, and ours beside them.

Our options are those of the table (settings/options.py). All others are Beam's, which are handed
on as they are.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import argparse
import difflib
from collections.abc import Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from mixpanel_sink.errors import SettingError
from mixpanel_sink.jobs import runners
from mixpanel_sink.jobs.parse import Parser, add_arguments, settings_of, spelled
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.option import FLAG
from mixpanel_sink.settings.options import BY_NAME, COMMANDS, OPTIONS, Settings, options_of

_SHOWN = ("import", "replay", "stream")
"""Commands whose options are shown among those of the job. (Not --dry-run: Beam has an option of
that name, which does something else. Nor --notify: its URL may be a secret.)"""
_HIDDEN = ("dry_run", "notify")


class MixpanelOptions(PipelineOptions):
    """Our options as Beam knows them, so that runners show them with the job. Nothing is read from
    here: `Settings` are."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        shown = [each for each in OPTIONS if {*each.faces} & {*_SHOWN} and each.name not in _HIDDEN]
        for each in shown:
            default = False if each.kind is FLAG else each.kind.show(each.default)
            parser.add_argument(f"--{each.beside_beam}", default=default, help=each.help)


def parse(
    argv: Sequence[str], command: str, prog: str, about: str | None
) -> tuple[Settings, PipelineOptions]:
    """Our settings and Beam's options. Prints the help if that is asked for, and exits.

    Args:
        argv: without the program's name.
        command: whose options there are: "import", "replay" or "stream".
        prog: how the program is called, for its help.
        about: the program's docstring.

    Raises:
        SettingError: for a value that cannot be read, or an unknown option.
    """
    own = options_of(command)
    parser = Parser(
        prog=prog,
        usage="%(prog)s [--OPTION VALUE ...]",
        description=(about or "").partition("Any Beam option")[0],
        epilog="Any Beam option may follow: --runner, --project, --temp_location, ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser, own)
    known, rest = parser.parse_known_args(spelled(argv, own))
    settings = settings_of(known, own, command)
    check_others(rest, command)
    return settings, beam_options(settings, rest)


def beam_options(settings: Settings, beam: Sequence[str]) -> PipelineOptions:
    """Beam's options, with ours to show."""
    shown = {
        each.beside_beam: value
        for each in OPTIONS
        if {*each.faces} & {*_SHOWN}
        and each.name not in _HIDDEN
        and (value := settings.given().get(each.name)) is not None
    }
    return PipelineOptions(list(beam), **shown)


def check_others(rest: Sequence[str], command: str) -> None:
    """Refuses misspelt options, which Beam drops.

    Args:
        rest: the words that are not our options.
        command: whose options ours are.

    Raises:
        SettingError: for an unknown option. Where the job runs elsewhere, whose runner
            may know more than we do, only if it is close to one of ours.
    """
    for word in rest:  # Beam has a --dry-run, too, which does something else
        name = word[2:].partition("=")[0].replace("-", "_")
        if word.startswith("--") and name in BY_NAME and not BY_NAME[name].beam:
            having = " and ".join(each for each in BY_NAME[name].faces if each in COMMANDS)
            option = named("--", name)
            raise SettingError(f"{command} has no {option}; it is for {having}. Nothing was sent.")
    ours = [named("--", each.beside_beam) for each in options_of(command)]
    known = beam_parser()
    beams, others = known.parse_known_args(list(rest))
    for unknown in others:
        if not unknown.startswith("--"):
            continue
        name = unknown.partition("=")[0]
        close = difflib.get_close_matches(name.replace("_", "-"), ours, 1, 0.75)
        if close:
            raise SettingError(f"The option {name} is unknown; did you mean {close[0]}?")
        if runners.is_local(beams.runner):
            raise SettingError(f"The option {name} is unknown. --help shows all options.")


def beam_parser() -> argparse.ArgumentParser:
    """A parser of Beam's own options."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for other in PipelineOptions.__subclasses__():
        if other is not MixpanelOptions:
            other._add_argparse_args(known)
    return known
