"""A windowed pipeline, run by `test_matrix.py` on each runner in a process of its own.

Results are noted in files, since a runner's workers may be anywhere on this machine.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import (
    FixedWindows,
    GlobalWindows,
    Sessions,
    SlidingWindows,
    TimestampedValue,
)

from mixpanel_sink import ApiSecret, EventMapping, Limits, RetryPolicy, TimeColumn, WriteToMixpanel
from mixpanel_sink.accounting import CheckAccounting

START = 1_700_000_000
WINDOWS = {
    "global": GlobalWindows(),
    "fixed": FixedWindows(10),
    "sliding": SlidingWindows(20, 10),
    "sessions": Sessions(5),
}
MAPPING = EventMapping(
    event="name", distinct_id="user", time=TimeColumn("at", unit="s"), insert_id="id"
)


def record(number: int) -> dict[str, Any]:
    """One a second; every tenth is bad."""
    user = "null" if number % 10 == 7 else f"u{number}"
    return {"name": "Visit", "user": user, "at": START + number, "id": f"id-{number}"}


class Note(beam.DoFn):
    """Appends what comes, with its window, to a file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(
        self, value: Any, at: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> None:
        line = json.dumps([value._asdict(), float(at), float(window.max_timestamp())]) + "\n"
        handle = os.open(self._path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
        os.write(handle, line.encode())
        os.close(handle)


class Poison(beam.DoFn):
    """Fails the bundle, always."""

    def process(self, element: dict[str, Any]) -> Any:
        if element["id"] == "id-50":
            raise RuntimeError("poisoned")
        yield element


def main(argv: list[str]) -> None:
    """windowed.py URL WINDOWS FOLDER COUNT POISON [Beam options]"""
    url, windows, folder, count, poison, *options = argv
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        records = pipeline | beam.Create([record(number) for number in range(int(count))])
        if poison == "poison":
            records |= beam.ParDo(Poison()).with_output_types(dict)
        result = (
            records
            | beam.Map(lambda each: TimestampedValue(each, each["at"])).with_output_types(dict)
            | beam.WindowInto(WINDOWS[windows])
            | WriteToMixpanel(
                MAPPING,
                ApiSecret("env:MATRIX_SECRET"),
                endpoint=url,
                quota="none",
                limits=Limits(batch_events=10),
                retry=RetryPolicy(first_wait=0.01, longest_wait=0.05),
            )
        )
        result.failed | "Note failed" >> beam.ParDo(Note(f"{folder}/failed"))
        result.receipts | "Note receipts" >> beam.ParDo(Note(f"{folder}/receipts"))
        result | CheckAccounting()


if __name__ == "__main__":
    main(sys.argv[1:])
