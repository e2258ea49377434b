"""Puts other people's contestants into the cache folder, each in a place of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import paths
from benchmarks.contestants import mixpanel_utils

NPM_PACKAGE = "mixpanel-import@3.1.43"
_HOST = "https://api.mixpanel.com"
_REDIRECTED = (
    ("components/importers.js", f"new Pool('{_HOST}'", "new Pool(process.env.BENCHMARK_ENDPOINT"),
    ("components/job.js", f"`{_HOST}/", "`${process.env.BENCHMARK_ENDPOINT}/"),
)


class NotInstalled(Exception):
    """A contestant cannot be had here; says why."""


def npm_importer() -> Path:
    """The folder of a copy of mixpanel-import whose host BENCHMARK_ENDPOINT names.

    Raises:
        NotInstalled: without Node, npm or the registry.
    """
    place = paths.CACHE / "npm"
    package = place / "node_modules" / "mixpanel-import"
    done = place / f"{NPM_PACKAGE}.done"
    if not done.exists():
        for tool in ("node", "npm"):
            if shutil.which(tool) is None:
                raise NotInstalled(f"there is no {tool} here")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "package.json").write_text('{"private": true}')
        quiet = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
        _run(["npm", "install", *quiet, NPM_PACKAGE], place)
        for name, old, new in _REDIRECTED:
            file = package / name
            text = file.read_text()
            if old not in text:
                raise NotInstalled(f"{NPM_PACKAGE} names its host elsewhere than expected")
            file.write_text(text.replace(old, new))
        done.touch()
    return package


def utils_python() -> Path:
    """The interpreter of an environment with mixpanel-utils.

    Raises:
        NotInstalled: if it or a requirement cannot be had.
    """
    place = paths.CACHE / "mixpanel-utils"
    python = place / "bin" / "python"
    done = place / "installed"
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        _run([sys.executable, "-m", "venv", str(place)], paths.REPOSITORY)
        packages = mixpanel_utils.REQUIREMENTS
        _run([str(python), "-m", "pip", "install", "--quiet", *packages], paths.REPOSITORY)
        done.touch()
    return python


def _run(command: Sequence[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise NotInstalled(f"{' '.join(command[:3])} failed: {said[-1]}")
