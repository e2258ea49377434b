"""Virtual environments that have what the package needs, but no clone of the package."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import sysconfig
import venv


def make(place: pathlib.Path, *packages: pathlib.Path) -> pathlib.Path:
    """Makes one with these packages (sdists or wheels) installed; gives its interpreter.

    The packages are installed into an empty environment, without their dependencies. Those come
    afterwards from the environment of the tests by a .pth file: Beam alone is 500 MB, and what is
    tested is this package. Such a path does not bring the tests' editable install of the package
    along, since Python runs no .pth files of a path that a .pth file names.
    """
    venv.create(place, with_pip=False)
    python = place / "bin/python"
    if packages:
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
        subprocess.run([*pip, "--quiet", *map(str, packages)], env=without_clone(), check=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python


def without_clone(**more: str) -> dict[str, str]:
    """This process's environment, by which Python does not find the clone; and `more`."""
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, **more}
