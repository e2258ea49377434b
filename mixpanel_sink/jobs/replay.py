"""Sends failed records again, after what made them fail was mended.

    python -m pipelines.replay_failed \\
        --input 'gs://bucket/failed/run1*.jsonl' \\
        --mapping configs/events.yaml \\
        --api_secret env:MIXPANEL_API_SECRET \\
        --failed_output gs://bucket/failed/run2

--input takes what --failed_output wrote. Lines with an event are sent as they are; lines with a
record go through the mapping. Each keeps its $insert_id, so that nothing is doubled, however
often this is run. What fails again is in the new failed output.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if every
line read was accepted, or failed and was counted (and kept, with --failed_output); 1 if the job
failed, nothing was accepted, or a line could not be read; 2 if a setting is wrong, before anything
was sent.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import argparse
import logging
import os
import sys
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from mixpanel_sink.checkpoint.owner import fingerprint
from mixpanel_sink.errors import DestinationError, InputError, SettingError
from mixpanel_sink.jobs.options import (
    MixpanelOptions,
    endpoint_of,
    mapping_of,
    names_of,
    patterns_of,
    pipeline_arguments,
    require,
    write_of,
)
from mixpanel_sink.jobs.run import (
    EXIT_SETTING,
    before_start,
    keep_books,
    make_pipeline,
    run,
    run_in_this_process,
)
from mixpanel_sink.jobs.startup import leave
from mixpanel_sink.read.failed_records import ReadFailedRecords, check_files, check_reasons
from mixpanel_sink.read.files import match_sizes
from mixpanel_sink.settings.checkpoint import Checkpoint

_FILES_CHECKED = 20
"""Files that are looked at before anything is sent."""
_PROG = "python -m pipelines.replay_failed"


class ReplayOptions(PipelineOptions):
    """The pipeline's own options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        parser.add_argument_group("Replay").add_argument(
            "--only", help="Reasons to send again, with commas between; others are skipped."
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("mixpanel_sink").setLevel(logging.INFO)
    try:
        argv = sys.argv[1:] if argv is None else argv
        arguments = pipeline_arguments(argv, _PROG, __doc__, MixpanelOptions, ReplayOptions)
        pipeline = build(PipelineOptions(arguments))
    except (SettingError, InputError, DestinationError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return EXIT_SETTING
    return run(pipeline)


def build(options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError, InputError: what is wrong, before anything is sent.
    """
    own = options.view_as(MixpanelOptions)
    options.view_as(SetupOptions).save_main_session = False
    require(own, "input")
    if endpoint_of(own).identity:
        raise SettingError(
            "Failed events are sent again, to import or track; updates of profiles are not. Write "
            "them anew from the failed records, after a look at the profiles."
        )
    given = options.view_as(ReplayOptions).only
    only = names_of(given) if given else None
    check_reasons(only or ())
    mapping = mapping_of(own.mapping, own.endpoint_kind) if own.mapping else None
    patterns = patterns_of(own)
    FileSystems.set_options(options)
    files = match_sizes(patterns)
    paths = [path for path, _ in files]
    _check_output(paths, own.failed_output)
    checkpoint = Checkpoint(own.checkpoint, fingerprint(files)) if own.checkpoint else None
    write = write_of(own, mapping, checkpoint)
    check_files(paths[:_FILES_CHECKED], only, mapping is not None)
    before_start(write, options)

    run_in_this_process(options)
    pipeline = make_pipeline(options)
    failed = pipeline | "Read failed records" >> ReadFailedRecords(patterns, only)
    result = failed | "Write to Mixpanel" >> write
    keep_books(result, result.failed, options)
    return pipeline


def _check_output(inputs: Sequence[str], prefix: str | None) -> None:
    """Refuses to write over what is being read."""
    if not prefix:
        return
    if "://" not in prefix:
        prefix = os.path.abspath(os.path.expanduser(prefix))
    for path in inputs:
        if path.startswith(prefix):
            raise SettingError(
                f"--failed_output {prefix} might write over the input {path}. Give another prefix."
            )


if __name__ == "__main__":
    leave(main())
