"""The sink behind a stage that makes dicts of a given size, with text that hardly compresses."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from mixpanel_sink import ApiSecret, EventMapping, WriteToMixpanel

MAPPING = "event: name\ndistinct_id: user\ntime: {column: at, unit: s}\ninsert_id: key"


def records(count: int, size: int) -> Iterator[dict[str, Any]]:
    """Dicts of about so many bytes, one after the other."""
    rng = random.Random(1)
    for n in range(count):
        text = rng.randbytes(size // 2).hex()
        yield {"name": "Large", "user": f"u{n}", "at": 1_735_689_600 + n, "key": f"k{n}", "t": text}


def main() -> None:
    """Runs the pipeline."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--endpoint", required=True)
    options = parser.parse_args()
    os.environ["BENCHMARK_SECRET"] = "no-secret"
    with beam.Pipeline(argv=["--runner=DirectRunner"]) as pipeline:
        _ = (
            pipeline
            | beam.Create([options.count])
            | beam.FlatMap(records, options.size)
            | WriteToMixpanel(
                EventMapping.from_yaml(MAPPING),
                ApiSecret("env:BENCHMARK_SECRET"),
                endpoint=options.endpoint,
                quota="none",
            )
        )


if __name__ == "__main__":
    main()
