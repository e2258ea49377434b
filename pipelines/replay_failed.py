"""Sends failed records again, after what made them fail was fixed.

    python -m pipelines.replay_failed \\
        --input 'gs://bucket/failed/run1*.jsonl' \\
        --mapping configs/events.yaml \\
        --api-secret env:MIXPANEL_API_SECRET \\
        --failed-output gs://bucket/failed/run2

--input takes what --failed-output wrote. Lines with an event are sent as they are; lines with a
record go through the mapping. Each keeps its $insert_id, so that nothing is doubled, however
often this is run. What fails again is in the new failed output.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 if every
line read was accepted, or failed and was counted (and kept, with --failed-output); 1 if the job
failed, nothing was accepted, or a line could not be read; 2 if a setting is wrong, before anything
was sent.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixpanel_sink.jobs import replay
from mixpanel_sink.jobs.launcher import leave


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns the exit code."""
    return replay.main(argv, prog="python -m pipelines.replay_failed", about=__doc__)


if __name__ == "__main__":
    leave(main())
