"""Runs the DAG of examples/schedules in a real Airflow, against Dataflow's launch API on loopback.

    python -m tests.schedules.airflow_run

needs Airflow 3 with the providers of Google and Beam in an environment of its own (`make airflow`).
Real are Airflow's parser, the task's way through its states, the operator, its deferral, the
trigger, and Google's two clients; these are pointed at servers here, which check the launch
against the template's metadata.
"""

from __future__ import annotations

import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
from typing import Any

ROOT = pathlib.Path(__file__).parents[2]
JOB = "2024-05-31_02_15_00-1"
launched: list[dict[str, Any]] = []
asked: list[str] = []


class Launches(http.server.BaseHTTPRequestHandler):
    """`flexTemplates:launch` and `jobs.get` of Dataflow's REST API."""

    def do_POST(self) -> None:
        from tests.schedules.launch import check

        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        path = self.path.partition("?")[0]
        wrong = check(body)
        if not re.fullmatch(r"/v1b3/projects/[\w-]+/locations/[\w-]+/flexTemplates:launch", path):
            wrong.append(f"the path is {path}")
        launched.append(body)
        job = {"id": JOB, "name": "x", "currentState": "JOB_STATE_QUEUED", "type": "JOB_TYPE_BATCH"}
        answer = {"error": {"code": 400, "message": str(wrong)}} if wrong else {"job": job}
        self._answer(400 if wrong else 200, answer)

    def do_GET(self) -> None:
        """The job, which the operator reads once more at the end."""
        found = re.fullmatch(
            rf"/v1b3/projects/[\w-]+/locations/[\w-]+/jobs/{JOB}", self.path.partition("?")[0]
        )
        job = {"id": JOB, "name": "x", "currentState": "JOB_STATE_DONE", "type": "JOB_TYPE_BATCH"}
        self._answer(200 if found else 404, job if found else {})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_: Any) -> None: ...


def serve_jobs() -> int:
    """`GetJob` of Dataflow's gRPC API, which the trigger asks; gives the port."""
    import grpc
    from google.cloud.dataflow_v1beta3 import GetJobRequest, Job, JobState, JobType

    states = [JobState.JOB_STATE_QUEUED, JobState.JOB_STATE_RUNNING, JobState.JOB_STATE_DONE]

    def get_job(request: Any, _: Any) -> Any:
        asked.append(request.job_id)
        state = states[min(len(asked), len(states)) - 1]
        return Job(id=request.job_id, current_state=state, type_=JobType.JOB_TYPE_BATCH)

    handler = grpc.unary_unary_rpc_method_handler(
        get_job,
        request_deserializer=GetJobRequest.deserialize,
        response_serializer=Job.serialize,
    )
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    name = "google.dataflow.v1beta3.JobsV1Beta3"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, {"GetJob": handler})]
    )
    port = int(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    serve_jobs.server = server  # type: ignore[attr-defined]  # it ends when nobody holds it
    return port


def point_clients(rest: int, rpc: int) -> None:
    """Google's clients speak to this machine, without credentials."""
    import grpc
    import httplib2
    from airflow.providers.google.cloud.hooks import dataflow
    from google.cloud.dataflow_v1beta3.services.jobs_v1_beta3.transports import (
        JobsV1Beta3GrpcAsyncIOTransport,
    )
    from googleapiclient.discovery import build

    def get_conn(_: Any) -> Any:
        options = {"api_endpoint": f"http://127.0.0.1:{rest}"}
        return build("dataflow", "v1b3", http=httplib2.Http(), cache_discovery=False,
                     client_options=options)  # fmt: skip

    async def initialize_client(_: Any, client_class: Any) -> Any:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{rpc}")
        return client_class(transport=JobsV1Beta3GrpcAsyncIOTransport(channel=channel))

    dataflow.DataflowHook.get_conn = get_conn
    dataflow.AsyncDataflowHook.initialize_client = initialize_client


def run() -> None:
    """Parses the folder, runs the DAG once, and checks what Dataflow was asked."""
    import datetime

    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(ROOT / "examples/schedules"))
    assert not bag.import_errors, bag.import_errors
    dag = bag.dags["mixpanel_import"]
    (task,) = dag.tasks
    assert task.deferrable
    task.poll_sleep = task.retries = 0
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Launches) as rest:
        threading.Thread(target=rest.serve_forever, daemon=True).start()
        point_clients(rest.server_port, serve_jobs())
        at = datetime.datetime(2024, 5, 31, 2, 15, tzinfo=datetime.timezone.utc)
        ended = dag.test(logical_date=at)
        rest.shutdown()
    assert str(ended.state) == "success", ended.state
    (body,) = launched
    parameters = body["launchParameter"]["parameters"]
    assert parameters["failed_output"] == "gs://my-bucket/mixpanel/failed/20240531", parameters
    assert parameters["run_id"] == ended.run_id, parameters
    assert set(asked) == {JOB}
    assert len(asked) >= 3, asked
    print(f"The DAG ran: 1 launch, {len(asked)} questions about the job, run {ended.run_id}.")


def main() -> None:
    """Makes an Airflow of its own, and runs the DAG in it."""
    if "AIRFLOW_HOME" not in os.environ:
        with tempfile.TemporaryDirectory() as home:
            environment = {
                **os.environ,
                "AIRFLOW_HOME": home,
                "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
                "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "examples/schedules"),
                "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": "google-cloud-platform://",
                "PYTHONPATH": str(ROOT),
            }
            airflow = pathlib.Path(sys.executable).with_name("airflow")
            subprocess.run([airflow, "db", "migrate"], env=environment, check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            command = [sys.executable, "-m", "tests.schedules.airflow_run"]
            raise SystemExit(subprocess.run(command, env=environment, cwd=ROOT).returncode)
    run()


if __name__ == "__main__":
    main()
