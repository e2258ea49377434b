"""Imports run one way, and most of the package never imports Beam."""

from __future__ import annotations

import ast
import json
import os
import pathlib
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mixpanel_sink
from mixpanel_sink.read.registry import FORMATS, TABLES

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


START = """
import sys
from mixpanel_sink.cli import main

def run(code, *words, without):
    assert main(words) == code, words
    for name in without:
        assert name not in sys.modules, f"{words[0]} imports {name}"

HEAVY = ("apache_beam", "polars", "pyarrow", "numpy", "requests")
run(0, "--help", without=HEAVY)
run(0, "check", "--help", without=HEAVY)
run(0, "explain", "MXS511", without=HEAVY)
run(0, "doctor", "--offline", without=HEAVY[:4])
run(0, "init", "events.parquet", without=HEAVY[:2])
run(0, "check", "events.parquet", "--mapping=mapping.yaml", without=HEAVY[::4])
run(2, "status", "nowhere", without=HEAVY[:1])
secret = "--api-secret=env:THIS_IS_NOT_SET"
run(2, "verify", "events.parquet", "--mapping=mapping.yaml", secret, without=HEAVY[:1])
run(2, "export", "--from=2024-05-01", "--to=2024-05-02", secret, without=HEAVY[:1])
run(2, "lookup-table", "list", secret, without=HEAVY[:1])
"""


def test_commands_without_a_pipeline_start_without_beam(tmp_path: pathlib.Path) -> None:
    """And help without Arrow, and a proposal without Polars: each costs tenths of a second."""
    at = pa.array([1717000000 + i for i in range(3)], pa.timestamp("s", tz="UTC"))
    table = pa.table({"event": ["Seen"] * 3, "user_id": ["a", "b", "c"], "at": at})
    pq.write_table(table, tmp_path / "events.parquet")
    done = subprocess.run(
        [sys.executable, "-c", START], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("MIXPANEL")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-500:] + done.stderr


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


@pytest.mark.parametrize(
    "folder",
    ["stages", "send", "encode", "encode/columnar", "read", "checkpoint", "jobs", "inspect/verify"],
)
def test_the_guide_to_a_folder_names_each_of_its_modules(folder: str) -> None:
    guide = ast.get_docstring(ast.parse((ROOT / folder / "__init__.py").read_text()))
    assert guide is not None
    cells = "".join(line.split("|")[1] for line in guide.splitlines() if line.startswith("|"))
    inside = {path.stem for path in (ROOT / folder).iterdir() if path.stem[:2] != "__"}
    named = set(re.findall(r"`(\w+)`", cells))
    # Adding a format or a kind of table is one module, and one line in the registry.
    formats = {entry.module for entry in FORMATS.values()}
    formats |= {place.partition(":")[0] for place in TABLES.values()}
    assert named <= inside, f"correct the table in {folder}/__init__.py"
    assert inside - formats <= named, f"complete the table in {folder}/__init__.py"
