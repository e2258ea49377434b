"""How large an install is, and how long it takes: python -m benchmarks.install_size [EXTRA ...]

Installs the clone into an empty virtual environment, once without extras and once with each of
those that are named ("emulator" and "all" unless told otherwise), and prints a table for
docs/install.md. pip's own files are left out. Seconds depend on the network and on pip's cache.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import paths

MEGABYTE = 1e6


@dataclass(frozen=True)
class Size:
    """What an install takes on the disk.

    Attributes:
        packages: how many distributions there are, this one included.
        files: bytes of all files, without Python's byte code.
        byte_code: bytes of the byte code that pip compiles.
    """

    packages: int
    files: int
    byte_code: int


def measured(site: Path, without: frozenset[str] = frozenset()) -> Size:
    """The size of a site-packages folder, without the entries that are named."""
    files = byte_code = packages = 0
    for entry in site.iterdir():
        if entry.name in without:
            continue
        packages += entry.name.endswith(".dist-info")
        for path in entry.rglob("*") if entry.is_dir() else [entry]:
            if path.is_symlink() or not path.is_file():
                continue
            if path.suffix == ".pyc":
                byte_code += path.stat().st_size
            else:
                files += path.stat().st_size
    return Size(packages, files, byte_code)


def installed(extra: str) -> tuple[Size, float]:
    """Installs the clone with an extra ("" for none); gives its size, and pip's seconds."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        (site,) = Path(folder).glob("lib/python*/site-packages")
        before = frozenset(entry.name for entry in site.iterdir())
        what = f"{paths.REPOSITORY}[{extra}]" if extra else str(paths.REPOSITORY)
        began = time.monotonic()
        subprocess.run([python, "-m", "pip", "install", "--quiet", what], check=True)
        return measured(site, before), time.monotonic() - began


def row(extra: str, size: Size, seconds: float) -> str:
    """One line of the table."""
    name = f"mixpanel-sink[{extra}]" if extra else "mixpanel-sink"
    sizes = f"{size.files / MEGABYTE:,.0f} MB | {size.byte_code / MEGABYTE:,.0f} MB"
    return f"| `{name}` | {size.packages} | {sizes} | {seconds:,.0f} s |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.install_size", description=__doc__)
    parser.add_argument("extras", nargs="*", default=["emulator", "all"])
    given = parser.parse_args(arguments)
    print("| install | packages | files | byte code | pip took |\n|---|---:|---:|---:|---:|")
    for extra in ["", *given.extras]:
        print(row(extra, *installed(extra)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
