"""Runs a module as if nothing but the package and some of its extras were installed.

    python -m tests.only_installed EXTRAS MODULE ARGUMENT...

EXTRAS are names with commas between them, or "-" for the base install. What only other extras bring
cannot be imported then, here and in the processes that this one starts.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import pathlib
import re
import runpy
import sys
import tempfile
from collections.abc import Collection, Iterator

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NAME = "mixpanel-sink"
_HIDE = """
import sys

class _Hidden:
    names = {names!r}

    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, _Hidden())
"""


def wanted(extras: Collection[str]) -> set[str]:
    """The distributions that an install with these extras brings."""
    found: set[tuple[str, str]] = set()
    waiting = [(NAME, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in found:
            continue
        found.add((name, extra))
        waiting += _required(name, extra)
    return {name for name, _ in found}


def _required(name: str, extra: str) -> Iterator[tuple[str, str]]:
    try:
        texts = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:  # for another system or Python
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": extra}):
            for more in ("", *requirement.extras):
                yield canonicalize_name(requirement.name), more


def hidden(extras: Collection[str]) -> list[str]:
    """The modules, below no package, that such an install would not have."""
    keep = wanted(extras)
    names: dict[bool, set[str]] = {True: set(), False: set()}
    for name, modules in _modules():
        names[name in keep] |= modules
    return sorted(names[False] - names[True] - {""})


@functools.cache
def _modules() -> list[tuple[str, set[str]]]:
    """What is installed here: each distribution's name and its modules."""
    return [
        (
            canonicalize_name(distribution.name),
            {_module(file) for file in distribution.files or [] if file.suffix in (".py", ".so")},
        )
        for distribution in importlib.metadata.distributions()
    ]


def _module(file: pathlib.PurePath) -> str:
    """`google.cloud.bigquery` for a file of it, since `google.cloud` is several distributions'."""
    parts = list(file.parts)
    if parts[0] in ("..", "__pycache__") or parts[0].endswith(".dist-info"):
        return ""
    depth = {"google": 2, "azure": 2}.get(parts[0], 1)
    if parts[:2] in (["google", "cloud"], ["azure", "storage"]):
        depth = 3
    return re.split(r"\.(?:py|cpython-.*|abi3.*|so)$", ".".join(parts[:depth]))[0]


if __name__ == "__main__":
    given, module, *arguments = sys.argv[1:]
    code = _HIDE.format(names=set(hidden([] if given == "-" else given.split(","))))
    with tempfile.TemporaryDirectory() as place:
        pathlib.Path(place, "sitecustomize.py").write_text(code)
        os.environ["PYTHONPATH"] = os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])
        exec(code)
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
