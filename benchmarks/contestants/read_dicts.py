"""Beam's own Parquet source, and a stage that takes its dicts and does nothing: no contestant,
but what every pipeline of dicts pays before its sink begins.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from benchmarks.contestants import arguments


class Ignore(beam.DoFn):
    """Takes a dict."""

    def process(self, record: dict[str, Any]) -> tuple[()]:
        """Nothing."""
        return ()


def main() -> None:
    """Runs the pipeline."""
    path, _ = arguments.parse()
    with beam.Pipeline(argv=["--runner=DirectRunner"]) as pipeline:
        _ = pipeline | beam.io.ReadFromParquet(path) | beam.ParDo(Ignore())


if __name__ == "__main__":
    main()
