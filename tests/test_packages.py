"""What is published besides the wheel: the source distribution, and the images."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", ".git", ".venv*", "build", "data")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The files in the source distribution."""
    clone, place = tmp_path_factory.mktemp("clone") / "it", tmp_path_factory.mktemp("sdist")
    shutil.copytree(ROOT, clone, ignore=_LEFT_OUT)
    shutil.rmtree(clone / "mixpanel_sink.egg-info", ignore_errors=True)
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(place)!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=clone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = place.iterdir()
    with tarfile.open(made) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_the_sdist_has_what_a_clone_has(sdist: set[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    wanted = {
        name
        for name in listed
        if (ROOT / name).exists() and not name.startswith((".", "tests/")) and name != "MANIFEST.in"
    }
    assert wanted - sdist == set()
    assert "tests/test_packages.py" in sdist
    assert not any("node_modules" in name or name.endswith(".pyc") for name in sdist)


def test_the_images_copy_what_there_is_and_install_what_exists() -> None:
    text = (ROOT / "configs/docker/Dockerfile").read_text().replace("\\\n", " ")
    copied = re.findall(r"^COPY (?!--from)(.+) /\S+$", text, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert "setup.py" in names
    assert all((ROOT / name).exists() for name in names)
    extras = set(re.findall(r"\[(\w+)\]", text))
    assert extras == {"emulator", "all"}
    setup = (ROOT / "setup.py").read_text()
    assert all(f'"{extra}": ' in setup for extra in extras)


@pytest.mark.parametrize("target", ["emulator", "command"])
def test_the_images_begin_with_a_command_that_runs(target: str) -> None:
    text = (ROOT / "configs/docker/Dockerfile").read_text()
    _, _, section = text.partition(f"AS {target}\n")
    words = re.findall(r'"(.*?)"', re.search(r"ENTRYPOINT \[(.*)\]", section)[1])
    assert words[0] == "mixpanel-sink"
    command = [sys.executable, "-m", "mixpanel_sink.cli", *words[1:], "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
