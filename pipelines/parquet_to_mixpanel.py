"""Sends Parquet files to Mixpanel.

    python -m pipelines.parquet_to_mixpanel \\
        --input 'gs://bucket/events/*.parquet' \\
        --mapping configs/events.yaml \\
        --api_secret env:MIXPANEL_API_SECRET \\
        --failed_output gs://bucket/failed/run1

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if
every record read was accepted or is in the failed output; 1 if the job failed or a file
could not be read; 2 if a setting is wrong, before anything was sent.
"""

from __future__ import annotations

import pipelines.startup  # noqa: F401  # isort: skip
import argparse
import difflib
import logging
import re
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from mixpanel_sink import (
    ApiSecret,
    EventMapping,
    InputError,
    MixpanelSinkError,
    PositionId,
    ProjectToken,
    ReadParquetTables,
    ServiceAccount,
    SettingError,
    WriteToMixpanel,
)
from mixpanel_sink.accounting import CheckAccounting
from mixpanel_sink.credentials import Credentials
from mixpanel_sink.metrics import read_counters
from mixpanel_sink.parquet import match_files, open_file, read_footer
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.write import WriteResult
from pipelines.running import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_SETTING,
    job_error,
    print_accounting,
    run_in_this_process,
)

_FOOTERS_CHECKED = 20
"""Files whose footer is read at launch, to check the mapping before any data is read."""


_CLOUD_REGION = re.compile(r"[a-z]+(?:-[a-z]+)+\d+")


class ParquetToMixpanelOptions(PipelineOptions):
    """The pipeline's own options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        group = parser.add_argument_group("Parquet to Mixpanel")
        group.add_argument(
            "--input",
            help="Files or globs, local or gs://; several are separated by commas. Required.",
        )
        group.add_argument("--mapping", help="The mapping, a YAML file (see configs/). Required.")
        group.add_argument(
            "--api_secret",
            help="Reference to the project's API secret: env:NAME, file:PATH or "
            "gcpsecret:projects/P/secrets/S.",
        )
        group.add_argument("--service_account", help="A service account's username.")
        group.add_argument(
            "--service_account_secret", help="Reference to the service account's secret."
        )
        group.add_argument("--project_id", help="The project's number, for a service account.")
        group.add_argument(
            "--project_token",
            help="Reference to the project token. Alone it authenticates; beside another "
            "credential every event carries it.",
        )
        group.add_argument(
            "--mixpanel_region",
            help="us (default), eu or in. --region does as well: us, eu and in are Mixpanel's, "
            "names such as europe-west1 go to Beam.",
        )
        group.add_argument("--endpoint", help="Base URL instead of a region.")
        group.add_argument(
            "--quota",
            default="60/hour",
            help="Such as 60/hour, 600/minute, page, reference or none. Default: %(default)s.",
        )
        group.add_argument("--lanes", type=int, default=1, help="Keys that share the quota.")
        group.add_argument(
            "--failed_output", help="Prefix of the JSON lines files of failed records."
        )
        group.add_argument(
            "--allow_http", action="store_true", help="Permit http to another machine."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    try:
        arguments = own_region(sys.argv[1:] if argv is None else argv)
        check_names(arguments)
        options = PipelineOptions(arguments)
        pipeline = build(options)
    except (SettingError, InputError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    return run(pipeline)


def build(options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError, InputError: what is wrong, before anything is read or sent.
    """
    own = options.view_as(ParquetToMixpanelOptions)
    options.view_as(SetupOptions).save_main_session = False
    for name in ("input", "mapping"):
        if not getattr(own, name):
            raise SettingError(f"--{name} is missing; --help shows all options.")
    credentials = _credentials(own)
    if not _runs_remotely(options):
        credentials.resolve()  # the workers are here, so that a bad reference shows now
    mapping = _mapping(own.mapping)
    patterns = [pattern.strip() for pattern in own.input.split(",") if pattern.strip()]
    FileSystems.set_options(options)
    files = [path for pattern in patterns for path in match_files(pattern)]
    write = WriteToMixpanel(
        mapping,
        credentials,
        region=own.mixpanel_region or None,
        endpoint=own.endpoint or None,
        quota=own.quota,
        lanes=own.lanes,
        allow_http=own.allow_http,
    )
    _check_files(mapping, files)

    run_in_this_process(options)
    pipeline = beam.Pipeline(options=options)
    source = pipeline | "Read Parquet" >> ReadParquetTables(patterns, mapping.columns())
    result = source.tables | "Write to Mixpanel" >> write
    result | "Accounting" >> CheckAccounting()
    _write_failed(result, source.failed, own.failed_output)
    return pipeline


