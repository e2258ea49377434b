"""Worker processes of the DirectRunner end with their job, also while they start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

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


STARTS = """
import os, subprocess, sys
command = [sys.executable, "-m", "mixpanel_sink.jobs.sdk_worker", str(os.getpid())]
worker = subprocess.Popen(command)
print(worker.pid, flush=True)
worker.wait()
"""


def test_a_worker_that_is_starting_ends_after_its_job_was_killed() -> None:
    with socket.socket() as nobody:  # listens, as Beam's address may belong to another later
        nobody.bind(("127.0.0.1", 0))
        address = f'url: "localhost:{nobody.getsockname()[1]}"'
        environment = {
            **os.environ,
            "CONTROL_API_SERVICE_DESCRIPTOR": address,
            "LOGGING_API_SERVICE_DESCRIPTOR": address,
            "PIPELINE_OPTIONS": "{}",
        }
        job = subprocess.Popen(
            [sys.executable, "-c", STARTS], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert job.stdout is not None
        pid = int(job.stdout.readline())
        job.send_signal(signal.SIGKILL)
        job.wait()
        job.stdout.close()
        end = time.monotonic() + 60
        while _lives(pid) and time.monotonic() < end:
            time.sleep(0.2)
        lived = _lives(pid)
        if lived:
            os.kill(pid, signal.SIGKILL)
        assert not lived


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
