"""Sends JSON messages of Pub/Sub to Mixpanel, as they come.

    python -m pipelines.pubsub_to_mixpanel \\
        --input projects/P/subscriptions/events \\
        --mapping configs/web_events.yaml \\
        --api-secret gcpsecret:projects/P/secrets/S \\
        --quota reference --max-latency 10 \\
        --failed-output projects/P/topics/failed \\
        --runner DataflowRunner --project P --region europe-west1 ...

--input is a subscription or a topic. Where the mapping names no insert_id, the message's id is
that of the event: a message that is delivered twice is stored once. --failed-output is a topic,
for a JSON message each. It runs until it is drained or cancelled.

Any Beam option may follow (--runner, --project, --temp_location, ...). Exit codes: 0 launched, or
ended; 1 if the job failed; 2 if a setting is wrong, before anything was read.
"""

from __future__ import annotations

from collections.abc import Sequence

from mixpanel_sink.jobs import stream_pubsub
from mixpanel_sink.jobs.launcher import leave


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the program and returns the exit code."""
    return stream_pubsub.main(argv, prog="python -m pipelines.pubsub_to_mixpanel", about=__doc__)


if __name__ == "__main__":
    leave(main())
