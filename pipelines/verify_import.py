"""Proves an import: reads back what Mixpanel holds, and compares it with the input.

    python -m pipelines.verify_import \\
        --input 'gs://bucket/events/*.parquet' \\
        --mapping configs/events.yaml \\
        --api-secret env:MIXPANEL_API_SECRET \\
        --report-dir verification

Give --input, --mapping and what changes events as for the import: ids from position hold for the
very paths that were sent. Exit codes: 0 if Mixpanel holds each event of the input once and as it
was sent; 1 if not, or if the export failed; 2 if a setting is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixpanel_sink.jobs import verify
from mixpanel_sink.jobs.launcher import leave


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns the exit code."""
    return verify.main(argv, prog="python -m pipelines.verify_import", about=__doc__)


if __name__ == "__main__":
    leave(main())
