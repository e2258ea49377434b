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
import logging
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from mixpanel_sink import (
    Checkpoint,
    DestinationError,
    EventMapping,
    InputError,
    MixpanelSinkError,
    ReadParquetTables,
    SettingError,
    WriteToMixpanel,
)
from mixpanel_sink.accounting import CheckAccounting
from mixpanel_sink.checkpoint import fingerprint
from mixpanel_sink.metrics import read_counters
from mixpanel_sink.parquet import match_sizes, read_footer
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.write import WriteResult
from pipelines.options import (
    MixpanelOptions,
    credentials_of,
    mapping_of,
    patterns_of,
    pipeline_arguments,
    privacy_of,
    require,
)
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

_PROG = "python -m pipelines.parquet_to_mixpanel"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    try:
        argv = sys.argv[1:] if argv is None else argv
        options = PipelineOptions(pipeline_arguments(argv, _PROG, __doc__, MixpanelOptions))
        pipeline = build(options)
    except (SettingError, InputError, DestinationError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    return run(pipeline)


def build(options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError, InputError: what is wrong, before anything is read or sent.
    """
    own = options.view_as(MixpanelOptions)
    options.view_as(SetupOptions).save_main_session = False
    require(own, "input", "mapping")
    credentials = credentials_of(own)
    if not _runs_remotely(options):
        credentials.resolve()  # the workers are here, so that a bad reference shows now
    mapping = mapping_of(own.mapping)
    patterns = patterns_of(own)
    FileSystems.set_options(options)
    files = [file for pattern in patterns for file in match_sizes(pattern)]
    checkpoint = Checkpoint(own.checkpoint, fingerprint(files)) if own.checkpoint else None
    write = WriteToMixpanel(
        mapping,
        credentials,
        region=own.mixpanel_region or None,
        endpoint=own.endpoint or None,
        quota=own.quota,
        lanes=own.lanes,
        allow_http=own.allow_http,
        checkpoint=checkpoint,
        privacy=privacy_of(own),
    )
    _check_files(mapping, [path for path, _ in files])
    if not _runs_remotely(options):
        write.claim_checkpoint()
    if own.preflight:
        for answer in write.preflight():
            print(f"Preflight: {answer.said}")

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
    balanced = print_accounting(counters, pipeline.options.view_as(MixpanelOptions).failed_output)
    if not balanced or counters.get("files_unreadable", 0):
        return EXIT_FAILED
    return EXIT_OK


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


__all__ = ["build", "main", "run"]

if __name__ == "__main__":
    sys.exit(main())
