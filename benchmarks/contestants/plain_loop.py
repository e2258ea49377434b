"""The loop without Beam that a good engineer writes in an afternoon: no retries, no quota.

Threads take slices of the file in turn; each turns its slice into JSON lines with Polars, cuts
them at every 2000th event, compresses the parts with ISA-L and posts them by a session of
`requests`. What `best_loop` adds to it are tricks that we found while we made the sink.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from isal import igzip

from benchmarks.contestants import arguments
from benchmarks.contestants.best_loop import BATCH_EVENTS, PROPERTIES, Slices

SLICE_ROWS = 50_000
THREADS = 3
_HEADERS = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


def encode(batch: pa.RecordBatch, first_row: int) -> pa.Array:
    """The events of a slice as JSON texts, each with its line break."""
    frame: Any = pl.from_arrow(batch)
    properties = pl.struct(
        *PROPERTIES,
        pl.col("updated_at").dt.to_string("%Y-%m-%dT%H:%M:%SZ"),
        pl.col("user_id").alias("distinct_id"),
        pl.lit("0").alias("ip"),
        pl.col("occurred_at").alias("time"),
        pl.format("0123456789abcdef0123-{}", pl.int_range(pl.len()) + first_row).alias(
            "$insert_id"
        ),
    )
    event = pl.struct(pl.col("event_name").alias("event"), properties.alias("properties"))
    lines = frame.select((event.struct.json_encode() + "\n").alias("line")).to_series()
    return lines.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())


def _work(slices: Slices, url: str) -> None:
    with requests.Session() as session:
        session.auth = ("no-secret", "")
        while (taken := slices.take()) is not None:
            lines = encode(*taken)
            _, offsets, data = lines.buffers()
            ends = np.frombuffer(offsets, dtype=np.int64)
            for start in range(0, len(lines), BATCH_EVENTS):
                stop = min(start + BATCH_EVENTS, len(lines))
                body = igzip.compress(memoryview(data)[int(ends[start]) : int(ends[stop])], 1)
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
