"""Sends newline-delimited JSON to Mixpanel.

    python -m pipelines.json_lines_to_mixpanel \\
        --input 'gs://bucket/events/*.jsonl.gz' \\
        --mapping configs/web_events.yaml \\
        --api_secret env:MIXPANEL_API_SECRET \\
        --failed_output gs://bucket/failed/run1

Without --mapping each line is a Mixpanel event, {"event": ..., "properties": {...}}. A line that
is no JSON object is a failed record.

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
from mixpanel_sink.read.json_lines import JsonLines


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the pipeline and gives the exit code."""
    return run_source(
        argv,
        "pipelines.json_lines_to_mixpanel",
        __doc__,
        lambda options: JsonLines(),
        needs_mapping=False,
    )


if __name__ == "__main__":
    leave(main())
