"""A Flex Template launched as Google's image does it, as far as a machine without Docker can."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pathlib
import shlex
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Iterator
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_job_api_pb2, beam_runner_api_pb2, endpoints_pb2
from apache_beam.runners.portability.job_server import ExternalJobServer
from apache_beam.runners.portability.portable_runner import JobServiceHandle
from google.cloud import storage

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.jobs.beam_options import MixpanelOptions  # noqa: F401  (its options are to be known)
from tests import virtual_environment
from tests.cloud_storage import emulated_bucket
from tests.prism import prism_or_skip

ROOT = pathlib.Path(__file__).parents[2]
SECRET = "s3cr3t-9f8e7d6c5b4a3210"
TOKEN = "t0ken-1a2b3c4d5e6f"
EVENTS = 4_500
MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"


@pytest.fixture(scope="package")
def mixpanel() -> Iterator[Emulator]:
    with Emulator(api_secret=SECRET, project_token=TOKEN, quota="none") as running:
        yield running


@pytest.fixture(scope="package")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[storage.Bucket]:
    """Named "events"."""
    with emulated_bucket(tmp_path_factory.mktemp("gcp")) as made:
        yield made


@dataclasses.dataclass(frozen=True)
class Image:
    """The files and the environment that a Dockerfile makes."""

    root: pathlib.Path
    environment: dict[str, str]
    python: pathlib.Path

    @classmethod
    def build(cls, dockerfile: pathlib.Path, root: pathlib.Path) -> Image:
        """COPY and ENV are done as they say, below `root`. Of RUN there is only what it installs
        for others: the dependencies."""
        environment = {}
        for line in dockerfile.read_text().replace("\\\n", " ").splitlines():
            instruction, _, rest = line.partition(" ")
            if instruction == "ENV":
                environment.update([rest.split("=", 1)])
            elif instruction == "COPY":
                *sources, target = shlex.split(rest)
                into = root / target.lstrip("/")
                for source in sources:
                    if (ROOT / source).is_dir():  # Docker copies what is in a folder
                        skip = shutil.ignore_patterns("__pycache__")
                        shutil.copytree(ROOT / source, into, ignore=skip)
                    else:
                        path = into / source if target.endswith("/") else into
                        path.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(ROOT / source, path)
        return cls(root, environment, virtual_environment.make(root / "venv"))

    def launch(self, parameters: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
        """Runs what Google's launcher runs, in this place and without a way to the clone."""
        script = self.root / self.environment["FLEX_TEMPLATE_PYTHON_PY_FILE"].lstrip("/")
        setup = self.root / self.environment["FLEX_TEMPLATE_PYTHON_SETUP_FILE"].lstrip("/")
        options = {**parameters, "setup_file": str(setup)}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        # Not the launcher's: there is no Google to ask who this is.
        command = [str(self.python), str(script), *arguments, "--no_auth"]
        environment = virtual_environment.without_clone(**self.environment, **more)
        return subprocess.run(
            command, cwd=self.root, env=environment, capture_output=True, text=True, check=False
        )


@dataclasses.dataclass(frozen=True)
class Staged:
    """What a launch left in the bucket."""

    parameters: dict[str, str]
    launch: subprocess.CompletedProcess[str]
    files: dict[str, bytes]

    @classmethod
    def of(
        cls,
        given: dict[str, str],
        launch: subprocess.CompletedProcess[str],
        bucket: storage.Bucket,
    ) -> Staged:
        """What a launch with these parameters left."""
        folders = (given["staging_location"], given["template_location"].rpartition("/")[0])
        blobs = [
            blob
            for folder in folders
            for blob in bucket.client.list_blobs(
                "events", prefix=folder.removeprefix("gs://events/") + "/"
            )
        ]
        return cls(given, launch, {blob.name: blob.download_as_bytes() for blob in blobs})

    def file(self, name: str) -> bytes:
        """The one file of this name, in whatever folder."""
        (found,) = (data for path, data in self.files.items() if path.endswith(f"/{name}"))
        return found

    @property
    def graph(self) -> beam_runner_api_pb2.Pipeline:
        return beam_runner_api_pb2.Pipeline.FromString(self.file("pipeline.pb"))

    @property
    def job(self) -> dict[str, Any]:
        return json.loads(self.file("job_object"))


@pytest.fixture(scope="package")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    root = tmp_path_factory.mktemp("image")
    return Image.build(ROOT / "configs/flex_template/Dockerfile", root)


