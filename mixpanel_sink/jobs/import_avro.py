"""Sends Avro files, such as a BigQuery export, to Mixpanel.

    python -m pipelines.avro_to_mixpanel \\
        --input 'gs://bucket/export/*.avro' \\
        --mapping configs/bigquery.yaml \\
        --api_secret env:MIXPANEL_API_SECRET \\
        --failed_output gs://bucket/failed/run1

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if every
record read was accepted, or failed and was counted (and kept, with --failed_output); 1 if the job
failed, nothing was accepted, or a file could not be read; 2 if a setting is wrong, before
anything was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixpanel_sink.jobs.import_records import run_source
from mixpanel_sink.jobs.startup import leave

# isort: split
from mixpanel_sink.read.avro import AvroRecords


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    return run_source(argv, "pipelines.avro_to_mixpanel", __doc__, lambda options: AvroRecords())


if __name__ == "__main__":
    leave(main())
