"""The other Flex Templates of the image: what they stage, and their graphs on Prism."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import io
import json
import re
import subprocess
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from mixpanel_sink.checkpoint import lease
from mixpanel_sink.checkpoint.folder import open_folder
from mixpanel_sink.checkpoint.manifest import Manifest
from mixpanel_sink.checkpoint.stored import Folder
from mixpanel_sink.errors import CheckpointError
from mixpanel_sink.jobs import reference, template
from tests import virtual_environment
from tests.dataflow.conftest import ROOT, SECRET, TOKEN, Staged, parameters

MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\ninsert_id: id\n"
REST = ("replay", "stream", "verify")
ROWS = [
    {"name": "Order", "user": f"u{i}", "at": 1_704_067_200_000 + i, "id": f"o-{i}"}
    for i in range(3)
]
LAUNCH = """
import json, sys
from mixpanel_sink.jobs import template
for arguments in json.load(sys.stdin):
    code = template.main(arguments)
    assert code == 0, (code, arguments)
"""


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def given(job: str, mixpanel: Any) -> dict[str, str]:
    """The parameters of a launch."""
    common = parameters(mixpanel)
    place = f"gs://events/staging-{job}"
    common |= {
        "job": job,
        "job_name": f"{job}-1",
        "staging_location": place,
        "template_location": f"{place}/job_object",
        "failed_output": f"gs://events/failed/{job}",
        "mapping": "gs://events/keyed.yaml",
    }
    own: dict[str, dict[str, str]] = {
        "profiles": {
            "input": "gs://events/users.parquet",
            "mapping": "gs://events/users.yaml",
            "endpoint_kind": "engage",
            "project_token": "env:FLEX_TOKEN",
            "only_changed": "true",
            "checkpoint": "gs://events/kept-profiles",
        },
        "import": {"input": "gs://events/keyed.parquet", "checkpoint": "gs://events/kept-import"},
        "replay": {"input": "gs://events/again-*.jsonl"},
        "stream": {
            "input": "projects/test-project/subscriptions/events",
            "failed_output": "projects/test-project/topics/failed",
        },
        "verify": {"input": "gs://events/keyed.parquet", "report_dir": "gs://events/report"},
    }
    without = {"verify": {"failed_output", "quota"}, "profiles": {"api_secret"}}.get(job, set())
    return {k: v for k, v in {**common, **own[job]}.items() if k not in without}


@pytest.fixture(scope="module")
def others(bucket, mixpanel, image, staged) -> dict[str, Staged]:
    """Launched in one process; the first template shows that the image is launched as it should."""
    failed = [{"reason": "gave_up", "record": row} for row in ROWS]
    lines = "".join(json.dumps(each) + "\n" for each in failed)
    bucket.blob("again-1.jsonl").upload_from_string(lines)
    bucket.blob("keyed.yaml").upload_from_string(MAPPING)
    bucket.blob("keyed.parquet").upload_from_string(parquet(ROWS))
    bucket.blob("users.yaml").upload_from_string("distinct_id: user\n")
    users = [{"user": f"u{i}", "plan": "pro"} for i in range(4)]
    bucket.blob("users.parquet").upload_from_string(parquet(users))
    launches = {job: given(job, mixpanel) for job in ("profiles", "import", *REST)}
    words = [[f"--{k}={v}" for k, v in each.items()] + ["--no_auth"] for each in launches.values()]
    environment = virtual_environment.without_clone(
        PYTHONPATH=str(image.root / "template"), FLEX_API_SECRET=SECRET, FLEX_TOKEN=TOKEN
    )
    launch = subprocess.run(
        [str(image.python), "-c", LAUNCH], input=json.dumps(words), cwd=image.root,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert launch.returncode == 0, launch.stderr
    return {job: Staged.of(each, launch, bucket) for job, each in launches.items()}


def test_they_are_staged_without_secrets(others) -> None:
    for job, staged in others.items():
        assert staged.job["name"] == f"{job}-1"
        kind = "STREAMING" if job == "stream" else "BATCH"
        assert staged.job["type"] == f"JOB_TYPE_{kind}", job
        for path, data in staged.files.items():
            assert SECRET.encode() not in data, path
            assert TOKEN.encode() not in data, path


def test_the_stream_reads_the_subscription_and_has_a_dead_letter_topic(others) -> None:
    graph = others["stream"].graph
    steps = {each.unique_name: each.spec for each in graph.components.transforms.values()}
    (read,) = (each for each in steps.values() if each.urn == "beam:transform:pubsub_read:v1")
    (write,) = (each for each in steps.values() if each.urn == "beam:transform:pubsub_write:v1")
    reads = beam_runner_api_pb2.PubSubReadPayload.FromString(read.payload)
    writes = beam_runner_api_pb2.PubSubWritePayload.FromString(write.payload)
    assert reads.subscription == "projects/test-project/subscriptions/events"
    assert writes.topic == "projects/test-project/topics/failed"
    assert any(name.startswith("Write to Mixpanel/Send/") for name in steps)


def test_a_launched_job_keeps_its_lease_and_gives_it_back(
    others, shared_prism, mixpanel, bucket
) -> None:
    """Nobody waits for it: the launcher takes the lease, the workers renew it and give it back."""
    mixpanel.reset(latency_ms=6000)
    for job in ("import", "profiles"):
        folder = open_folder(f"gs://events/kept-{job}")
        holder = lease.holder_of(folder)
        assert holder.seconds == lease.REMOTE_SECONDS
        assert not holder.is_gone()  # although the launcher has ended
        with pytest.raises(CheckpointError, match=r"is in use: .* has held it since"):
            lease.acquire(folder, "another")
        # From now on it expires soon, and the one request takes three times as long. (Of another
        # machine, as else the launcher's process would be looked for.)
        holder = dataclasses.replace(holder, machine="far", seconds=2.0, renewed=time.time())
        folder.write(lease.NAME, holder.to_json())
        with concurrent.futures.ThreadPoolExecutor() as thread:
            refused = thread.submit(refused_later, folder, holder) if job == "import" else None
            state, said = shared_prism.run(others[job])
            assert refused is None or "is in use" in refused.result()
        assert state == "DONE", said
        assert folder.read(lease.NAME) is None
        taken = [mixpanel.stats()["events_distinct"], len(mixpanel.profiles())]
        assert taken == ([len(ROWS), 0] if job == "import" else [0, 4])
        mixpanel.reset(latency_ms=0)


def refused_later(folder: Folder, held: lease.Holder) -> str:
    """What another run hears that comes while the request is under way, when the lease would have
    expired if nobody had renewed it since then."""
    end = time.monotonic() + 120
    while (found := lease.holder_of(folder)) is None or found.count == held.count:
        assert time.monotonic() < end, "no worker has renewed the lease"
        time.sleep(0.1)
    clock = time.time()
    time.sleep(1.5 * held.seconds)
    assert time.time() > clock + held.seconds

    def watch(_: float) -> None:
        """As long as a holder may take to renew it: the machine may be busy."""
        before, end = folder.stored(lease.NAME), time.monotonic() + lease.WATCH_SECONDS
        while folder.stored(lease.NAME) == before and time.monotonic() < end:
            time.sleep(0.1)

    with pytest.raises(CheckpointError) as caught:
        lease.acquire(folder, "another", sleep=watch)
    return str(caught.value)
    (run,) = Manifest.load(open_folder("gs://events/kept-import")).runs
    assert (run.files, run.read) == (1, len(ROWS))


def test_their_graphs_run(others, shared_prism, mixpanel, bucket) -> None:
    """On Prism. (A stream's cannot: Pub/Sub is read by Dataflow itself.)"""
    mixpanel.reset()
    # Nothing is there yet, so that the verification must fail.
    state, said = shared_prism.run(others["verify"])
    assert state == "FAILED"
    assert any("3 of 3 events are missing" in each for each in said), said
    state, said = shared_prism.run(others["replay"])
    assert state == "DONE", said
    ids = {each["properties"]["$insert_id"] for each in mixpanel.events(10)}
    assert ids == {"o-0", "o-1", "o-2"}
    state, said = shared_prism.run(others["verify"])
    assert state == "DONE", said
    names = {blob.name for blob in bucket.client.list_blobs("events", prefix="report/")}
    assert "report/missing.jsonl" in names


@pytest.mark.parametrize("made", reference.TEMPLATES, ids=lambda each: each.job)
def test_the_metadata(made: reference.Template) -> None:
    listed = json.loads((ROOT / made.path).read_text())
    assert listed == json.loads(reference.metadata(made))
    known = {each["name"]: each for each in listed["parameters"]}
    assert listed.get("streaming", False) is (made.job == "stream")
    assert not {"progress", "report", "notify", "dry_run"} & known.keys()
    needed = {each["name"] for each in listed["parameters"] if not each["isOptional"]}
    if made.job == "import":
        assert needed == set(made.required)
        return
    assert needed == {"job", *made.required}
    for name, value in given(made.job, type("At", (), {"url": "http://127.0.0.1:1"})).items():
        if name in known:
            (regex,) = known[name]["regexes"]
            assert re.fullmatch(regex, value) or name == "failed_output", (name, value)


def test_build_sh_makes_every_template() -> None:
    text = (ROOT / "configs/flex_template/build.sh").read_text()
    for each in reference.TEMPLATES:
        assert each.path.name.removesuffix(".json") in text


def test_an_unknown_job_is_one_sentence(capsys) -> None:
    assert template.main(["--job=exprot", "--input=x"]) == 2
    assert "it must be one of import, profiles, replay, stream, verify" in capsys.readouterr().err
