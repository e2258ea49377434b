"""Runs an import against the emulator on this machine, for demo and flights."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mixpanel_sink.emulator.testing import Emulator

_SECRET = "MIXPANEL_API_SECRET"


@contextmanager
def emulator(**settings: Any) -> Iterator[Emulator]:
    """A running emulator, ended with the block."""
    with Emulator(**settings) as running:
        print(f"The Mixpanel emulator runs on {running.url}")
        yield running


def run_import(endpoint: Emulator, arguments: Sequence[str]) -> tuple[int, float]:
    """Runs `mixpanel-sink import` as a user would; gives exit code and seconds."""
    words = ["import", *arguments, f"--api-secret=env:{_SECRET}", f"--endpoint={endpoint.url}"]
    print("$ mixpanel-sink", " ".join(words), flush=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "mixpanel_sink.cli", *words]
    environment = {**os.environ, _SECRET: endpoint.api_secret}
    code = subprocess.run(command, env=environment, check=False).returncode
    return code, time.monotonic() - started
