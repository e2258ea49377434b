"""Ctrl-C while a job is handed to Dataflow, and after that."""

from __future__ import annotations

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner
from google.api_core import exceptions

from mixpanel_sink.interrupts import NOTHING_SENT
from mixpanel_sink.jobs import launches, runners
from mixpanel_sink.jobs.command import guarded

OPTIONS = PipelineOptions(["--project=shop", "--region=europe-west4"])


class Job(PipelineRunner):
    """Takes a pipeline as Dataflow's runner does: it returns, and the job runs on."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    def run_pipeline(self, pipeline: beam.Pipeline, options: PipelineOptions) -> Job:
        if self._error is not None:
            raise self._error
        return self

    def job_id(self) -> str:
        return "2026-11-28_1"


def launched(interrupted: bool) -> int:
    runners.launch(beam.Pipeline(Job(KeyboardInterrupt() if interrupted else None), OPTIONS))
    raise KeyboardInterrupt


def test_ctrl_c_says_whether_the_job_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: launched(interrupted=False)) == 130
    said = capsys.readouterr().err
    assert "The job 2026-11-28_1 was submitted and runs on." in said
    assert "jobs cancel 2026-11-28_1 --project=shop --region=europe-west4" in said
    assert guarded(lambda: launched(interrupted=True)) == 130
    said = capsys.readouterr().err
    assert "The job may have been submitted" in said
    assert "jobs list --project=shop --region=europe-west4" in said
    assert "If it is not listed, nothing was sent" in said
    assert guarded(interrupt) == 130  # of a later command of this process
    assert NOTHING_SENT in capsys.readouterr().err


def interrupt() -> int:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("error", "is_known"),
    [
        (exceptions.Forbidden("no"), True),
        (exceptions.TooManyRequests("later"), True),
        (exceptions.ServiceUnavailable("it may have been taken"), False),
        (exceptions.GatewayTimeout("it may have been taken"), False),
        (ConnectionResetError(), False),
    ],
)
def test_what_google_has_refused_was_not_submitted(error: Exception, is_known: bool) -> None:
    launches.forget()
    with pytest.raises(type(error)):
        runners.launch(beam.Pipeline(Job(error), OPTIONS))
    assert (launches.standing() is None) is is_known
