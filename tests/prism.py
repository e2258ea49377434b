"""Where Prism is, Beam's portable runner for one machine."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys

import pytest
from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, PrismRunnerOptions
from apache_beam.runners.portability.job_server import StopOnExitJobServer
from apache_beam.runners.portability.prism_runner import PrismJobServer, PrismRunner

PRISM = os.environ.get("PRISM") or shutil.which(
    "prism", path=os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
)


def prism_or_skip() -> str:
    """Prism's path. Without it the test is skipped, but not on CI."""
    if PRISM is None:
        reason = "Prism is not installed: make test does it, with Go"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return PRISM


def _job_server(_: PrismRunner, options: PipelineOptions) -> StopOnExitJobServer:
    """One Prism for each location.

    Beam gives every pipeline the first Prism of its process, whatever location it asks for: after
    any test that used the DirectRunner by name, that is one which cannot be fetched.
    """

    def start() -> StopOnExitJobServer:
        return StopOnExitJobServer(PrismJobServer(options))

    if options.view_as(DebugOptions).lookup_experiment("disable_prism_server_singleton"):
        return start()
    location = options.view_as(PrismRunnerOptions).prism_location
    return PrismRunner.shared_handle.acquire(start, tag=location or "")


PrismRunner.default_job_server = _job_server
