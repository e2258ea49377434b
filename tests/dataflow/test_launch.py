"""The launcher's entry, and what it stages for Dataflow."""

from __future__ import annotations

import base64
import bz2
import re
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.coders.coders import FastPrimitivesCoder, PickleCoder
from apache_beam.internal import pickler
from apache_beam.portability.api import beam_runner_api_pb2

from mixpanel_sink.stages.send_steps import timer_family
from tests.dataflow.conftest import SECRET, parameters

PARDO = "beam:transform:pardo:v1"
OF_BEAM = ("ReshufflePerKey/", "CombinePerKey/", "/KeyWithVoid", "/UnKey", "/DoOnce/", "WriteImpl/")
"""Steps inside of Beam's own transforms, whose coders are Beam's choice."""


def steps(graph: beam_runner_api_pb2.Pipeline) -> dict[str, Any]:
    return {each.unique_name: each for each in graph.components.transforms.values()}


def pickles(graph: beam_runner_api_pb2.Pipeline) -> Iterator[tuple[str, bytes]]:
    """Everything in the graph that Python pickled, unpacked, by the name of its step or coder."""
    for name, step in steps(graph).items():
        if step.spec.urn == PARDO:
            payload = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
            yield name, bz2.decompress(base64.b64decode(payload.do_fn.payload))
    for name, coder in graph.components.coders.items():
        if coder.spec.urn == "beam:coder:pickled_python:v1":
            _, _, data = coder.spec.payload.partition(b"$")
            yield name, zlib.decompress(base64.b64decode(data))


def leaves(graph: beam_runner_api_pb2.Pipeline, coder_id: str) -> Iterator[str]:
    """The URNs of a coder's innermost parts; of pickled ones the name of the class."""
    coder = graph.components.coders[coder_id]
    for part in coder.component_coder_ids:
        yield from leaves(graph, part)
    if coder.spec.urn == "beam:coder:pickled_python:v1":
        data = coder.spec.payload.partition(b"$")[2]
        yield type(pickler.loads(data, use_zlib=True)).__name__
    elif not coder.component_coder_ids:
        yield coder.spec.urn


def test_it_stages_and_returns(staged) -> None:
    assert staged.launch.returncode == 0, staged.launch.stderr
    assert staged.launch.stdout.splitlines() == [
        "Template staged: gs://events/staging/template_launches/1/job_object"
    ]
    assert {path.rpartition("/")[2] for path in staged.files} == {
        "job_object",
        "pipeline.pb",
        "submission_environment_dependencies.txt",
        "workflow.tar.gz",
    }


@pytest.mark.parametrize("module", ["mixpanel_sink/stages/pack.py", "mixpanel_sink/jobs/run.py"])
def test_what_ran_is_the_images_copy(staged, image, module) -> None:
    """It fails as soon as a module is missing there, although the clone has it."""
    path = image.root / "template" / module
    path.rename(image.root / "away.py")
    try:
        launch = image.launch(staged.parameters)
    finally:
        (image.root / "away.py").rename(path)
    assert launch.returncode == 1
    assert re.search(r"(ImportError|ModuleNotFoundError): .*\b" + path.stem, launch.stderr)


def test_the_job_that_the_launcher_starts(staged) -> None:
    job = staged.job
    assert job["name"] == "import-1"
    assert job["type"] == "JOB_TYPE_BATCH"
    options = job["environment"]["sdkPipelineOptions"]["options"]
    for name in ("input", "mapping", "api_secret", "endpoint", "failed_output", "region"):
        assert options[name] == staged.parameters[name], name
    assert options["pipelineUrl"].startswith("gs://events/staging/import-1.")
    assert options["pipelineUrl"].endswith("/pipeline.pb")


def test_regions_and_switches_go_where_they_belong(staged) -> None:
    """--region is Google Cloud's; the launcher says =true and =false."""
    options = staged.job["environment"]["sdkPipelineOptions"]["options"]
    assert options["region"] == "europe-west1"
    assert options.get("mixpanel_region") is None
    assert options["allow_http"] is False


def test_the_payloads_way(staged) -> None:
    graph = staged.graph
    send = steps(graph)["Write to Mixpanel/Send/ParDo(SendChunks)"]
    convert = steps(graph)["Write to Mixpanel/Convert/ParDo(ConvertToChunks)"]
    assert set(send.inputs.values()) <= set(convert.outputs.values())
    (chunks,) = send.inputs.values()
    coder = graph.components.coders[graph.components.pcollections[chunks].coder_id]
    assert coder.spec.urn == "beam:coder:kv:v1"
    assert [graph.components.coders[id].spec.urn for id in coder.component_coder_ids] == [
        "beam:coder:string_utf8:v1",
        "beam:coder:bytes:v1",
    ]


def test_state_and_timers_of_send(staged) -> None:
    graph = staged.graph
    step = steps(graph)["Write to Mixpanel/Send/ParDo(SendChunks)"]
    payload = beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload)
    coders = {
        name: list(
            leaves(graph, spec.bag_spec.element_coder_id or spec.read_modify_write_spec.coder_id)
        )
        for name, spec in payload.state_specs.items()
    }
    assert coders == {
        "tails": ["beam:coder:bytes:v1"],
        "size": ["beam:coder:varint:v1"] * 3,
        "lane": ["beam:coder:bytes:v1"],
    }
    domain = beam_runner_api_pb2.TimeDomain.EVENT_TIME
    timer = f"ts-flush-{timer_family('Write to Mixpanel')}"
    assert {k: v.time_domain for k, v in payload.timer_family_specs.items()} == {timer: domain}
    assert graph.requirements == ["beam:requirement:pardo:stateful:v1"]


def test_no_coder_of_ours_falls_back_on_pickling(staged) -> None:
    """Standard coders, or our own; Beam's catch-all only inside of Beam's own transforms."""
    graph = staged.graph
    fallbacks = {FastPrimitivesCoder.__name__, PickleCoder.__name__}
    ours = {}
    for each in graph.components.pcollections.values():
        if not any(part in f"{each.unique_name}/" for part in OF_BEAM):
            ours[each.unique_name.lstrip("0123456789")] = set(leaves(graph, each.coder_id))
    assert len(ours) > 20
    wrong = {name: found for name, found in ours.items() if found & fallbacks}
    assert wrong == {}


def test_no_secret_is_staged(staged) -> None:
    for path, data in staged.files.items():
        assert SECRET.encode() not in data, path
    unpacked = dict(pickles(staged.graph))
    for name, data in unpacked.items():
        assert SECRET.encode() not in data, name
    # ... and this is where it would be: the reference is.
    assert b"FLEX_API_SECRET" in unpacked["Write to Mixpanel/Send/ParDo(SendChunks)"]
    assert SECRET not in staged.launch.stdout + staged.launch.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"api_secret": SECRET}, "The API secret must be a reference"),
        ({"project": "x"}, "Beam does not take these options: Invalid Project ID (x)."),
        ({"input": "gs://events/none/*.parquet"}, "No file matches gs://events/none/*.parquet"),
        ({"mixpanel_region": "eu"}, "Give a region or an endpoint, not both"),
    ],
)
def test_a_wrong_setting_is_one_sentence(staged, image, mixpanel, change, said) -> None:
    launch = image.launch({**parameters(mixpanel), **change})
    assert launch.returncode == 2
    (error,) = [line for line in launch.stderr.splitlines() if line.startswith("Error: ")]
    assert said in error
    assert "Traceback" not in launch.stderr
    assert SECRET not in launch.stderr
