"""Sends Parquet files to Mixpanel.

    python -m pipelines.parquet_to_mixpanel \\
        --input 'gs://bucket/events/*.parquet' \\
        --mapping configs/events.yaml \\
        --api_secret env:MIXPANEL_API_SECRET \\
        --failed_output gs://bucket/failed/run1

--dry_run shows what it would send, and how long it would take.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if
every record read was accepted, or failed and was counted (and kept, with --failed_output); 1 if
the job failed, nothing was accepted, or a file could not be read; 2 if a setting is wrong, before
anything was sent.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import argparse
import logging
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from mixpanel_sink.checkpoint.owner import fingerprint
from mixpanel_sink.errors import DestinationError, InputError, SettingError
from mixpanel_sink.inspect.fit import check_fit
from mixpanel_sink.inspect.preview import SAMPLE_ROWS, Preview, preview, render
from mixpanel_sink.jobs.options import (
    AnyMapping,
    MixpanelOptions,
    check_privacy,
    columns_of,
    in_turns,
    mapping_of,
    patterns_of,
    pipeline_arguments,
    privacy_of,
    require,
    target_of,
    write_of,
)
from mixpanel_sink.jobs.run import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_SETTING,
    before_start,
    keep_books,
    make_pipeline,
    run,
    run_in_this_process,
)
from mixpanel_sink.jobs.startup import leave
from mixpanel_sink.read.source import FileSource
from mixpanel_sink.settings.checkpoint import Checkpoint

_PROG = "python -m pipelines.parquet_to_mixpanel"


class DryRunOption:
    """--dry_run. No option of Beam's, which has another of that name for its own tests."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument_group("Dry run").add_argument(
            "--dry_run",
            nargs="?",
            const=str(SAMPLE_ROWS),
            metavar="all|ROWS",
            help="Send nothing, and need no secret: show some events, what would fail, and how "
            f"long it would take, from a sample of {SAMPLE_ROWS:,} rows, so many, or all.",
        )

    @classmethod
    def take(cls, argv: Sequence[str]) -> tuple[str | None, list[str]]:
        """Its value, if it is given, and the other arguments."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        cls._add_argparse_args(parser)
        own, rest = parser.parse_known_args(list(argv))
        return own.dry_run, rest


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    try:
        argv = sys.argv[1:] if argv is None else argv
        rows, argv = DryRunOption.take(argv)
        arguments = pipeline_arguments(argv, _PROG, __doc__, MixpanelOptions, DryRunOption)
        options = PipelineOptions(arguments)
        if rows is not None:
            return dry_run(options, rows)
        pipeline = build(options)
    except (SettingError, InputError, DestinationError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    return run(pipeline, _source(options).row_count)


def _source(options: PipelineOptions) -> FileSource:
    return FileSource(patterns_of(options.view_as(MixpanelOptions)))


def build(options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError, InputError: what is wrong, before anything is read or sent.
    """
    own = options.view_as(MixpanelOptions)
    options.view_as(SetupOptions).save_main_session = False
    require(own, "input", "mapping")
    mapping = mapping_of(own.mapping, own.endpoint_kind)
    FileSystems.set_options(options)
    source = _source(options)
    checkpoint = Checkpoint(own.checkpoint, fingerprint(source.files)) if own.checkpoint else None
    write = write_of(own, mapping, checkpoint)
    _check_input(source, mapping, own)
    before_start(write, options)
    run_in_this_process(options)
    pipeline = make_pipeline(options)
    private = bool(own.drop_properties or own.hash_properties)
    read = pipeline | "Read" >> source.read(
        columns_of(own, mapping), keep_text=not private, in_turns=in_turns(options)
    )
    result = read.elements | "Write to Mixpanel" >> write
    failed = (result.failed, read.failed) | "All failures" >> beam.Flatten()
    keep_books(result, failed, options)
    return pipeline


def dry_run(options: PipelineOptions, rows: str) -> int:
    """Shows what would be sent, and gives the exit code; raises as `previewed`."""
    shown = previewed(options, rows)
    print(render(shown))
    return EXIT_FAILED if shown.files_unreadable else EXIT_OK


def previewed(options: PipelineOptions, rows: str) -> Preview:
    """What the job would send.

    Args:
        options: of the job.
        rows: "all", or how many to look at.

    Raises:
        SettingError, InputError: what is wrong.
    """
    own = options.view_as(MixpanelOptions)
    require(own, "input", "mapping")
    target = target_of(own)
    mapping = mapping_of(own.mapping, own.endpoint_kind)
    sample = _sample_rows(rows)
    FileSystems.set_options(options)
    source = _source(options)
    _check_input(source, mapping, own)
    return preview(
        source,
        mapping,
        rows=sample,
        limits=target.limits,
        quota=target.quota,
        token=target.credentials.token is not None,
        privacy=privacy_of(own),
    )


def _sample_rows(given: str) -> int | None:
    if given == "all":
        return None
    if not given.isdecimal() or int(given) < 1:
        raise SettingError(f"--dry_run is {given!r}; give a number of rows, all, or nothing.")
    return int(given)


def _check_input(source: FileSource, mapping: AnyMapping, own: MixpanelOptions) -> None:
    columns = check_fit(source, mapping, own.destination)
    if columns is not None:
        check_privacy(own, columns)


__all__ = ["build", "main", "run"]

if __name__ == "__main__":
    leave(main())
