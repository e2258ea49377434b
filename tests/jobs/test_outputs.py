"""What a run is to write: refused at launch where that cannot be, and reported where it fails."""

from __future__ import annotations

import pathlib
from collections.abc import Callable

import pytest

from mixpanel_sink.emulator.testing import Emulator
from tests.jobs.conftest import Run
from tests.jobs.test_import_parquet import shop, write


@pytest.fixture
def source(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "events.parquet"
    write(path, shop(10))
    return path


@pytest.mark.parametrize("option", ["failed_output", "report"])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("{tmp}/file/x", "cannot be written (File exists). Give a folder that you may write to."),
        ("{tmp}/file/deeper/x", "cannot be written (Not a directory)"),
        ("nosuch://bucket/x", "no file system is known for nosuch://. Give a local path or gs://"),
    ],
)
def test_a_place_that_cannot_be_written(
    send: Callable[..., Run],
    server: Emulator,
    source: pathlib.Path,
    tmp_path: pathlib.Path,
    option: str,
    place: str,
    why: str,
) -> None:
    (tmp_path / "file").write_text("")
    run = send(source, f"--{option}={place.format(tmp=tmp_path)}")
    assert run.code == 2
    assert run.err.startswith(f"Error: --{option} ")
    assert why in run.err
    assert "Traceback" not in run.err
    assert server.stats()["requests"] == 0


@pytest.mark.parametrize("place", ["{tmp}", "{tmp}/out/"])
def test_a_report_is_no_folder(
    send: Callable[..., Run],
    server: Emulator,
    source: pathlib.Path,
    tmp_path: pathlib.Path,
    place: str,
) -> None:
    run = send(source, f"--report={place.format(tmp=tmp_path)}")
    assert run.code == 2
    assert "is a folder. Give a file in it" in run.err
    assert server.stats()["requests"] == 0


def test_a_folder_is_made(
    send: Callable[..., Run], source: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    run = send(source, f"--report={tmp_path}/a/b/run.html", f"--failed_output={tmp_path}/c/failed")
    assert run.code == 0
    assert (tmp_path / "a/b/run.json").exists()
    assert list((tmp_path / "c").iterdir()) == []


def test_a_report_that_cannot_be_written_in_the_end_comes_after_the_books(
    send: Callable[..., Run],
    source: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    (tmp_path / "run.json").mkdir()
    run = send(source, f"--report={tmp_path}/run.html")
    assert run.code == 1
    assert "10 read = 10 accepted + 0 failed" in run.out
    assert f"Error: the report {tmp_path}/run.html could not be written" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize("option", ["failed_output", "checkpoint"])
def test_a_local_place_is_none_for_workers_elsewhere(
    send: Callable[..., Run], source: pathlib.Path, tmp_path: pathlib.Path, option: str
) -> None:
    bucket = "--failed_output=gs://bucket/failed"
    run = send(source, bucket, "--runner=DataflowRunner", f"--{option}={tmp_path}/there")
    assert run.code == 2
    assert f"--{option} {tmp_path}/there is on this machine" in run.err
    assert "lost with them. Give gs://BUCKET/PATH." in run.err
    assert not list(tmp_path.glob("there*"))
