"""Runs the example pipelines as a user would, against one emulator for all tests."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.cloud import storage

from mixpanel_sink.emulator.testing import Emulator
from pipelines import parquet_to_mixpanel
from tests.cloud_storage import emulated_bucket

MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: ms}\n"


@dataclasses.dataclass
class Run:
    code: int
    out: str
    err: str
    failed: list[dict[str, Any]]


@pytest.fixture(scope="session")
def _server() -> Iterator[Emulator]:
    with Emulator(quota="none", variant="reference") as running:
        yield running


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[storage.Bucket]:
    """Named "events". For the whole module: Beam keeps the first credentials that it finds."""
    with emulated_bucket(tmp_path_factory.mktemp("gcp")) as made:
        yield made


@pytest.fixture
def server(_server: Emulator) -> Emulator:
    _server.reset(quota="none")  # settings outlive a reset
    return _server


@pytest.fixture
def send(
    server: Emulator,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Run]:
    """Runs the pipeline as the command line does, against the emulator."""
    monkeypatch.setenv("TEST_API_SECRET", server.api_secret)

    def run(
        source: object,
        *more: str,
        mapping: str = MAPPING,
        own_process: bool = False,
        module: Any = parquet_to_mixpanel,
    ) -> Run:
        (tmp_path / "mapping.yaml").write_text(mapping)
        given = [argument.partition("=")[0] for argument in more]
        arguments = [f"--input={source}", *more]
        defaults = (
            f"--mapping={tmp_path}/mapping.yaml",
            "--api-secret=env:TEST_API_SECRET",
            f"--endpoint={server.url}",
            "--quota=none",
            f"--failed-output={tmp_path}/failed",
        )
        arguments += [d for d in defaults if d.partition("=")[0] not in given]
        if own_process:
            command = [sys.executable, "-m", module.__name__, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            code, out, err = done.returncode, done.stdout, done.stderr
        else:
            code = module.main(arguments)
            out, err = capsys.readouterr()
        lines = [
            json.loads(line)
            for path in sorted(tmp_path.glob("failed*.jsonl"))
            for line in path.read_text().splitlines()
        ]
        return Run(code, out, err, lines)

    return run
