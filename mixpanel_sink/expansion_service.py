"""The sink for pipelines in Java, Go or another language of Beam's.

    python -m mixpanel_sink.expansion_service --port 8097

Their SDK sends a configuration and gets the transform's graph back. It knows the sink under two
names: the schema transform IDENTIFIER, which can be discovered with its settings, and the Python
transform CONSTRUCTOR ("fully qualified name"). Rows go in and come out.

--workers also serves workers, for runners on this machine that take them from an address (Prism,
the DirectRunner). On others the workers are Beam's containers: give what they must install, as
for a Python pipeline (--requirements_file, --extra_package, --sdk_container_image).
"""

import argparse
import inspect
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Optional

import apache_beam as beam
import grpc
from apache_beam.coders import RowCoder
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import (
    beam_artifact_api_pb2_grpc,
    beam_expansion_api_pb2,
    beam_expansion_api_pb2_grpc,
    beam_fn_api_pb2_grpc,
    external_transforms_pb2,
    schema_pb2,
)
from apache_beam.runners.portability import artifact_service
from apache_beam.runners.portability.expansion_service import ExpansionServiceServicer
from apache_beam.runners.worker import sdk_worker
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.transforms.fully_qualified_named_transform import FullyQualifiedNamedTransform
from apache_beam.typehints.schemas import typing_to_runner_api
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance

from mixpanel_sink.errors import SettingError
from mixpanel_sink.rows import RECEIPTS, WriteRowsToMixpanel, settings_types
from mixpanel_sink.settings.names import near

IDENTIFIER = "beam:schematransform:mixpanel_sink:write:v1"
"""The schema transform's name."""
CONSTRUCTOR = f"{WriteRowsToMixpanel.__module__}.{WriteRowsToMixpanel.__name__}"
"""The Python transform's name."""
PORT = 8097


class WriteSchemaTransform(beam.PTransform):
    """The sink as a schema transform: its configuration is a row."""

    @staticmethod
    def from_runner_api_parameter(_: Any, payload: Any, __: Any) -> beam.PTransform:
        """The transform that another SDK asks for.

        Raises:
            SettingError: for another transform, or a setting that is unknown or wrong.
        """
        if payload.identifier != IDENTIFIER:
            raise SettingError(
                f"The transform {payload.identifier!r} is unknown; this service has {IDENTIFIER}."
            )
        row = RowCoder(payload.configuration_schema).decode(payload.configuration_row)
        # What a language cannot leave out, it sends as null.
        given = {name: value for name, value in row._asdict().items() if value is not None}
        known = settings()
        for name in given:
            if name not in known:
                raise SettingError(f"The setting {name!r} is unknown.{near(name, list(known))}")
        return WriteRowsToMixpanel(**given)


beam.PTransform.register_urn(
    common_urns.schematransform_based_expand.urn,
    external_transforms_pb2.SchemaTransformPayload,
    WriteSchemaTransform.from_runner_api_parameter,
)


def settings() -> dict[str, Any]:
    """The configuration's fields and types. Languages without `Any` give the mapping as text."""
    return {**settings_types(), "mapping": Optional[str]}  # noqa: UP045


class _ShortIds(sdk_worker.ShortIdCache):
    """Short names of this process's metrics, which those of another SDK's workers never have.

    Prism 2.77 keeps the short names of all of a job's workers in one table, and ends the job when
    a Go worker and a Python worker mean different metrics by one name.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last_short_id = 1 << 40


class MixpanelExpansionService(ExpansionServiceServicer):
    """Beam's expansion service, which also tells what it has."""

    def Expand(self, request: Any, context: Any = None) -> Any:
        """The transform's graph; or our own sentence of what is wrong, without the traceback."""
        stand_ins = _produce_inputs(request)
        response = super().Expand(request, context)
        for name in stand_ins:
            response.components.transforms.pop(name, None)
        _, ours, said = response.error.rpartition("mixpanel_sink.errors.")
        if ours:
            response.error = said.strip()
        return response

    def DiscoverSchemaTransform(self, request: Any, context: Any = None) -> Any:
        """The sink's settings, inputs and outputs."""
        schema = schema_pb2.Schema(
            fields=[
                schema_pb2.Field(name=name, type=typing_to_runner_api(kind))
                for name, kind in settings().items()
            ]
        )
        config = beam_expansion_api_pb2.SchemaTransformConfig(
            config_schema=schema,
            input_pcollection_names=["input"],
            output_pcollection_names=[RECEIPTS],
            description=inspect.getdoc(WriteRowsToMixpanel),
        )
        return beam_expansion_api_pb2.DiscoverSchemaTransformResponse(
            schema_transform_configs={IDENTIFIER: config}
        )


def _produce_inputs(request: Any) -> list[str]:
    """Gives each input a producer, which Beam's service needs and Go does not send; their names."""
    transforms = request.components.transforms
    produced = {output for each in transforms.values() for output in each.outputs.values()}
    names = []
    for tag, pcollection in request.transform.inputs.items():
        if pcollection in produced:
            continue
        name = f"producer of {tag}"
        transforms[name].unique_name = name
        transforms[name].spec.urn = common_urns.primitives.IMPULSE.urn
        transforms[name].outputs["out"] = pcollection
        names.append(name)
    return names


@contextmanager
def serve(
    port: int, host: str = "127.0.0.1", workers: bool = False, options: Sequence[str] = ()
) -> Iterator[str]:
    """Runs the service within the block.

    Args:
        port: 0 for any free one.
        host: an address of this machine.
        workers: whether to serve workers too, which run in this process.
        options: Beam's, for the workers' environment.

    Yields:
        Its address.

    Raises:
        SettingError: if the port cannot be had.
    """
    environment = PipelineOptions(
        [*options, "--experiments=beam_fn_api", "--sdk_location=container"]
    )
    pickler.set_library(environment.view_as(SetupOptions).pickle_library)
    server = grpc.server(shared_unbounded_instance())
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise SettingError(f"Port {port} of {host} is not available. Choose another --port.")
    address = f"{host}:{bound}"
    if workers:
        sdk_worker.SHORT_ID_CACHE = _ShortIds()
        beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(
            BeamFnExternalWorkerPoolServicer(), server
        )
    beam_expansion_api_pb2_grpc.add_ExpansionServiceServicer_to_server(
        MixpanelExpansionService(environment, loopback_address=address if workers else None),
        server,
    )
    beam_artifact_api_pb2_grpc.add_ArtifactRetrievalServiceServicer_to_server(
        artifact_service.ArtifactRetrievalService(
            artifact_service.BeamFilesystemHandler(None).file_reader
        ),
        server,
    )
    with FullyQualifiedNamedTransform.with_filter(CONSTRUCTOR):
        server.start()
        try:
            yield address
        finally:
            server.stop(None).wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until it is interrupted or terminated; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m mixpanel_sink.expansion_service",
        description=__doc__,
        epilog="Options of Beam's for the workers' environment may follow.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--port", type=int, default=PORT, help="Default: %(default)s; 0: any.")
    parser.add_argument("--host", default="127.0.0.1", help="Default: this machine only.")
    parser.add_argument("--workers", action="store_true", help="Serve workers too.")
    own, options = parser.parse_known_args(argv)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        with serve(own.port, own.host, own.workers, options) as address:
            print(f"Expansion service on {address}", flush=True)
            ended.wait()
    except SettingError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
