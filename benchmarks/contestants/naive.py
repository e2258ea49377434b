"""The pipeline that one writes first: dicts, GroupIntoBatches, requests.post(json=).

Nothing may be shuffled behind GroupIntoBatches: on the DirectRunner that crashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import requests

from benchmarks.contestants import arguments
from benchmarks.events import to_event

BATCH_EVENTS = 2000


class Post(beam.DoFn):
    """Posts a batch."""

    def __init__(self, endpoint: str) -> None:
        self._url = f"{endpoint}/import?strict=1"

    def process(self, batch: tuple[int, Iterable[dict[str, Any]]]) -> None:
        """One batch."""
        answer = requests.post(self._url, json=list(batch[1]), auth=("no-secret", ""))
        answer.raise_for_status()


def main() -> None:
    """Runs the pipeline."""
    path, endpoint = arguments.parse()
    with beam.Pipeline(argv=["--runner=DirectRunner"]) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromParquet(path)
            | beam.Map(to_event)
            | beam.Map(lambda event: (0, event))
            | beam.GroupIntoBatches(BATCH_EVENTS)
            | beam.ParDo(Post(endpoint))
        )


if __name__ == "__main__":
    main()
