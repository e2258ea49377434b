"""Sends Parquet files to Mixpanel.

    python -m pipelines.parquet_to_mixpanel \\
        --input 'gs://bucket/events/*.parquet' \\
        --mapping configs/shop.yaml \\
        --api-secret env:MIXPANEL_API_SECRET \\
        --failed-output gs://bucket/failed/run1

--dry-run shows what it would send, and how long it would take.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if every
record read was accepted, or failed and was counted (and kept, with --failed-output); 1 if the job
failed, nothing was accepted, or a file could not be read; 2 if a setting is wrong, before
anything was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixpanel_sink.jobs import import_files
from mixpanel_sink.jobs.build import Import
from mixpanel_sink.jobs.launcher import leave
from mixpanel_sink.jobs.runners import make_pipeline

# isort: split
import apache_beam as beam


def build(job: Import) -> beam.Pipeline:
    """The graph: files to records, records to Mixpanel, and what failed to `failed_output`."""
    pipeline = make_pipeline(job.options)
    source = pipeline | "Read" >> job.read()
    result = source.elements | "Write to Mixpanel" >> job.write
    failed = (result.failed, source.failed) | "All failures" >> beam.Flatten()
    job.end(source, result, failed)
    return pipeline


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and returns the exit code."""
    prog = "python -m pipelines.parquet_to_mixpanel"
    return import_files.main(argv, prog=prog, about=__doc__, format="parquet", build=build)


if __name__ == "__main__":
    leave(main())
