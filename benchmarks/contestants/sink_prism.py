"""The sink on Prism, Beam's portable local runner. PRISM names its binary."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def find() -> str | None:
    """Prism's binary: what PRISM names, or where make or `go install` puts it, or on the path."""
    if named := os.environ.get("PRISM"):
        return named if Path(named).is_file() else None
    if (beside := Path(sys.executable).with_name("prism")).is_file():
        return str(beside)
    if go := shutil.which("go"):
        places = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True).stdout
        for place in places.strip().split(os.pathsep):
            if (binary := Path(place) / "bin" / "prism").is_file():
                return str(binary)
    return shutil.which("prism")


if __name__ == "__main__":
    from benchmarks.contestants.sink import run
    from mixpanel_sink.jobs.launcher import leave

    leave(
        run(
            "--runner=PrismRunner",
            f"--prism_location={find()}",
            "--environment_type=LOOPBACK",
        )
    )
