"""The plain loop for any of the inputs of `benchmarks.sets`: no retries, no quota, no failures."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa

from benchmarks.contestants.best_loop import buffer_of
from benchmarks.contestants.plain_loop import send_file

SLICE_ROWS = 20_000
_MAPPED = ("event_name", "user_id", "occurred_at")


def _lines(batch: pa.RecordBatch, first_row: int) -> tuple[memoryview, Any]:
    frame: Any = pl.from_arrow(batch)
    times = [name for name, kind in frame.schema.items() if kind == pl.Datetime]
    properties = pl.struct(
        *(pl.col(name) for name in frame.columns if name not in (*_MAPPED, *times)),
        *(pl.col(name).dt.to_string("%Y-%m-%dT%H:%M:%SZ") for name in times),
        pl.col("user_id").alias("distinct_id"),
        pl.col("occurred_at").alias("time"),
        pl.format("0123456789abcdef-{}", pl.int_range(pl.len()) + first_row).alias("$insert_id"),
    )
    event = pl.struct(pl.col("event_name").alias("event"), properties.alias("properties"))
    return buffer_of(frame.select((event.struct.json_encode() + "\n").alias("line")).to_series())


if __name__ == "__main__":
    send_file(_lines, SLICE_ROWS)
