"""The sink as its users start it: the example pipeline, by default on the DirectRunner and
without a quota. Further arguments go to the pipeline.
"""

from __future__ import annotations

import os

from benchmarks.contestants import arguments
from benchmarks.mappings import mapping_file
from mixpanel_sink.jobs.launcher import leave
from pipelines import parquet_to_mixpanel


def run(*defaults: str) -> int:
    """Runs the pipeline; gives its exit code."""
    path, endpoint, rest = arguments.parse_some()
    os.environ["BENCHMARK_SECRET"] = "no-secret"
    return parquet_to_mixpanel.main(
        [
            f"--input={path}",
            f"--mapping={mapping_file()}",
            "--api_secret=env:BENCHMARK_SECRET",
            f"--endpoint={endpoint}",
            "--quota=none",
            *defaults,
            *rest,
        ]
    )


if __name__ == "__main__":
    leave(run())
