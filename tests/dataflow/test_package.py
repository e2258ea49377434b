"""What workers install: the sdist that the launcher stages, and the wheel made of it."""

from __future__ import annotations

import pathlib
import subprocess
import sys
import tarfile
import zipfile

import pytest

from mixpanel_sink import __version__
from tests import virtual_environment
from tests.dataflow.conftest import ROOT

DATA = {
    str(path.relative_to(ROOT))
    for path in (ROOT / "mixpanel_sink").rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc")
}
assert {"mixpanel_sink/py.typed", "mixpanel_sink/emulator/page/index.html"} <= DATA


@pytest.fixture(scope="module")
def sdist(staged, tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("staged") / "workflow.tar.gz"
    path.write_bytes(staged.file("workflow.tar.gz"))
    return path


@pytest.fixture(scope="module")
def wheel(sdist, tmp_path_factory) -> pathlib.Path:
    place = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={place}"]
    subprocess.run([*pip, str(sdist)], check=True)
    (made,) = place.iterdir()
    return made


@pytest.fixture(scope="module", params=["sdist", "wheel"])
def python(request, tmp_path_factory) -> pathlib.Path:
    place = tmp_path_factory.mktemp(request.param)
    return virtual_environment.make(place, request.getfixturevalue(request.param))


def call(python: pathlib.Path, cwd: pathlib.Path, *command: str) -> str:
    environment = virtual_environment.without_clone()
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules() -> set[str]:
    return {str(path.relative_to(ROOT)) for path in (ROOT / "mixpanel_sink").rglob("*.py")}


def test_both_have_every_module_and_all_data(sdist, wheel) -> None:
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert wheel.name == f"mixpanel_sink-{__version__}-py3-none-any.whl"
    for have in (in_wheel, in_sdist):
        assert modules() | DATA <= have
        assert not any(name.startswith(("tests", "benchmarks", "pipelines")) for name in have)
    assert {"pyproject.toml", "README.md", "LICENSE"} <= in_sdist


def test_it_imports_from_where_it_is_installed(python, tmp_path) -> None:
    code = (
        "import importlib, pkgutil, mixpanel_sink\n"
        "print(mixpanel_sink.__file__)\n"
        "for found in pkgutil.walk_packages(mixpanel_sink.__path__, 'mixpanel_sink.'):\n"
        "    if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        "from importlib.resources import files\n"
        f"for name in {sorted(DATA)}: assert (files('mixpanel_sink') / '..' / name).is_file()\n"
    )
    for path in call(python, tmp_path, str(python), "-c", code).split():
        assert path.startswith(str(python.parents[1]))


def test_the_commands_run_from_there(python, tmp_path) -> None:
    module = [str(python), "-m", "mixpanel_sink.jobs.import_files", "--help"]
    assert "--mixpanel-region" in call(python, tmp_path, *module)
    assert "doctor" in call(python, tmp_path, str(python.parent / "mixpanel-sink"), "--help")
