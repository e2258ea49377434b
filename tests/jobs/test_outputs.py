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


@pytest.mark.parametrize("option", ["failed-output", "report"])
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
    run = send(source, f"--report={tmp_path}/a/b/run.html", f"--failed-output={tmp_path}/c/failed")
    assert run.code == 0
    assert (tmp_path / "a/b/run.json").exists()
    assert list((tmp_path / "c").iterdir()) == []


def test_a_report_that_cannot_be_written_in_the_end_comes_after_the_accounting(
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


@pytest.mark.parametrize("option", ["failed-output", "checkpoint"])
def test_a_local_place_is_none_for_workers_elsewhere(
    send: Callable[..., Run], source: pathlib.Path, tmp_path: pathlib.Path, option: str
) -> None:
    bucket = "--failed-output=gs://bucket/failed"
    run = send(source, bucket, "--runner=DataflowRunner", f"--{option}={tmp_path}/there")
    assert run.code == 2
    assert f"--{option} {tmp_path}/there is on this machine" in run.err
    assert "lost with them. Give gs://BUCKET/PATH." in run.err
    assert not list(tmp_path.glob("there*"))


def test_failed_records_of_an_earlier_run_do_not_stay(
    send: Callable[..., Run], source: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """A replay would send them again. Nothing else under the prefix is touched."""
    others = [tmp_path / "failed.yaml", tmp_path / "failed-notes.jsonl", tmp_path / "failed2.jsonl"]
    for other in others:
        other.write_text("{}")
    bad = tmp_path / "bad.parquet"
    write(bad, shop(10, user=[None, *["u"] * 9]))
    assert len(list(tmp_path.glob("failed-0*"))) == 0
    assert send(bad, own_process=True).code == 0
    assert len(list(tmp_path.glob("failed-0*"))) == 1
    clean = send(source, own_process=True)
    assert clean.code == 0
    assert list(tmp_path.glob("failed-0*")) == []
    assert "Removed the failed records of an earlier run:" in clean.out
    assert "No shards" not in clean.err
    assert [other.read_text() for other in others] == ["{}"] * 3


def test_a_run_that_is_refused_removes_nothing(
    send: Callable[..., Run], source: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    old = tmp_path / "failed-00000-of-00001.jsonl"
    old.write_text("{}")
    assert send(source, "--api-secret=env:NOT_SET_ANYWHERE").code == 2
    assert old.exists()
