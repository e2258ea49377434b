"""The sink behind a Python function that takes a dict of every row, and the sink's own reader."""

from __future__ import annotations

import os
from typing import Any

import apache_beam as beam

from benchmarks.contestants import arguments
from benchmarks.mappings import MAPPING
from mixpanel_sink import ApiSecret, EventMapping, MapRecords, ReadParquetTables, WriteToMixpanel


def as_it_is(record: dict[str, Any]) -> dict[str, Any]:
    """Where a pipeline of one's own would change the record."""
    return record


def main() -> None:
    """Runs the pipeline."""
    path, endpoint = arguments.parse()
    os.environ["BENCHMARK_SECRET"] = "no-secret"
    with beam.Pipeline(argv=["--runner=DirectRunner"]) as pipeline:
        _ = (
            (pipeline | ReadParquetTables(path)).tables
            | MapRecords(as_it_is)
            | WriteToMixpanel(
                EventMapping.from_yaml(MAPPING),
                ApiSecret("env:BENCHMARK_SECRET"),
                endpoint=endpoint,
                quota="none",
            )
        )


if __name__ == "__main__":
    main()
