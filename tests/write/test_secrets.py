"""Secrets stay secret: a pipeline with every kind of them, and whatever it leaves behind."""

from __future__ import annotations

import base64
import contextlib
import io
import logging
import pathlib
import pickle
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.display import DisplayData

from mixpanel_sink.cli import main
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken, ServiceAccount
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.project import Project
from mixpanel_sink.write import WriteToMixpanel
from mixpanel_sink.write_profiles import WriteProfilesToMixpanel
from tests.running import FAST, run
from tests.write.test_write import MAPPING, record

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


@contextlib.contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """Everybody's log, at DEBUG."""
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


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
        assert not holds_secret(pickle.dumps(transform.__dict__["_job"].targets))
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
    with everything_logged() as log:
        code = main(
            [
                *("import", "rows.parquet", "-m", "mapping.yaml", "--endpoint", server.url),
                *("--api-secret", "env:TEST_API", "--project-token", "env:TEST_TOKEN"),
                *("--failed-output", "failed", "--report", "run.html"),
                *("--checkpoint", "checkpoint", "--hash-properties=note2"),
                "--hash-key=env:TEST_PEPPER",
            ]
        )
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
    server.faults([{"kind": "status", "status": 401}])
    try:
        with beam.Pipeline() as pipeline:
            sink = WriteToMixpanel(MAPPING, references["environment"], endpoint=server.url)
            _ = pipeline | beam.Create([record(0)]) | sink
    except Exception:
        assert not holds_secret("".join(traceback.format_exception(*sys.exc_info())))
    else:
        pytest.fail("the job must fail")


ECHO = "who is " + " or ".join(
    (*SECRETS.values(), base64.b64encode(f"robot:{SECRETS['robot']}".encode()).decode())
)
"""What a server says that repeats whatever it is told."""
ECHOES: dict[str, dict[str, Any]] = {
    "401": {"kind": "status", "status": 401, "body": ECHO},
    "404": {"kind": "status", "status": 404, "body": ECHO},
    "500": {"kind": "status", "status": 500, "body": {"error": ECHO}, "times": 3},
    "failed records": {"kind": "failed_records", "records": [{"index": 1, "message": ECHO}]},
}


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("kind", [*KINDS, "several projects", "profiles"])
def test_a_server_that_repeats_secrets(
    server: Emulator, references: dict[str, Any], tmp_path: pathlib.Path, kind: str, echo: str
) -> None:
    """Each kind of credentials; a server can only repeat those that it was sent."""
    told = {"service account": {"robot", "token"}, "token": {"token"}, "profiles": {"token"}}
    server.faults([ECHOES[echo]])
    options: dict[str, Any] = {"retry": FAST, "checkpoint": str(tmp_path / "checkpoint")}
    sink: beam.PTransform
    source = [record(n) for n in range(5)]
    if kind == "several projects":
        one = Project(references["environment"], endpoint=server.url, quota="none")
        sink = WriteToMixpanel(
            MAPPING, projects={"a": one, "b": one}, destination=lambda _: "a", **options
        )
    elif kind == "profiles":
        source = [{"$distinct_id": f"u{n}", "$set": {"n": n}} for n in range(5)]
        sink = WriteProfilesToMixpanel(
            None, references["token"], endpoint=server.url, lanes=1, **options
        )
    else:
        sink = WriteToMixpanel(
            MAPPING, references[kind], endpoint=server.url, quota="none", **options
        )
    said = ""
    with everything_logged() as log:
        try:
            ran = run(source, sink)
        except Exception:
            said = "".join(traceback.format_exception(*sys.exc_info()))
        else:
            said = repr(ran)
    # What the server said was heard, but for what is secret here.
    assert "who is" in said + log.getvalue() or echo == "404"
    left = [path.read_text() for path in (tmp_path / "checkpoint").iterdir()]
    for text in (said, log.getvalue(), *left):
        assert not set(holds_secret(text)) & told.get(kind, {"api", "token"})
