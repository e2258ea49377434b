"""The sink on the DirectRunner with two worker processes."""

from __future__ import annotations

import sys

from benchmarks.contestants.sink import run

if __name__ == "__main__":
    sys.exit(
        run(
            "--runner=DirectRunner",
            "--direct_num_workers=2",
            "--direct_running_mode=multi_processing",
        )
    )
