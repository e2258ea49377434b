"""What depends on the runner. Nothing else in this package knows runners by name."""

from __future__ import annotations

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip
import contextlib
import os
import queue
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    DirectOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    TypeOptions,
    WorkerOptions,
)
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import fn_runner, worker_handlers
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from mixpanel_sink import errors, extras
from mixpanel_sink.jobs import launches, servers

_LOCAL = ("DirectRunner", "FnApiRunner", "PrismRunner")
_LAUNCHED = ("DataflowRunner", "TestDataflowRunner")
_STATE_CACHE_MB = 100
_PROCESSES = "multi_processing"
_BEAMS_WORKER = b"apache_beam.runners.worker.sdk_worker_main"
_WORKER = b"mixpanel_sink.jobs.sdk_worker %d"


def is_local(runner: str | None) -> bool:
    """Whether it is a runner of this machine, which knows Beam's own options only."""
    return _name(runner) in _LOCAL


def runs_remotely(options: PipelineOptions) -> bool:
    """Whether the workers are elsewhere, and the job is not waited for."""
    return _name(options.view_as(StandardOptions).runner) in _LAUNCHED


def works_here(options: PipelineOptions) -> bool:
    """Whether the workers are threads of this process."""
    if _name(options.view_as(StandardOptions).runner) == "PrismRunner":
        return options.view_as(PortableOptions).environment_type in (None, "LOOPBACK")
    direct = options.view_as(DirectOptions)
    return not runs_remotely(options) and direct.direct_running_mode != _PROCESSES


def in_turns(options: PipelineOptions) -> bool:
    """Whether the runner hands a stage all its input as one bundle, so that files must be read one
    part at a time (`transform.ReadFiles`). Prism does."""
    return _name(options.view_as(StandardOptions).runner) == "PrismRunner"


def _name(runner: str | None) -> str:
    return (runner or "DirectRunner").rpartition(".")[2]


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """An empty pipeline.

    Its workers cache state: unless asked to, Beam's ask the runner for a lane's state once for
    every chunk. The main session is not pickled: everything that workers need is importable.

    Raises:
        SettingError: if Beam refuses the options, or cannot run this graph with them.
    """
    _refuse_type_checks(options.view_as(TypeOptions))
    setup = options.view_as(SetupOptions)
    setup.save_main_session = False
    setup.beam_plugins = [*(setup.beam_plugins or ()), *extras.plugins()]
    worker = options.view_as(WorkerOptions)
    worker.max_cache_memory_usage_mb = worker.max_cache_memory_usage_mb or _STATE_CACHE_MB
    try:
        return beam.Pipeline(runner=_local_runner(options), options=options)
    except ValueError as error:
        said = " ".join(str(error).split()).removeprefix("Pipeline has validations errors: ")
        raise errors.SettingError(f"Beam does not take these options: {said}") from None


def _refuse_type_checks(options: TypeOptions) -> None:
    """Two options that fail in graphs that are right, once records have been sent."""
    if options.performance_runtime_type_check:
        raise errors.SettingError(
            "--performance_runtime_type_check cannot be used: Beam checks failed records as if "
            "they were the step's first output, and would stop at a correct one. Leave it out."
        )
    if options.runtime_type_check:
        raise errors.SettingError(
            "--runtime_type_check cannot be used: Beam's own step that writes files, and so failed "
            "records, does not pass that check. Leave it out."
        )


@worker_handlers.WorkerHandler.register_environment(python_urns.SUBPROCESS_SDK, bytes)
class WorkerProcess(worker_handlers.SubprocessSdkWorkerHandler):
    """A worker process of the DirectRunner, which also ends if it is still starting.

    Beam tells only workers that have connected to end, and waits for all: a job that was
    interrupted while a worker started would never end.
    """

    def close(self) -> None:
        """Ends the worker. One that is starting ends once it has connected, without any work."""
        connection: Any = self.control_conn
        control = worker_handlers.BeamFnControlServicer
        with worker_handlers.ControlConnection._lock:
            if connection._state == control.UNSTARTED_STATE:
                with contextlib.suppress(queue.Empty):
                    while True:
                        connection._push_queue.get_nowait()
                connection.push(control._DONE_MARKER)
        super().close()


class WithProcesses(fn_runner.FnApiRunner):
    """The DirectRunner with worker processes, which start in half of the time of Beam's."""

    def run_via_runner_api(self, pipeline_proto: Any, options: PipelineOptions) -> Any:
        """Runs a pipeline whose environment is a command that starts a worker."""
        for environment in pipeline_proto.components.environments.values():
            if environment.urn == python_urns.SUBPROCESS_SDK:  # others' payloads are messages
                worker = _WORKER % os.getpid()
                environment.payload = environment.payload.replace(_BEAMS_WORKER, worker)
        encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
        self._provision_info.provision_info.pipeline_options.CopyFrom(encoded)
        return super().run_via_runner_api(pipeline_proto, options)


def _local_runner(options: PipelineOptions) -> Any:
    """The runner that a plain DirectRunner stands for; None for whatever else the options name.

    By that name Beam first tries to fetch and start Prism, which takes a second where there is
    no network, and twice the time and memory where there is. --runner=PrismRunner asks for it.
    """
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if _name(standard.runner) == "PrismRunner":
        servers.wait_less()
    if (standard.runner or "DirectRunner") != "DirectRunner" or standard.streaming:
        return None
    if direct.direct_running_mode == _PROCESSES:
        return WithProcesses()
    return fn_runner.FnApiRunner()


def launch(pipeline: beam.Pipeline) -> str:
    """Hands a pipeline to its remote runner, and says in a sentence what there is then."""
    cloud = pipeline.options.view_as(GoogleCloudOptions)
    # A template, which is also what a Flex Template's launcher asks for, is not a job yet.
    if cloud.template_location:
        pipeline.run()
        return f"Template staged: {cloud.template_location}"
    with launches.submitting(cloud.project, cloud.region) as jobs:
        jobs.append(pipeline.run().job_id())
    return f"Job launched: {jobs[0]}"
