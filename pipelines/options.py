"""What the commands share: their options, and what is made of them.

A command of its own adds options in a further subclass of `PipelineOptions` (a subclass of
`MixpanelOptions` would hide them from Beam), or calls the `add_...` functions on a parser.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from mixpanel_sink import (
    ApiSecret,
    Checkpoint,
    EventMapping,
    Limits,
    PositionId,
    Privacy,
    Project,
    SettingError,
    WriteToMixpanel,
)
from mixpanel_sink.credentials import Credentials, credentials_named
from mixpanel_sink.endpoint import IMPORT
from mixpanel_sink.parquet import open_file
from mixpanel_sink.project import Target

_CLOUD_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+\d+")


class MixpanelOptions(PipelineOptions):
    """Options of every pipeline that sends."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("Mixpanel")
        add_input(group)
        add_credentials(group)
        add_destination(group)
        add_sending(group)
        add_safety(group)
        add_privacy(group)
        add_reporting(group)


def add_input(parser: Any) -> None:
    """--input and --mapping."""
    parser.add_argument(
        "--input",
        help="Files or globs, local or gs://; several are separated by commas. Required.",
    )
    parser.add_argument("--mapping", help="The mapping, a YAML file (see configs/).")


def add_credentials(parser: Any) -> None:
    """What `credentials_of` reads."""
    parser.add_argument(
        "--api_secret",
        help="Reference to the project's API secret: env:NAME, file:PATH or "
        "gcpsecret:projects/P/secrets/S.",
    )
    parser.add_argument("--service_account", help="A service account's username.")
    parser.add_argument(
        "--service_account_secret", help="Reference to the service account's secret."
    )
    parser.add_argument("--project_id", help="The project's number, for a service account.")
    parser.add_argument(
        "--project_token",
        help="Reference to the project token. Alone it authenticates; beside another "
        "credential every event carries it.",
    )


def add_destination(parser: Any) -> None:
    """--mixpanel_region, --endpoint and --allow_http."""
    parser.add_argument(
        "--mixpanel_region",
        help="us (default), eu or in. --region does as well: us, eu and in are Mixpanel's, "
        "names such as europe-west1 go to Beam.",
    )
    parser.add_argument("--endpoint", help="Base URL instead of a region.")
    parser.add_argument("--allow_http", action="store_true", help="Permit http to another machine.")


def add_sending(parser: Any) -> None:
    """--quota, --lanes and --failed_output."""
    parser.add_argument(
        "--quota",
        default="60/hour",
        help="Such as 60/hour, 600/minute, page, reference or none. Default: %(default)s.",
    )
    parser.add_argument("--lanes", type=int, default=1, help="Keys that share the quota.")
    parser.add_argument("--failed_output", help="Prefix of the JSON lines files of failed records.")


def add_safety(parser: Any) -> None:
    """--checkpoint and --preflight."""
    parser.add_argument(
        "--checkpoint",
        help="Folder, local or gs://, that remembers accepted batches: the same command, run "
        "again after a failure, does not send them again.",
    )
    parser.add_argument(
        "--preflight",
        action="store_true",
        help="Before any data is read, ask the endpoint with one empty request whether it takes "
        "the credentials. It counts against the quota. Without it the first batch goes alone.",
    )


def add_privacy(parser: Any) -> None:
    """What `privacy_of` reads."""
    parser.add_argument(
        "--drop_properties", help="Columns that never leave the workers; with commas between."
    )
    parser.add_argument(
        "--hash_properties", help="Columns of which only a hash leaves the workers."
    )
    parser.add_argument("--hash_key", help="Reference to a secret that goes into those hashes.")


def add_reporting(parser: Any) -> None:
    """--progress and --report."""
    parser.add_argument(
        "--progress",
        choices=("auto", "bar", "lines", "none"),
        default="auto",
        help="While it runs on this machine: a bar, or lines. Default: a bar on a terminal.",
    )
    parser.add_argument(
        "--report", help="File for the run's report, such as run.html; run.json is put beside it."
    )


def privacy_of(own: Any) -> Privacy | None:
    """What must not leave the workers, if anything.

    Raises:
        SettingError: if the options contradict each other.
    """
    drop, hashed = (
        [name.strip() for name in (given or "").split(",") if name.strip()]
        for given in (own.drop_properties, own.hash_properties)
    )
    if not drop and not hashed:
        if own.hash_key:
            raise SettingError("--hash_key goes with --hash_properties.")
        return None
    return Privacy(drop, hashed, own.hash_key)


def pipeline_arguments(
    argv: Sequence[str], prog: str, about: str | None, *options: Any
) -> list[str]:
    """A command line for Beam: regions told apart, misspelt options refused, help printed.

    Args:
        argv: without the program's name.
        prog: how the command is called, for its help.
        about: the module's docstring.
        options: the command's own option classes, or others with `_add_argparse_args`.

    Raises:
        SettingError: for an option that nobody knows and that is close to one of ours.
    """
    arguments = own_region(argv)
    check_names(arguments, prog, about, *options)
    return arguments


