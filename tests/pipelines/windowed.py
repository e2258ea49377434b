"""A pipeline with windows, for `test_runners`: prints the failed records' and receipts' windows.

python -m tests.pipelines.windowed ENDPOINT OUTPUT --runner=...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from mixpanel_sink import ApiSecret, EventMapping, WriteToMixpanel

START = 1_704_067_200
EVENTS = 600
WINDOW = 60
MAPPING = EventMapping.from_yaml("event: name\ndistinct_id: user\ntime: {column: at, unit: s}\n")


def rows(_: Any) -> Iterator[TimestampedValue]:
    """An event a second; that of each window's eleventh second is bad."""
    for second in range(EVENTS):
        user = "null" if second % WINDOW == 10 else f"u{second}"
        row = {"name": "Visit", "user": user, "at": START + second}
        yield TimestampedValue(row, START + second)


class Show(beam.DoFn):
    """A line of the window, and what is in it."""

    def __init__(self, what: str) -> None:
        self._what = what

    def process(
        self, element: Any, at: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[str]:
        seconds = int(at.micros // 1_000_000) - START
        yield f"{self._what} {int(window.start.micros // 1_000_000) - START} {seconds}"


def main(endpoint: str, output: str, *options: str) -> None:
    """Runs it, and waits."""
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        result = (
            pipeline
            | beam.Impulse()
            | "Rows" >> beam.FlatMap(rows)
            | "Window" >> beam.WindowInto(FixedWindows(WINDOW))
            | WriteToMixpanel(
                MAPPING, ApiSecret("env:TEST_API_SECRET"), endpoint=endpoint, quota="none"
            )
        )
        lines = (
            result.failed | "Failed" >> beam.ParDo(Show("failed")).with_output_types(str),
            result.receipts | "Receipts" >> beam.ParDo(Show("receipt")).with_output_types(str),
        ) | "Both" >> beam.Flatten()
        _ = (
            lines
            | "Together" >> beam.WindowInto(beam.window.GlobalWindows())
            | "Keep" >> beam.io.WriteToText(output, num_shards=1, shard_name_template="")
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
