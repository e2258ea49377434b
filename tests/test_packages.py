"""What is published besides the wheel: the source distribution, and the images."""

from __future__ import annotations

import email
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest
from readme_renderer import markdown

from mixpanel_sink.version import __version__

ROOT = pathlib.Path(__file__).parents[1]
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", ".git", ".venv*", "build", "data")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, pathlib.Path]:
    """The source distribution and the wheel of a release, as GitHub's workflow builds them."""
    clone, place = tmp_path_factory.mktemp("clone") / "it", tmp_path_factory.mktemp("dist")
    shutil.copytree(ROOT, clone, ignore=_LEFT_OUT)
    shutil.rmtree(clone / "mixpanel_sink.egg-info", ignore_errors=True)
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(place)!r})"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", f"--wheel-dir={place}"]
    for command in ([sys.executable, "-c", code], [*pip, str(clone)]):
        done = subprocess.run(
            command,
            cwd=clone,
            env={**os.environ, "GITHUB_REPOSITORY": "ada/mixpanel-sink"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    (sdist,), (wheel,) = place.glob("*.tar.gz"), place.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def sdist(made: tuple[pathlib.Path, pathlib.Path]) -> set[str]:
    """The files in the source distribution."""
    with tarfile.open(made[0]) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def rendered(readme: str) -> str:
    """A README as PyPI shows it."""
    page = markdown.render(readme)
    assert page is not None
    return page


def targets(page: str) -> list[str]:
    """Where the links and pictures of a page lead, its headings' links to themselves aside."""
    headings = {f"#{heading}" for heading in re.findall(r'id="([^"]+)"', page)}
    return [to for to in re.findall(r'(?:href|src)="([^"]*)"', page) if to not in headings]


def test_twine_takes_what_is_published(made: tuple[pathlib.Path, pathlib.Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_every_link_of_the_page_on_pypi_leads_to_the_tagged_release(
    made: tuple[pathlib.Path, pathlib.Path],
) -> None:
    with zipfile.ZipFile(made[1]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    assert dict(url.split(", ") for url in metadata.get_all("Project-URL", []))["Source"] == (
        "https://github.com/ada/mixpanel-sink"
    )
    found = targets(rendered(str(metadata.get_payload())))
    assert len(found) > 10
    ours = re.compile(r"https://github\.com/ada/mixpanel-sink/(?:blob|raw)/v[\d.]+/([^#]+)")
    for target in found:
        assert "://" in target, target
        if own := ours.match(target):
            assert (ROOT / own[1]).exists(), target


def test_a_build_that_knows_no_repository_has_no_links_that_lead_nowhere() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "GITHUB_REPOSITORY"}
    command = [sys.executable, "setup.py", "--long-description"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    page = rendered(done.stdout)
    assert "mixpanel-sink demo" in re.sub("<.*?>", "", page)
    assert all("://" in target for target in targets(page))


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


DOCKERFILES = ["configs/docker/Dockerfile", "configs/flex_template/Dockerfile"]


def dockerfile(name: str) -> str:
    """An image's file, without comments and with its lines joined."""
    text = (ROOT / name).read_text()
    return re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_images_copy_what_there_is_and_install_what_exists(name: str) -> None:
    text, setup = dockerfile(name), (ROOT / "setup.py").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) /\S+$", text, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert "setup.py" in names
    assert all((ROOT / name).exists() for name in names)
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in names} <= set(sent)  # all else stays out of the build
    extras = re.findall(r"\[(\w+)\]", text)
    assert extras
    assert all(f'"{extra}": ' in setup for extra in extras)
    pythons = re.findall(r"^FROM \S*python:?(3)\.?(\d+)", text, re.MULTILINE)
    assert pythons
    for major, minor in pythons:
        assert f"Python :: {major}.{minor}" in setup


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_images_stages_exist_before_they_are_used(name: str) -> None:
    known: set[str] = set()
    for line in dockerfile(name).splitlines():
        if found := re.match(r"FROM (\S+)(?: AS (\S+))?$", line):
            assert found[1] in known or ":" in found[1] or "/" in found[1], line
            known.add(found[2] or "")
        elif found := re.match(r"COPY --from=(\S+) ", line):
            assert found[1] in known, line


def test_the_images_do_not_run_as_root() -> None:
    for target in ("emulator", "command"):
        _, _, section = dockerfile(DOCKERFILES[0]).partition(f"AS {target}\n")
        section = section.partition("\nFROM")[0]
        assert section.index("USER mixpanel") < section.index("ENTRYPOINT")


@pytest.mark.parametrize("target", ["emulator", "command"])
def test_the_images_begin_with_a_command_that_runs(target: str) -> None:
    text = (ROOT / "configs/docker/Dockerfile").read_text()
    _, _, section = text.partition(f"AS {target}\n")
    words = re.findall(r'"(.*?)"', re.search(r"ENTRYPOINT \[(.*)\]", section)[1])
    assert words[0] == "mixpanel-sink"
    command = [sys.executable, "-m", "mixpanel_sink.cli", *words[1:], "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
