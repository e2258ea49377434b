"""Secrets stay secret: a pipeline with every kind of them, and whatever it leaves behind."""

from __future__ import annotations

import io
import logging
import pathlib
import pickle
import sys
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.display import DisplayData

from mixpanel_sink.cli import main
from mixpanel_sink.credentials import ApiSecret, ProjectToken, ServiceAccount
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.privacy import Privacy
from mixpanel_sink.project import Project
from mixpanel_sink.write import WriteProfilesToMixpanel, WriteToMixpanel
from tests.test_write import MAPPING, record

SECRETS = {
    "api": "api-s3cr3t-0001",
    "robot": "robot-s3cr3t-0002",
    "token": "token-s3cr3t-0003",
    "pepper": "pepper-s3cr3t-0004",
}


class BeamSecret:
    """A user's own way to a secret."""

    def get_secret_bytes(self) -> bytes:
        return SECRETS["api"].encode()


def holds_secret(text: str | bytes) -> list[str]:
    found = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    return [name for name, secret in SECRETS.items() if secret.encode() in found]


@pytest.fixture
def references(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(f"TEST_{name.upper()}", secret)
    (tmp_path / "secret").write_text(SECRETS["api"])
    token = "env:TEST_TOKEN"
    return {
        "environment": ApiSecret("env:TEST_API", token=token),
        "file": ApiSecret(f"file:{tmp_path}/secret", token=token),
        "object": ApiSecret(BeamSecret(), token=token),
        "service account": ServiceAccount("robot", "env:TEST_ROBOT", 7, token=token),
        "token": ProjectToken(token),
    }


@pytest.fixture
def server() -> Any:
    with Emulator(
        api_secret=SECRETS["api"],
        project_token=SECRETS["token"],
        service_account=("robot", SECRETS["robot"]),
        project_id=7,
    ) as running:
        yield running


def graph(transform: beam.PTransform) -> bytes:
    pipeline = beam.Pipeline(options=PipelineOptions(["--runner=DirectRunner"]))
    _ = pipeline | beam.Create([record(0)]) | transform
    proto = pipeline.to_runner_api()
    found: bytes = proto.SerializeToString()
    return found


KINDS = ["environment", "file", "object", "service account", "token"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_holds_references_only(references: dict[str, Any], kind: str) -> None:
    credentials = references[kind]
    privacy = Privacy(hash=["note"], key="env:TEST_PEPPER")
    several = {"a": Project(credentials), "b": Project(credentials, region="eu")}
    transforms: list[beam.PTransform] = [
        WriteToMixpanel(MAPPING, credentials, privacy=privacy, checkpoint="/nowhere"),
        WriteToMixpanel(MAPPING, credentials, endpoint_kind="track"),
        WriteToMixpanel(MAPPING, projects=several, destination="note"),
        WriteProfilesToMixpanel(None, credentials),
    ]
    for transform in transforms:
        assert not holds_secret(graph(transform))
        assert not holds_secret(pickle.dumps(transform.__dict__.get("_targets")))
        shown = DisplayData.create_from(transform).items
        assert not holds_secret(repr(shown) + repr(transform) + repr(vars(transform)))
    assert not holds_secret(repr(credentials.resolve()))
    with pytest.raises(TypeError, match="not to be pickled"):
        pickle.dumps(credentials.resolve())


@pytest.mark.parametrize("ending", ["well", "failures", "401"])
def test_what_a_run_leaves_behind(
    server: Emulator,
    references: dict[str, Any],
    tmp_path: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    """Logs at DEBUG of everyone, output, failed records, checkpoint and report."""
    del references
    monkeypatch.chdir(tmp_path)
    rows = [record(n) for n in range(50)]
    rows[3]["user"] = None
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "mapping.yaml").write_text(
        "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\ninsert_id: id\n"
    )
    if ending == "failures":
        server.faults([{"kind": "failed_records", "records": [{"index": 5, "message": "no"}]}])
    if ending == "401":
        server.faults([{"kind": "status", "status": 401, "body": "who are you?"}])
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        code = main(
            [
                *("import", "rows.parquet", "-m", "mapping.yaml", "--endpoint", server.url),
                *("--api-secret", "env:TEST_API", "--project-token", "env:TEST_TOKEN"),
                *("--failed-output", "failed", "--report", "run.html"),
                *("--checkpoint", "checkpoint", "--hash_properties=note2"),
                "--hash_key=env:TEST_PEPPER",
            ]
        )
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert code == (1 if ending == "401" else 0)
    out, err = capfd.readouterr()
    assert log.getvalue()
    assert not holds_secret(log.getvalue())
    assert not holds_secret(out + err)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secret"]
    assert any("checkpoint" in str(path) for path in left)
    assert {path.name: holds_secret(path.read_bytes()) for path in left} == {
        path.name: [] for path in left
    }


def test_an_error_and_its_traceback_hold_none(server: Emulator, references: dict[str, Any]) -> None:
    import traceback

    server.faults([{"kind": "status", "status": 401}])
    try:
        with beam.Pipeline() as pipeline:
            sink = WriteToMixpanel(MAPPING, references["environment"], endpoint=server.url)
            _ = pipeline | beam.Create([record(0)]) | sink
    except Exception:
        assert not holds_secret("".join(traceback.format_exception(*sys.exc_info())))
    else:
        pytest.fail("the job must fail")
