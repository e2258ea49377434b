"""Sends CSV files with a header to Mixpanel.

    python -m pipelines.csv_to_mixpanel \\
        --input 'gs://bucket/orders/*.csv' \\
        --types created_at=integer,amount=number \\
        --mapping configs/orders_csv.yaml \\
        --api-secret env:MIXPANEL_API_SECRET \\
        --failed-output gs://bucket/failed/run1

Cells are text unless --types says otherwise; empty ones are null. A row that does not fit the
header or its types is a failed record. --dry-run shows what it would send.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if every
record read was accepted, or failed and was counted (and kept, with --failed-output); 1 if the job
failed, nothing was accepted, or a file could not be read; 2 if a setting is wrong, before
anything was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixpanel_sink.jobs import import_files
from mixpanel_sink.jobs.launcher import leave


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and returns the exit code."""
    # The graph is `import_files.build`; parquet_to_mixpanel.py spells it out.
    prog = "python -m pipelines.csv_to_mixpanel"
    return import_files.main(argv, prog=prog, about=__doc__, format="csv")


if __name__ == "__main__":
    leave(main())