def check_names(arguments: Sequence[str], prog: str, about: str | None, *options: Any) -> None:
    """Prints the help if it is asked for, and refuses misspelt options, which Beam drops.

    Raises:
        SettingError: for an option that nobody knows and that is close to one of ours.
    """
    own = argparse.ArgumentParser(
        prog=prog,
        description=(about or "").partition("Any Beam option")[0],
        epilog="Any Beam option may follow: --runner, --project, --temp_location, ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for each in options:
        each._add_argparse_args(own)
    _, rest = own.parse_known_args(list(arguments))
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for other in PipelineOptions.__subclasses__():
        other._add_argparse_args(known)
    names = [name for name in own._option_string_actions if name.startswith("--")]
    for unknown in known.parse_known_args(rest)[1]:
        near = difflib.get_close_matches(unknown.partition("=")[0], names, 1, 0.75)
        if unknown.startswith("--") and near:
            raise SettingError(
                f"The option {unknown.partition('=')[0]} is unknown; did you mean {near[0]}?"
            )


def own_region(argv: Sequence[str]) -> list[str]:
    """Tells Mixpanel's --region from Google Cloud's, which Beam's own option has the name of."""
    arguments: list[str] = []
    for argument in argv:
        name, _, value = argument.partition("=")
        if name == "--region" and value and not _CLOUD_REGION.fullmatch(value):
            argument = f"--mixpanel_region={value}"
        elif arguments and arguments[-1] == "--region" and not _CLOUD_REGION.fullmatch(argument):
            arguments[-1] = "--mixpanel_region"
        arguments.append(argument)
    return arguments


def require(own: Any, *names: str) -> None:
    """Refuses a command without one of these options.

    Raises:
        SettingError: names it.
    """
    for name in names:
        if not getattr(own, name):
            raise SettingError(f"--{name} is missing; --help shows all options.")


def patterns_of(own: Any) -> list[str]:
    """The paths and globs of --input."""
    return [pattern.strip() for pattern in own.input.split(",") if pattern.strip()]


def credentials_of(own: Any) -> Credentials:
    """The credentials that the options name.

    Raises:
        SettingError: for none, two, or half of one.
    """
    return credentials_named(
        "--",
        own.api_secret,
        own.service_account,
        own.service_account_secret,
        own.project_id,
        own.project_token,
    )


def write_of(
    own: Any,
    mapping: EventMapping | None,
    checkpoint: Checkpoint | None,
    max_latency: float | None = None,
) -> WriteToMixpanel:
    """The transform that the options describe; their secrets resolve if the workers are here.

    Raises:
        SettingError: what is wrong.
    """
    credentials = credentials_of(own)
    if not runs_remotely(own):
        credentials.resolve()  # a bad reference shows now
    return WriteToMixpanel(
        mapping,
        credentials,
        region=own.mixpanel_region or None,
        endpoint=own.endpoint or None,
        quota=own.quota,
        lanes=own.lanes,
        allow_http=own.allow_http,
        checkpoint=checkpoint,
        privacy=privacy_of(own),
        max_latency=max_latency,
    )


def target_of(own: Any) -> Target:
    """Where a dry run would send; without credentials, /import with an API secret.

    Raises:
        SettingError: what is wrong.
    """
    given = own.api_secret or own.service_account or own.project_token
    credentials = credentials_of(own) if given else ApiSecret("env:NONE")
    region, endpoint = own.mixpanel_region or None, own.endpoint or None
    project = Project(credentials, region, endpoint, own.quota, own.allow_http)
    if own.lanes < 1:
        raise SettingError("lanes must be at least 1.")
    return Target.of(None, project, IMPORT, own.lanes, Limits())


def runs_remotely(options: PipelineOptions) -> bool:
    """Whether the workers are elsewhere, and nobody waits for the job."""
    runner = (options.view_as(StandardOptions).runner or "DirectRunner").rpartition(".")[2]
    return runner in ("DataflowRunner", "TestDataflowRunner")


def mapping_of(path: str) -> EventMapping:
    """The mapping in a YAML file; ids are from position where it does not say.

    Raises:
        SettingError: if it cannot be read or is none.
    """
    try:
        with open_file(path) as file:
            text = file.read().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SettingError(
            f"The mapping {path} cannot be read ({reason}). Check --mapping."
        ) from None
    mapping = EventMapping.from_yaml(text)
    if mapping.insert_id is None:
        # Real tables hold rows that are equal and yet two events.
        object.__setattr__(mapping, "insert_id", PositionId())
    return mapping
