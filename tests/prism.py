"""Where Prism is, Beam's portable runner for one machine."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys

import pytest

PRISM = os.environ.get("PRISM") or shutil.which(
    "prism", path=os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
)


def prism_or_skip() -> str:
    """Prism's path. Without it the test is skipped, but not on CI."""
    if PRISM is None:
        reason = "Prism is not installed: make test does it, with Go"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return PRISM
