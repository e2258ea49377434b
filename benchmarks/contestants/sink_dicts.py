"""The sink behind Beam's own Parquet source, which makes a dict of every row."""

from __future__ import annotations

import os

import apache_beam as beam

from benchmarks.contestants import arguments
from benchmarks.mappings import MAPPING_BY_COLUMN
from mixpanel_sink import ApiSecret, EventMapping, WriteToMixpanel


def main() -> None:
    """Runs the pipeline."""
    path, endpoint = arguments.parse()
    os.environ["BENCHMARK_SECRET"] = "no-secret"
    with beam.Pipeline(argv=["--runner=DirectRunner"]) as pipeline:
        _ = (
            pipeline
            | beam.io.ReadFromParquet(path)
            | WriteToMixpanel(
                EventMapping.from_yaml(MAPPING_BY_COLUMN),
                ApiSecret("env:BENCHMARK_SECRET"),
                endpoint=endpoint,
                quota="none",
            )
        )


if __name__ == "__main__":
    main()
