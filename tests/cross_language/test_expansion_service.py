"""The expansion service, as a pipeline in another language sees it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pathlib
import shutil
import socket
import subprocess
import sys
from typing import Any

import apache_beam as beam
import grpc
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_expansion_api_pb2, beam_expansion_api_pb2_grpc
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.external import (
    ExternalTransform,
    ImplicitSchemaPayloadBuilder,
    SchemaAwareExternalTransform,
)

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.expansion_service import CONSTRUCTOR, IDENTIFIER, PORT
from mixpanel_sink.rows import WriteRowsToMixpanel
from tests.conftest import SECRET
from tests.prism import PRISM

MAPPING = "{event: name, distinct_id: user, time: {column: at, unit: ms}, insert_id: id}"
IN_PROCESS = ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]
ON_PRISM = ["--runner=PrismRunner", f"--prism_location={PRISM}", "--environment_type=LOOPBACK"]
DOCS = pathlib.Path(__file__).parents[2] / "docs/cross-language.md"


def rows(count: int) -> list[beam.Row]:
    at = 1_704_067_200_000
    users = ["null", *(f"u{i}" for i in range(1, count))]
    return [
        beam.Row(name="Order", user=user, at=at, id=f"id-{i}", amount=1.5)
        for i, user in enumerate(users)
    ]


def transform(service: str, **settings: Any) -> SchemaAwareExternalTransform:
    given = {
        "mapping": MAPPING,
        "api_secret": "env:MIXPANEL_API_SECRET",
        "quota": "none",
        "error_handling": {"output": "failed"},
        **settings,
    }
    return SchemaAwareExternalTransform(
        IDENTIFIER, service, rearrange_based_on_discovery=True, **given
    )


def test_it_tells_what_it_has(service: str) -> None:
    (found,) = SchemaAwareExternalTransform.discover(service)
    assert found.identifier == IDENTIFIER
    assert "rows" in found.description
    assert list(found.inputs) == ["input"]
    assert list(found.outputs) == ["receipts"]
    types = found.configuration_schema.__annotations__
    named = [name for name in WriteRowsToMixpanel.__init__.__annotations__ if name != "return"]
    assert list(types) == named
    assert types["mapping"] == str | None


def send(url: str, service: str, options: list[str]) -> None:
    """A pipeline with the schema transform, and what its outputs hold."""
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        written = pipeline | beam.Create(rows(2500)) | transform(service, endpoint=url)
        failed = written["failed"] | "Reasons" >> beam.Map(lambda row: row.reason)
        assert_that(failed, equal_to(["distinct_id_reserved"]))
        accepted = written["receipts"] | "Accepted" >> beam.Map(lambda row: row.accepted)
        total = accepted | beam.CombineGlobally(sum)
        assert_that(total, equal_to([2499]), "Accepted")


@pytest.mark.parametrize("options", [IN_PROCESS, ON_PRISM], ids=["direct", "prism"])
def test_a_schema_transform(mixpanel: Emulator, service: str, options: list[str]) -> None:
    # In a process of its own: Beam keeps the first Prism, and runs all that follows on it.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as process:
        process.submit(send, mixpanel.url, service, options).result()
    stats = mixpanel.stats()
    assert stats["events_distinct"] == 2499
    assert stats["requests"] == 2


def test_a_python_transform_by_its_name(mixpanel: Emulator, service: str) -> None:
    settings = beam.Row(
        mapping=MAPPING,
        api_secret="env:MIXPANEL_API_SECRET",
        quota="none",
        endpoint=mixpanel.url,
        error_handling=beam.Row(output="failed"),
    )
    payload = ImplicitSchemaPayloadBuilder({"constructor": CONSTRUCTOR, "kwargs": settings})
    external = ExternalTransform("beam:transforms:python:fully_qualified_named", payload, service)
    with beam.Pipeline(options=PipelineOptions(IN_PROCESS)) as pipeline:
        outputs = pipeline | beam.Create(rows(10)) | external
        assert set(outputs) == {"receipts", "failed"}
    assert mixpanel.stats()["events_distinct"] == 9


def test_no_secret_is_in_the_expanded_graph(mixpanel: Emulator, service: str) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(IN_PROCESS))
    _ = pipeline | beam.Create(rows(10)) | transform(service, endpoint=mixpanel.url)
    assert SECRET.encode() not in pipeline.to_runner_api().SerializeToString()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mapping": "{evnt: name}"}, "MappingError: The mapping's key 'evnt' is unknown"),
        ({"mapping": MAPPING.replace("user", "usr")}, "Did you mean 'user'?"),
        ({"api_secret": "0123456789abcdef"}, "must be a reference"),
        ({"quota": "sixty"}, "'sixty' cannot be read"),
        ({"lanes": 0}, "at least 1"),
        ({"error_handling": {"output": ""}}, "{output: NAME}"),
    ],
)
def test_wrong_settings_are_told_in_a_sentence(
    service: str, settings: dict[str, Any], says: str
) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(IN_PROCESS))
    with pytest.raises(RuntimeError) as raised:
        _ = pipeline | beam.Create(rows(3)) | transform(service, **settings)
    assert says in str(raised.value)
    assert "Traceback" not in str(raised.value)
    assert "0123456789abcdef" not in str(raised.value)


def test_an_unknown_setting(service: str) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(IN_PROCESS))
    unknown = SchemaAwareExternalTransform(IDENTIFIER, service, qutoa="none")
    with pytest.raises(RuntimeError, match=r"'qutoa' is unknown\. Did you mean 'quota'"):
        _ = pipeline | beam.Create(rows(3)) | unknown


def test_nothing_else_is_expanded(service: str) -> None:
    pipeline = beam.Pipeline(options=PipelineOptions(IN_PROCESS))
    other = SchemaAwareExternalTransform("beam:schematransform:other:v1", service, path="x")
    with pytest.raises(RuntimeError, match=rf"this service has {IDENTIFIER}"):
        _ = pipeline | beam.Create(rows(3)) | other
    payload = ImplicitSchemaPayloadBuilder({"constructor": "subprocess.run", "kwargs": {"x": "y"}})
    code = ExternalTransform("beam:transforms:python:fully_qualified_named", payload, service)
    with pytest.raises(RuntimeError, match="not allowed by filter"):
        _ = pipeline | "Rows" >> beam.Create(rows(3)) | code


def test_an_input_without_a_producer(service: str) -> None:
    """Go's SDK sends none for schema transforms."""
    pipeline = beam.Pipeline()
    source = pipeline | beam.Create(rows(3))
    proto, context = pipeline.to_runner_api(return_context=True)
    proto.components.transforms.clear()
    builder = transform(service, endpoint="http://127.0.0.1:9")._payload_builder
    request = beam_expansion_api_pb2.ExpansionRequest(namespace="go", components=proto.components)
    request.transform.unique_name = "External"
    request.transform.spec.urn = common_urns.schematransform_based_expand.urn
    request.transform.spec.payload = builder.payload()
    request.transform.inputs["input"] = context.pcollections.get_id(source)
    with grpc.insecure_channel(service) as channel:
        response = beam_expansion_api_pb2_grpc.ExpansionServiceStub(channel).Expand(request)
    assert not response.error
    assert set(response.transform.outputs) == {"receipts", "failed"}
    names = [each.unique_name for each in response.components.transforms.values()]
    assert "External/Write/Convert" in " ".join(names)
    assert not [name for name in names if "producer" in name]


def test_a_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = f"--port={taken.getsockname()[1]}"
        command = [sys.executable, "-m", "mixpanel_sink.expansion_service", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "is not available" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_documents_names() -> None:
    text = DOCS.read_text()
    for name in (IDENTIFIER, CONSTRUCTOR, f"--port {PORT}"):
        assert name in text


@pytest.mark.timeout(900)  # the first time Go compiles Beam
def test_a_pipeline_in_go(mixpanel: Emulator, service: str, tmp_path: pathlib.Path) -> None:
    go = shutil.which("go")
    if go is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("Go is not installed")
    place = pathlib.Path(__file__).parent / "go"
    program = tmp_path / "go_to_mixpanel"
    subprocess.run([go, "build", "-o", program, "."], cwd=place, check=True)
    command = [program, f"--expansion={service}", f"--mixpanel={mixpanel.url}", "--count=5000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr
    said = sorted(line for line in done.stdout.splitlines() if line.startswith(("acc", "failed:")))
    assert said[:3] == ["accepted: 2000", "accepted: 2000", "accepted: 999"]
    assert said[3].startswith("failed: distinct_id_reserved: {")
    assert mixpanel.stats()["events_distinct"] == 4999
    assert mixpanel.stats()["requests"] == 3