def parameters(mixpanel: Emulator) -> dict[str, str]:
    """What a user gives, and what the launcher adds."""
    return {
        "input": "gs://events/in/*.parquet",
        "mapping": "gs://events/mapping.yaml",
        "api_secret": "env:FLEX_API_SECRET",
        "endpoint": mixpanel.url,
        "quota": "none",
        "allow_http": "false",
        "failed_output": "gs://events/failed/run",
        "runner": "DataflowRunner",
        "project": "test-project",
        "region": "europe-west1",
        "job_name": "import-1",
        "temp_location": "gs://events/temp",
        "staging_location": "gs://events/staging",
        "template_location": "gs://events/staging/template_launches/1/job_object",
        "labels": '{"goog-dataflow-provided-template-type":"flex"}',
        "service_account_email": "worker@test-project.iam.gserviceaccount.com",
        "max_num_workers": "1",
        "sdk_location": "container",
    }


def upload(into: storage.Bucket, name: str, count: int) -> None:
    """Orders, of which one has no user."""
    users = [None if i == 77 else f"u{i}" for i in range(count)]
    at = [1_704_067_200_000 + i for i in range(count)]
    table = pa.table({"name": ["Order"] * count, "user": users, "at": at})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=1000)
    into.blob(name).upload_from_string(sink.getvalue())


@pytest.fixture(scope="package")
def staged(bucket: storage.Bucket, mixpanel: Emulator, image: Image) -> Staged:
    upload(bucket, "in/a.parquet", EVENTS)
    bucket.blob("mapping.yaml").upload_from_string(MAPPING)
    given = parameters(mixpanel)
    # The secret is in the launcher's environment as well, so that it could end up in the graph.
    return Staged.of(given, image.launch(given, FLEX_API_SECRET=SECRET), bucket)


@pytest.fixture(scope="package")
def package(staged: Staged, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The staged sdist, unpacked: what the workers install."""
    place = tmp_path_factory.mktemp("sdist")
    with tarfile.open(fileobj=io.BytesIO(staged.file("workflow.tar.gz"))) as archive:
        archive.extractall(place, filter="data")
    (unpacked,) = place.iterdir()
    return unpacked


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclasses.dataclass(frozen=True)
class Prism:
    """A running Prism, and a pool that starts workers for it."""

    address: str
    workers: str

    def run(self, staged: Staged) -> tuple[str, list[str]]:
        """Runs a graph as it was staged; gives its end, and what was said about it."""
        graph = staged.graph
        for environment in graph.components.environments.values():
            # Where the container would be is a worker pool; all else stays as it was staged.
            environment.urn = "beam:env:external:v1"
            environment.payload = beam_runner_api_pb2.ExternalPayload(
                endpoint=endpoints_pb2.ApiServiceDescriptor(url=self.workers)
            ).SerializeToString()
            del environment.dependencies[:]
        given = {k: v for k, v in staged.parameters.items() if k not in ("runner", "job")}
        options = PipelineOptions([*(f"--{k}={v}" for k, v in given.items()), "--no_auth"])
        job = JobServiceHandle(ExternalJobServer(self.address, 30).start(), options)
        _, messages, states = job.submit(graph)
        name = beam_job_api_pb2.JobState.Enum.Name
        ended = {"DONE", "FAILED", "CANCELLED"}
        state = next(name(each.state) for each in states if name(each.state) in ended)
        return state, [each.message_response.message_text for each in messages]


@pytest.fixture(scope="package")
def shared_prism(image: Image, package: pathlib.Path, bucket: storage.Bucket) -> Iterator[Prism]:
    """For several graphs. Its workers are in a process that has the sdist and no clone."""
    port, workers = free_port(), free_port()
    command = [prism_or_skip(), f"--job_port={port}", "--serve_http=false", "--log_level=warn"]
    # The pool starts "python", whichever comes first.
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(image.python.parent), os.environ["PATH"]]),
        "PYTHONPATH": str(package),
        "FLEX_API_SECRET": SECRET,
        "FLEX_TOKEN": TOKEN,
    }
    module = "apache_beam.runners.worker.worker_pool_main"
    pool = [str(image.python), "-m", module, f"--service_port={workers}"]
    with (
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as runner,
        subprocess.Popen(pool, cwd=package, env=environment, stderr=subprocess.DEVNULL) as process,
    ):
        with grpc.insecure_channel(f"localhost:{workers}") as channel:
            grpc.channel_ready_future(channel).result(60)
        yield Prism(f"localhost:{port}", f"localhost:{workers}")
        process.terminate()
        runner.terminate()
