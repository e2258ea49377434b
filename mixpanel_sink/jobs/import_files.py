"""Sends files to Mixpanel: Parquet, CSV, JSON lines, Avro, ORC, Arrow or Excel.

    python -m mixpanel_sink.jobs.import_files \\
        --input 'gs://bucket/events/*.parquet' \\
        --mapping configs/events.yaml \\
        --api-secret env:MIXPANEL_API_SECRET \\
        --failed-output gs://bucket/failed/run1

--dry-run shows what it would send, and how long it would take.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if
every record read was accepted, or failed and was counted (and kept, with --failed-output); 1 if
the job failed, nothing was accepted, or a file could not be read; 2 if a setting is wrong, before
anything was sent.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from mixpanel_sink.jobs import check, missing
from mixpanel_sink.jobs.beam_options import parse
from mixpanel_sink.jobs.build import Import
from mixpanel_sink.jobs.command import arguments, guarded
from mixpanel_sink.jobs.incremental import check_alone, check_limit, give_back
from mixpanel_sink.jobs.launcher import leave
from mixpanel_sink.jobs.notify import note, told
from mixpanel_sink.jobs.outcome import EXIT_OK
from mixpanel_sink.jobs.run import run
from mixpanel_sink.jobs.runners import make_pipeline, runs_remotely
from mixpanel_sink.jobs.status import print_end
from mixpanel_sink.settings.options import Settings

Build = Callable[[Import], beam.Pipeline]


def build(job: Import) -> beam.Pipeline:
    """The graph: files to records, records to Mixpanel, failures and the accounting at the end."""
    pipeline = make_pipeline(job.options)
    source = pipeline | "Read" >> job.read()
    result = source.elements | "Write to Mixpanel" >> job.write
    failed = (result.failed, source.failed) | "All failures" >> beam.Flatten()
    job.end(source, result, failed)
    return pipeline


def start(
    settings: Settings,
    options: PipelineOptions,
    format: str | None = None,
    build: Build = build,
) -> int:
    """Checks everything, sends the files and returns the exit code; a dry run sends nothing.

    Args:
        settings: of the user.
        options: Beam's.
        format: of the files where the settings do not say; None: by name or content.
        build: makes the graph.

    Raises:
        SettingError, InputError, DestinationError: what is wrong, before anything is sent.
    """
    if settings.dry_run is not None:
        _check(settings, options)
        FileSystems.set_options(options)
        if not settings.checkpoint:
            check_alone(settings)
        return check.start(settings, settings.dry_run, format)

    def sent() -> int:
        _check(settings, options)
        return _start(Import.of(settings, options, format), build)

    return told("import", settings, sent)


def _check(settings: Settings, options: PipelineOptions) -> None:
    """Refuses settings that contradict each other, before anything is read."""
    check_limit(settings)
    missing.check_missing(settings, options)


def _start(job: Import, build: Build) -> int:
    is_handed_on = False
    try:
        update = missing.plan(job)
        if job.today is not None and job.today.is_empty:
            print("Nothing is new; nothing was sent.")
            note(result="Nothing is new; nothing was sent.")
            return EXIT_OK
        files = () if job.settings.only_changed else job.source.files
        code = run(build(job), job.settings, job.source.row_count, files)
        is_handed_on = code == EXIT_OK and runs_remotely(job.options)
        if job.settings.only_changed:
            return missing.after(job, update, code)
        if job.today is not None and not is_handed_on:
            print_end(job.today.run)
        return code
    finally:
        if job.held is not None and not is_handed_on:  # the job gives the lease back itself
            give_back(job.held)


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "python -m mixpanel_sink.jobs.import_files",
    about: str | None = __doc__,
    format: str | None = None,
    build: Build = build,
) -> int:
    """Runs the program and returns the exit code.

    Args:
        argv: the command line, without the program's name; None for this process's.
        prog: how the program is called, for its help.
        about: its docstring.
        format, build: as for `start`.
    """

    def started() -> int:
        settings, options = parse(arguments(argv), "import", prog, about)
        return start(settings, options, format, build)

    return guarded(started)


if __name__ == "__main__":
    leave(main())
