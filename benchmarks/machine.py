"""Names the machine and the versions, for the results."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from benchmarks import paths

_PACKAGES = ("apache-beam", "polars", "pyarrow", "orjson", "isal", "requests")


def describe() -> str:
    """One line: cores, memory, kernel, versions."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{os.cpu_count()} cores ({found[1] if found else platform.machine()}), "
        f"{memory:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {packages}"
    )


def revision() -> str:
    """The commit that was measured, marked if files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=paths.REPOSITORY,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip() or "unknown"
