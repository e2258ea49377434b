"""Verifies an import on a worker: a job of one step, for Dataflow.

The options are those of `jobs.verify`, and Beam's. The job fails if anything differs; its log has
the result, and `--report-dir` the full lists.
"""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import logging
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from mixpanel_sink.errors import AccountingError
from mixpanel_sink.inspect.verify import render
from mixpanel_sink.jobs import runners, verify
from mixpanel_sink.jobs.beam_options import parse
from mixpanel_sink.jobs.command import arguments, guarded
from mixpanel_sink.jobs.launcher import leave
from mixpanel_sink.jobs.outputs import check_output
from mixpanel_sink.settings.options import Settings

_LOGGER = logging.getLogger(__name__)


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "python -m mixpanel_sink.jobs.verify_remotely",
    about: str | None = __doc__,
) -> int:
    """Launches the job and returns the exit code."""
    return guarded(lambda: start(*parse(arguments(argv), "verify", prog, about)))


def start(settings: Settings, options: PipelineOptions) -> int:
    """Checks the settings and launches the job; if the runner is a local one, verifies in
    this process.

    Raises:
        SettingError, InputError: what is wrong, before anything is asked.
    """
    FileSystems.set_options(options)
    if not runners.runs_remotely(options):
        return verify.start(settings)
    verify.check(settings)
    if settings.report_dir:
        check_output("report_dir", settings.report_dir, workers_elsewhere=True)
    pipeline = runners.make_pipeline(options)
    _ = pipeline | "Once" >> beam.Create([None]) | "Verify" >> beam.ParDo(_Verify(settings))
    print(runners.launch(pipeline))
    return 0


class _Verify(beam.DoFn):
    """Verifies, and fails the bundle unless Mixpanel holds what it should."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def process(self, element: None) -> Iterator[str]:
        """Yields the result if it proves the import, else raises."""
        result = verify.verified(self._settings)
        _LOGGER.warning("%s", render(result))
        if not result.proven:
            raise AccountingError(result.sentence)
        yield result.sentence


if __name__ == "__main__":
    leave(main())