def run(pipeline: beam.Pipeline) -> int:
    """Runs the graph. A remote job is launched and not waited for."""
    try:
        result = pipeline.run()
        if _runs_remotely(pipeline.options):
            print(f"Job launched: {getattr(result, 'job_id', lambda: '')()}")
            return EXIT_OK
        result.wait_until_finish()
    except KeyboardInterrupt:
        print(
            "Interrupted. Run the same command again: events already sent keep their ids and are "
            "not doubled.",
            file=sys.stderr,
        )
        return 130
    except Exception as error:  # runners wrap what a worker raised, each in its own way
        known = job_error(error)
        if known is None:
            raise
        print(f"Error: {known}", file=sys.stderr)
        return EXIT_FAILED
    counters = read_counters(result)
    balanced = print_accounting(
        counters, pipeline.options.view_as(ParquetToMixpanelOptions).failed_output
    )
    if not balanced or counters.get("files_unreadable", 0):
        return EXIT_FAILED
    return EXIT_OK


def check_names(arguments: Sequence[str]) -> None:
    """Prints the help if it is asked for, and refuses misspelt options, which Beam drops.

    Raises:
        SettingError: for an option that nobody knows and that is close to one of ours.
    """
    about, _, _ = (__doc__ or "").partition("Any Beam option")
    own = argparse.ArgumentParser(
        prog="python -m pipelines.parquet_to_mixpanel",
        description=about,
        epilog="Any Beam option may follow: --runner, --project, --temp_location, ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    ParquetToMixpanelOptions._add_argparse_args(own)
    _, rest = own.parse_known_args(list(arguments))
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(known)
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


def _credentials(own: Any) -> Credentials:
    given = [name for name in ("api_secret", "service_account") if getattr(own, name)]
    if len(given) > 1:
        raise SettingError("Give --api_secret or --service_account, not both.")
    if own.api_secret:
        return ApiSecret(own.api_secret, own.project_token)
    if own.service_account:
        for name in ("service_account_secret", "project_id"):
            if not getattr(own, name):
                raise SettingError(f"--service_account needs --{name} as well.")
        return ServiceAccount(
            own.service_account, own.service_account_secret, own.project_id, own.project_token
        )
    if own.project_token:
        return ProjectToken(own.project_token)
    raise SettingError(
        "No credentials: give --api_secret, --service_account or --project_token, such as "
        "--api_secret env:MIXPANEL_API_SECRET."
    )


def _mapping(path: str) -> EventMapping:
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


def _check_files(mapping: EventMapping, files: Sequence[str]) -> None:
    """Refuses a mapping that fits none of the files looked at; others may differ later."""
    readable = 0
    misfit: MixpanelSinkError | None = None
    unreadable: MixpanelSinkError | None = None
    fits = False
    for path in files[:_FOOTERS_CHECKED]:
        try:
            footer = read_footer(path)
        except InputError as error:
            unreadable = unreadable or error
            continue
        readable += 1
        try:
            mapping.check_schema(footer.schema)
            fits = True
        except SettingError as error:
            misfit = misfit or error
    if not fits and misfit is not None:
        raise misfit
    if not readable and unreadable is not None and len(files) <= _FOOTERS_CHECKED:
        raise unreadable


def _write_failed(result: WriteResult, unreadable: Any, prefix: str | None) -> None:
    failed = (result.failed, unreadable) | "All failures" >> beam.Flatten()
    if prefix:
        (
            failed
            | "As JSON" >> beam.Map(FailedRecord.to_json).with_output_types(str)
            | "Write failed"
            >> beam.io.WriteToText(prefix, file_name_suffix=".jsonl", skip_if_empty=True)
        )


def _runs_remotely(options: PipelineOptions) -> bool:
    runner = (options.view_as(StandardOptions).runner or "DirectRunner").rpartition(".")[2]
    return runner in ("DataflowRunner", "TestDataflowRunner")


__all__ = ["ParquetToMixpanelOptions", "build", "main", "run"]

if __name__ == "__main__":
    sys.exit(main())
