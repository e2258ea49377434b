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

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from mixpanel_sink import (
    Checkpoint,
    DestinationError,
    EventMapping,
    InputError,
    MixpanelSinkError,
    ReadParquetTables,
    SettingError,
)
from mixpanel_sink.checkpoint import fingerprint
from mixpanel_sink.parquet import match_sizes, read_footer
from pipelines.options import (
    MixpanelOptions,
    mapping_of,
    patterns_of,
    pipeline_arguments,
    require,
    write_of,
)
from pipelines.running import (
    EXIT_SETTING,
    before_start,
    keep_books,
    run,
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
    return run(pipeline, lambda: _rows(options))


def _rows(options: PipelineOptions) -> int:
    """How many rows the input has, by its footers."""
    patterns = patterns_of(options.view_as(MixpanelOptions))
    files = [path for pattern in patterns for path, _ in match_sizes(pattern)]
    return sum(read_footer(path).rows for path in files)


def build(options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError, InputError: what is wrong, before anything is read or sent.
    """
    own = options.view_as(MixpanelOptions)
    options.view_as(SetupOptions).save_main_session = False
    require(own, "input", "mapping")
    mapping = mapping_of(own.mapping)
    patterns = patterns_of(own)
    FileSystems.set_options(options)
    files = [file for pattern in patterns for file in match_sizes(pattern)]
    checkpoint = Checkpoint(own.checkpoint, fingerprint(files)) if own.checkpoint else None
    write = write_of(own, mapping, checkpoint)
    _check_files(mapping, [path for path, _ in files])
    before_start(write, options)
    run_in_this_process(options)
    pipeline = beam.Pipeline(options=options)
    source = pipeline | "Read Parquet" >> ReadParquetTables(patterns, mapping.columns())
    result = source.tables | "Write to Mixpanel" >> write
    failed = (result.failed, source.failed) | "All failures" >> beam.Flatten()
    keep_books(result, failed, options)
    return pipeline


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


__all__ = ["build", "main", "run"]

if __name__ == "__main__":
    sys.exit(main())
