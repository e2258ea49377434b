"""What the commands share: their options, and what is made of them.

A command of its own adds options in a further subclass of `PipelineOptions` (a subclass of
`MixpanelOptions` would hide them from Beam), or calls the `add_...` functions on a parser.
"""

from __future__ import annotations

import argparse
import difflib
import logging
import re
from collections.abc import Collection, Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from mixpanel_sink.api.endpoints import ENDPOINTS, Endpoint
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.files import open_file
from mixpanel_sink.read.source import Columns, columns_needed
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.columns import PositionId
from mixpanel_sink.settings.credentials import (
    ApiSecret,
    Credentials,
    ProjectToken,
    credentials_named,
)
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import near
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping
from mixpanel_sink.settings.project import Project, Target, projects_from_yaml
from mixpanel_sink.settings.quota import Quota, default_quota
from mixpanel_sink.write import WriteToMixpanel
from mixpanel_sink.write_profiles import WriteGroupsToMixpanel, WriteProfilesToMixpanel

_LOGGER = logging.getLogger(__name__)
AnyMapping = EventMapping | ProfileMapping | GroupMapping
Write = WriteToMixpanel | WriteProfilesToMixpanel | WriteGroupsToMixpanel
_MAPPINGS: dict[str, type[EventMapping | ProfileMapping | GroupMapping]] = {
    "import": EventMapping,
    "track": EventMapping,
    "engage": ProfileMapping,
    "groups": GroupMapping,
}
_CREDENTIALS = (
    "api_secret",
    "service_account",
    "service_account_secret",
    "project_id",
    "project_token",
)
_CLOUD_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+\d+")


class MixpanelOptions(PipelineOptions):
    """Options of every pipeline that sends."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("Mixpanel")
        add_input(group)
        add_credentials(group)
        add_destination(group)
        add_endpoint(group)
        add_projects(group)
        add_sending(group)
        add_safety(group)
        add_privacy(group)
        add_reporting(group)


def add_flag(parser: Any, name: str, about: str) -> None:
    """A switch that may also be given as --NAME=true, as a Flex Template's launcher does."""
    parser.add_argument(
        name, nargs="?", type=_flag, const=True, default=False, metavar="true|false", help=about
    )


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


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
    add_flag(parser, "--allow_http", "Permit http to another machine.")


def add_endpoint(parser: Any) -> None:
    """--endpoint_kind and --on_ambiguous."""
    parser.add_argument(
        "--endpoint_kind",
        choices=tuple(_MAPPINGS),
        default="import",
        help="Where to: import (default) and track take events, engage profiles of users, groups "
        "profiles of groups. The mapping is one for that.",
    )
    parser.add_argument(
        "--on_ambiguous",
        choices=("fail", "retry"),
        default="fail",
        help="For updates that would count twice when sent twice, after a request without a clear "
        "answer: make failed records of them (default), or send them again.",
    )


def add_projects(parser: Any) -> None:
    """--projects and --destination."""
    parser.add_argument(
        "--projects",
        help="Several projects instead of one: a YAML file of their names, credentials, regions "
        "and quotas (see configs/projects.yaml).",
    )
    parser.add_argument("--destination", help="The column that names a record's project.")


def add_sending(parser: Any) -> None:
    """--quota, --lanes and --failed_output."""
    parser.add_argument(
        "--quota",
        help="Such as 60/hour, 600/minute, page, reference or none. Default: 60/hour for /import, "
        "reference for the others.",
    )
    parser.add_argument(
        "--lanes", type=int, help="Keys that share the quota. Default: 1; 8 for profiles."
    )
    parser.add_argument("--failed_output", help="Prefix of the JSON lines files of failed records.")


