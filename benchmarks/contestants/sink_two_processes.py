"""The sink on the DirectRunner with two worker processes."""

from __future__ import annotations

from benchmarks.contestants.sink import run
from mixpanel_sink.jobs.launcher import leave

if __name__ == "__main__":
    leave(
        run(
            "--runner=DirectRunner",
            "--direct_num_workers=2",
            "--direct_running_mode=multi_processing",
        )
    )
