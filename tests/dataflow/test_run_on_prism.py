"""The graph that was staged for Dataflow, run: on Prism, by workers that have only the sdist."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

import grpc
import pytest

from mixpanel_sink.read.bigquery import EMULATOR
from tests.dataflow.conftest import EVENTS, SECRET, Prism, Staged, free_port, parameters
from tests.prism import prism_or_skip
from tests.read.test_bigquery import ORDERS, bigquery  # noqa: F401


@pytest.fixture
def prism() -> Iterator[str]:
    """Address of a running Prism."""
    port = free_port()
    command = [prism_or_skip(), f"--job_port={port}", "--serve_http=false", "--log_level=warn"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        yield f"localhost:{port}"
        process.terminate()


@pytest.fixture
def workers(image, package: pathlib.Path, bucket) -> Iterator[str]:
    """Address of a pool that starts workers: in a process that has the sdist and no clone."""
    port = free_port()
    pool = "apache_beam.runners.worker.worker_pool_main"
    # The pool starts "python", whichever comes first.
    path = os.pathsep.join([str(image.python.parent), os.environ["PATH"]])
    environment = {
        **os.environ, "PATH": path, "PYTHONPATH": str(package), "FLEX_API_SECRET": SECRET,
    }  # fmt: skip
    command = [str(image.python), "-m", pool, f"--service_port={port}"]
    with subprocess.Popen(
        command, cwd=package, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        with grpc.insecure_channel(f"localhost:{port}") as channel:
            grpc.channel_ready_future(channel).result(30)
        yield f"localhost:{port}"
        process.terminate()


def run_staged(staged: Staged, prism: str, workers: str) -> None:
    """Runs a staged graph to its end."""
    state, said = Prism(prism, workers).run(staged)
    assert state == "DONE", said


def test_it_sends_what_it_should(staged, prism, workers, mixpanel, bucket) -> None:
    mixpanel.reset()
    run_staged(staged, prism, workers)
    stats = mixpanel.stats()
    assert stats["events_distinct"] == EVENTS - 1
    events = mixpanel.events(10_000)
    assert {each["properties"]["distinct_id"] for each in events} == {
        f"u{i}" for i in range(EVENTS) if i != 77
    }
    assert {(each["event"], each["properties"]["time"] // 1000) for each in events} == {
        ("Order", 1_704_067_200 + second) for second in range(5)
    }
    assert stats["requests_by_endpoint"] == {"/import": {"200": 3}}
    blobs = bucket.client.list_blobs("events", prefix="failed/run")
    lines = b"".join(blob.download_as_bytes() for blob in blobs).splitlines()
    (failed,) = map(json.loads, lines)
    assert (failed["reason"], failed["row"]) == ("distinct_id_null", 77)
    assert failed["file"] == "gs://events/in/a.parquet"


def test_a_table_of_bigquery(bigquery, image, bucket, mixpanel, prism, workers) -> None:
    """The same template with a table: launched, staged and run."""
    bigquery.partitioned[ORDERS] = "at"
    mapping = "event: {constant: Order}\ntime: at\ndistinct_id: user\ninsert_id: id\n"
    bucket.blob("orders.yaml").upload_from_string(mapping)
    given = parameters(mixpanel) | {
        "input": "bq://shop-prod.sales.orders",
        "mapping": "gs://events/orders.yaml",
        "partitions": "20240506",
        "row_restriction": "n >= 1000",
        "columns": "id,user,at,n",
        "bigquery_project": "payer",
        "template_location": "gs://events/staging/template_launches/2/job_object",
        "staging_location": "gs://events/tables",
    }
    hosts = {name: os.environ[name] for name in (EMULATOR, "BIGQUERY_EMULATOR_HOST")}
    staged = Staged.of(given, image.launch(given, FLEX_API_SECRET=SECRET, **hosts), bucket)
    assert staged.launch.returncode == 0, staged.launch.stderr
    mixpanel.reset()
    run_staged(staged, prism, workers)
    assert mixpanel.stats()["events_distinct"] == 4000
    assert {"n"} <= mixpanel.events(1)[0]["properties"].keys()
    sessions = bigquery.sessions
    assert [session.max_stream_count for session in sessions] == [1, 0]  # launcher, and the job
    assert {session.parent for session in sessions} == {"projects/payer"}