def add_safety(parser: Any) -> None:
    """--checkpoint and --preflight."""
    parser.add_argument(
        "--checkpoint",
        help="Folder, local or gs://, that remembers accepted batches: the same command, run "
        "again after a failure, does not send them again.",
    )
    add_flag(
        parser,
        "--preflight",
        "Before any data is read, ask the endpoint with one empty request whether it takes the "
        "credentials. It counts against the quota. Without it the first batch goes alone.",
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


def names_of(given: str | None) -> list[str]:
    """Names or patterns with commas between."""
    return [name.strip() for name in (given or "").split(",") if name.strip()]


def privacy_of(own: Any) -> Privacy | None:
    """What must not leave the workers, if anything.

    Raises:
        SettingError: if the options contradict each other.
    """
    drop, hashed = names_of(own.drop_properties), names_of(own.hash_properties)
    if not drop and not hashed:
        if own.hash_key:
            raise SettingError("--hash_key goes with --hash_properties.")
        return None
    return Privacy(drop, hashed, own.hash_key)


def check_privacy(own: Any, columns: Collection[str]) -> None:
    """Refuses a misspelt column to drop or hash: what was to be hidden would be sent. Another that
    is not there may be meant for other files: that is said only.

    Args:
        own: the options.
        columns: of all files looked at.

    Raises:
        SettingError: names it.
    """
    for option in ("drop_properties", "hash_properties"):
        for name in names_of(getattr(own, option)):
            if name in columns:
                continue
            said = f"--{option} names {name!r}, which the input does not have."
            if meant := near(name, sorted(columns)):
                raise SettingError(f"{said}{meant} Nothing was sent.")
            _LOGGER.warning("%s", said)


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


_LOCAL_RUNNERS = ("DirectRunner", "FnApiRunner", "PrismRunner")


def check_names(arguments: Sequence[str], prog: str, about: str | None, *options: Any) -> None:
    """Prints the help if it is asked for, and refuses misspelt options, which Beam drops.

    Raises:
        SettingError: for an option that nobody knows. Where the job runs elsewhere, whose runner
            may know more than we do, only if it is close to one of ours.
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
    if any(argument.partition("=")[0] == "--dry_run" for argument in rest):
        raise SettingError(  # Beam has an option of that name, which does something else
            "This command has no --dry_run; pipelines.parquet_to_mixpanel and mixpanel-sink check "
            "have, for Parquet files. Nothing was sent."
        )
    beams, others = known.parse_known_args(rest)
    for unknown in others:
        if not unknown.startswith("--"):
            continue
        name = unknown.partition("=")[0]
        close = difflib.get_close_matches(name, names, 1, 0.75)
        if close:
            raise SettingError(f"The option {name} is unknown; did you mean {close[0]}?")
        if (beams.runner or "DirectRunner").rpartition(".")[2] in _LOCAL_RUNNERS:
            raise SettingError(f"The option {name} is unknown. --help lists those that there are.")


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
    return names_of(own.input)


def credentials_of(own: Any) -> Credentials:
    """The credentials that the options name.

    Raises:
        SettingError: for none, two, or half of one.
    """
    return credentials_named("--", *(getattr(own, name) for name in _CREDENTIALS))


def endpoint_of(own: Any) -> Endpoint:
    """Where the records go."""
    return ENDPOINTS[own.endpoint_kind]


def quota_of(own: Any) -> Quota:
    """What the project takes; without a limit where several have quotas of their own.

    Raises:
        SettingError: if it cannot be read.
    """
    if own.projects:
        return Quota.none()
    return Quota.parse(own.quota) if own.quota else default_quota(endpoint_of(own))


def projects_of(own: Any) -> dict[str, Project] | None:
    """The projects of --projects; None if there is one, by other options.

    Raises:
        SettingError: if the file cannot be read, or other options contradict it.
    """
    if bool(own.projects) != bool(own.destination):
        raise SettingError(
            "--projects and --destination, the column that names a project, go together."
        )
    if not own.projects:
        return None
    for name in (*_CREDENTIALS, "mixpanel_region", "endpoint", "quota", "allow_http"):
        if getattr(own, name):
            raise SettingError(f"--{name} is of one project; with --projects it is in the file.")
    return projects_from_yaml(_text_of(own.projects, "projects"))


def columns_of(own: Any, mapping: AnyMapping) -> Columns:
    """The columns that must be read."""
    return columns_needed(mapping, [own.destination] if own.destination else [])


def in_turns(options: PipelineOptions) -> bool:
    """Whether the runner hands a stage all its input as one bundle, so that files must be read one
    part at a time (`transform.ReadFiles`). Prism does."""
    return bool(options.view_as(StandardOptions).runner == "PrismRunner")


def write_of(
    own: Any,
    mapping: AnyMapping | None,
    checkpoint: Checkpoint | None,
    max_latency: float | None = None,
) -> Write:
    """The transform that the options describe; their secrets resolve if the workers are here.

    Raises:
        SettingError: what is wrong.
    """
    projects = projects_of(own)
    settings: dict[str, Any] = {
        "checkpoint": checkpoint,
        "privacy": privacy_of(own),
        "max_latency": max_latency,
    }
    if own.lanes is not None:
        settings["lanes"] = own.lanes
    if projects is not None:
        settings |= {"projects": projects, "destination": own.destination}
        every = [project.credentials for project in projects.values()]
    else:
        every = [credentials_of(own)]
        settings |= {
            "credentials": every[0],
            "region": own.mixpanel_region or None,
            "endpoint": own.endpoint or None,
            "quota": own.quota or None,
            "allow_http": own.allow_http,
        }
    if not runs_remotely(own):
        for credentials in every:
            credentials.resolve()  # a bad reference shows now
    given: Any = mapping
    if own.endpoint_kind == "engage":
        return WriteProfilesToMixpanel(given, on_ambiguous=own.on_ambiguous, **settings)
    if own.endpoint_kind == "groups":
        return WriteGroupsToMixpanel(given, on_ambiguous=own.on_ambiguous, **settings)
    return WriteToMixpanel(given, endpoint_kind=own.endpoint_kind, **settings)


def target_of(own: Any) -> Target:
    """Where a dry run would send; without credentials, with a stand-in.

    Raises:
        SettingError: what is wrong.
    """
    endpoint = endpoint_of(own)
    if endpoint.identity:
        raise SettingError("--dry_run shows events only; leave --endpoint_kind out, or say track.")
    if own.projects or own.destination:
        raise SettingError(
            "--dry_run looks at one project: leave --projects and --destination out. Which project "
            "a row goes to changes nothing in its event."
        )
    stand_in = ApiSecret("env:NONE") if endpoint.basic_auth else ProjectToken("env:NONE")
    given = own.api_secret or own.service_account or own.project_token
    credentials = credentials_of(own) if given else stand_in
    region, url = own.mixpanel_region or None, own.endpoint or None
    project = Project(credentials, region, url, own.quota or None, own.allow_http)
    lanes = 1 if own.lanes is None else own.lanes
    if lanes < 1:
        raise SettingError("lanes must be at least 1.")
    return Target.of(None, project, endpoint, lanes, None)


def runs_remotely(options: PipelineOptions) -> bool:
    """Whether the workers are elsewhere, and nobody waits for the job."""
    runner = (options.view_as(StandardOptions).runner or "DirectRunner").rpartition(".")[2]
    return runner in ("DataflowRunner", "TestDataflowRunner")


def mapping_of(path: str, kind: str = "import") -> Any:
    """The mapping in a YAML file, for an --endpoint_kind; ids of events are from position where
    it does not say.

    Raises:
        SettingError: if it cannot be read or is none.
    """
    mapping = _MAPPINGS[kind].from_yaml(_text_of(path, "mapping"))
    if isinstance(mapping, EventMapping) and mapping.insert_id is None:
        # Real tables hold rows that are equal and yet two events.
        object.__setattr__(mapping, "insert_id", PositionId())
    return mapping


def _text_of(path: str, option: str) -> str:
    try:
        with open_file(path) as file:
            return str(file.read().decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SettingError(
            f"The {option} file {path} cannot be read ({reason}). Check --{option}."
        ) from None
