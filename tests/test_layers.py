"""Imports run one way, and most of the package never imports Beam."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

import mixpanel_sink

ROOT = pathlib.Path(mixpanel_sink.__file__).parent
WITHOUT_BEAM = [
    *(
        "codes",
        "errors",
        "process",
        "results",
        "version",
        "settings",
        "api",
        "batch",
        "encode",
        "send",
    ),
    "emulator",
]
LOAD = """
import importlib, json, sys, time
began = time.perf_counter()
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "apache_beam" in sys.modules:
        sys.exit(f"{name} imports Beam")
"""


def modules(name: str) -> list[str]:
    """A module, or all of a package."""
    path = ROOT / name
    if not path.is_dir():
        return [f"mixpanel_sink.{name}"]
    found = [each.relative_to(ROOT).with_suffix("") for each in path.rglob("*.py")]
    names = [".".join(["mixpanel_sink", *each.parts]) for each in sorted(found)]
    return [one.removesuffix(".__init__") for one in names if not one.endswith("__main__")]


@pytest.mark.parametrize("name", WITHOUT_BEAM)
def test_it_does_not_import_beam(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *modules(name)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_package_is_looked_at_as_a_whole() -> None:
    assert "mixpanel_sink.send.plan" in modules("send")
    assert len(modules("api")) > 8
    done = subprocess.run(
        [sys.executable, "-c", LOAD, "json", "mixpanel_sink.windowing"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "mixpanel_sink.windowing imports Beam" in done.stderr


def test_imports_follow_the_layers() -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as run; run()",
    ]
    done = subprocess.run(
        [*command, "--no-cache"], cwd=ROOT.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout, done.stdout + done.stderr


def test_every_package_has_a_layer() -> None:
    import tomllib

    settings = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    named = {
        name.strip().removeprefix("mixpanel_sink.") for row in layers for name in row.split("|")
    }
    packages = {each.name for each in ROOT.iterdir() if (each / "__init__.py").exists()}
    assert packages - named == {"emulator"}, json.dumps(sorted(packages))
