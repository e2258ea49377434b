"""Sends failed records again, after what made them fail was fixed.

    python -m mixpanel_sink.jobs.replay \\
        --input 'gs://bucket/failed/run1*.jsonl' \\
        --mapping configs/events.yaml \\
        --api-secret env:MIXPANEL_API_SECRET \\
        --failed-output gs://bucket/failed/run2

--input takes what --failed-output wrote. Lines with an event are sent as they are; lines with a
record go through the mapping. Each keeps its $insert_id, so that nothing is doubled, however
often this is run. What fails again is in the new failed output.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if every
line read was accepted, or failed and was counted (and kept, with --failed-output); 1 if the job
failed, nothing was accepted, or a line could not be read; 2 if a setting is wrong, before anything
was sent.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import os
import time
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from mixpanel_sink.checkpoint.commit import OpenRun
from mixpanel_sink.checkpoint.lease import new_token
from mixpanel_sink.checkpoint.manifest import RunNote
from mixpanel_sink.checkpoint.owner import fingerprint
from mixpanel_sink.configured import endpoint_of
from mixpanel_sink.errors import SettingError
from mixpanel_sink.jobs.beam_options import parse
from mixpanel_sink.jobs.build import checked_write
from mixpanel_sink.jobs.command import arguments, guarded, require
from mixpanel_sink.jobs.launcher import leave
from mixpanel_sink.jobs.mappings import mapping_of
from mixpanel_sink.jobs.notify import told
from mixpanel_sink.jobs.outputs import whole_prefix
from mixpanel_sink.jobs.run import before_start, keep_accounts, run
from mixpanel_sink.jobs.runners import make_pipeline
from mixpanel_sink.read.failed_records import ReadFailedRecords, check_files, check_reasons
from mixpanel_sink.read.files import match_sizes
from mixpanel_sink.report.imported import NoteReplay
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.options import Settings

_FILES_CHECKED = 20
"""Files that are looked at before anything is sent."""


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "python -m mixpanel_sink.jobs.replay",
    about: str | None = __doc__,
) -> int:
    """Runs the program and returns the exit code."""
    return guarded(lambda: start(*parse(arguments(argv), "replay", prog, about)))


def start(settings: Settings, options: PipelineOptions) -> int:
    """Checks everything, sends the records again, and returns the exit code; raises as `build`."""
    return told("replay", settings, lambda: run(build(settings, options), settings))


def build(settings: Settings, options: PipelineOptions) -> beam.Pipeline:
    """Checks every setting and builds the graph.

    Raises:
        SettingError, InputError: what is wrong, before anything is sent.
    """
    require(settings, "input")
    if endpoint_of(settings).identity:
        raise SettingError(
            "Failed events are sent again, to import or track; updates of profiles are not. Make "
            "new updates from the failed records, after a look at the profiles."
        )
    only = list(settings.only) or None
    check_reasons(only or ())
    mapping = mapping_of(settings)
    FileSystems.set_options(options)
    files = match_sizes(settings.input)
    paths = [path for path, *_ in files]
    _check_output(paths, settings.failed_output)
    folder = settings.checkpoint
    checkpoint = Checkpoint(folder, fingerprint(files)) if folder else None
    write = checked_write(settings, options, mapping, checkpoint)
    check_files(paths[:_FILES_CHECKED], only, mapping is not None)
    before_start(write, settings, options)

    pipeline = make_pipeline(options)
    failed = pipeline | "Read failed records" >> ReadFailedRecords(list(settings.input), only)
    result = failed | "Write to Mixpanel" >> write
    run = _noted(settings, paths)
    keep_accounts(result, result.failed, settings, "" if run is None else run.run)
    if run is not None:
        _ = result.totals | "Enter into the checkpoint" >> NoteReplay(run)
    return pipeline


def _noted(settings: Settings, paths: Sequence[str]) -> OpenRun | None:
    """The run that a checkpoint is told of, for `mixpanel-sink status`."""
    if not settings.checkpoint:
        return None
    note = RunNote(
        new_token(),
        "replay",
        started=time.time(),
        failed_output=whole_prefix(settings.failed_output),
        inputs=() if settings.only else tuple(paths),  # the other reasons are still to be sent
    )
    return OpenRun(settings.checkpoint, note)


def _check_output(inputs: Sequence[str], prefix: str | None) -> None:
    """Refuses to write over what is being read."""
    if not prefix:
        return
    if "://" not in prefix:
        prefix = os.path.abspath(os.path.expanduser(prefix))
    for path in inputs:
        if path.startswith(prefix):
            raise SettingError(
                f"--failed-output {prefix} might write over the input {path}. Give another prefix."
            )


if __name__ == "__main__":
    leave(main())
