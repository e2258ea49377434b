"""The expansion service as its own process, as users start it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import SECRET


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    """Address of a service that serves workers too; they know the emulator's secret."""
    command = [sys.executable, "-m", "mixpanel_sink.expansion_service", "--port=0", "--workers"]
    environment = {**os.environ, "MIXPANEL_API_SECRET": SECRET}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()
        assert process.wait(30) == 0
