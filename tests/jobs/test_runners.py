"""Worker processes of the DirectRunner end with their job, also while they start."""

from __future__ import annotations

import sys
import threading

from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_fn_api_pb2, beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import worker_handlers

from mixpanel_sink.jobs import runners


def test_a_worker_that_is_starting_ends_without_any_work() -> None:
    worker = beam_runner_api_pb2.Environment(
        urn=python_urns.SUBPROCESS_SDK,
        payload=f"{sys.executable} -m mixpanel_sink.jobs.sdk_worker".encode(),
    )
    info = runners.WithProcesses()._provision_info
    manager = worker_handlers.WorkerHandlerManager({"worker": worker}, info)
    (handler,) = manager.get_worker_handlers("worker", 1)
    work = handler.control_conn.push(
        beam_fn_api_pb2.InstructionRequest(
            process_bundle_progress=beam_fn_api_pb2.ProcessBundleProgressRequest()
        )
    )
    ending = threading.Thread(target=manager.close_all, daemon=True)
    try:
        ending.start()
        ending.join(60)
        assert not ending.is_alive()
        assert not work.is_done()
    finally:
        handler.control_conn.push(worker_handlers.BeamFnControlServicer._DONE_MARKER)
