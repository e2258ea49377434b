"""The plain loop for any of the inputs of `benchmarks.sets`: no retries, no quota, no failures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import requests
from isal import igzip

from benchmarks.contestants import arguments
from benchmarks.contestants.best_loop import BATCH_EVENTS, Slices

SLICE_ROWS = 20_000
THREADS = 3
_MAPPED = ("event_name", "user_id", "occurred_at")
_HEADERS = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


def _lines(batch: Any, first_row: int) -> tuple[memoryview, Any]:
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
    lines = frame.select((event.struct.json_encode() + "\n").alias("line")).to_series()
    array: Any = lines.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data).cast("B"), ends


def _work(slices: Slices, url: str) -> None:
    with requests.Session() as session:
        session.auth = ("no-secret", "")
        while (taken := slices.take()) is not None:
            buffer, ends = _lines(*taken)
            for start in range(0, len(ends) - 1, BATCH_EVENTS):
                stop = min(start + BATCH_EVENTS, len(ends) - 1)
                body = igzip.compress(buffer[int(ends[start]) : int(ends[stop])], 1)
                session.post(f"{url}/import?strict=1", body, headers=_HEADERS).raise_for_status()


def main() -> None:
    """Sends the file."""
    path, endpoint = arguments.parse()
    with pq.ParquetFile(path, memory_map=False) as file, ThreadPoolExecutor(THREADS) as pool:
        slices = Slices(file, SLICE_ROWS)
        for work in [pool.submit(_work, slices, endpoint) for _ in range(THREADS)]:
            work.result()


if __name__ == "__main__":
    main()
