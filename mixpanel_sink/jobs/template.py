"""What the Flex Templates' image runs: the job that the parameter `job` names, or the import.

It builds the graph, stages it and returns; it does not wait for the job.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

_JOBS = {
    "import": "import_files",
    "profiles": "import_files",
    "replay": "replay",
    "stream": "stream_pubsub",
    "verify": "verify_remotely",
}
"""The modules of the jobs, by the names that templates have for them (`reference.TEMPLATES`)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the job and returns the exit code.

    Args:
        argv: parameters as `--name=value`; None for this process's.
    """
    given = sys.argv[1:] if argv is None else list(argv)
    named = [word.partition("=")[2] for word in given if word.startswith("--job=")]
    rest = [word for word in given if not word.startswith("--job=")]
    job = named[-1] if named else "import"
    if job not in _JOBS:
        print(f"Error: job is {job!r}; it must be one of {', '.join(_JOBS)}.", file=sys.stderr)
        return 2
    module = importlib.import_module(f"mixpanel_sink.jobs.{_JOBS[job]}")
    return int(module.main(rest))
