"""The loop without Beam that a good engineer writes in an afternoon: no retries, no quota.

Threads take slices of the file in turn; each turns its slice into JSON lines with Polars, cuts
them at every 2000th event, compresses the parts with ISA-L and posts them by a session of
`requests`. What `best_loop` adds to it are tricks that we found while we made the sink.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import requests
from isal import igzip

from benchmarks.contestants import arguments
from benchmarks.contestants.best_loop import BATCH_EVENTS, Slices, lines_of

SLICE_ROWS = 50_000
THREADS = 3
_HEADERS = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}

Encode = Callable[[pa.RecordBatch, int], tuple[memoryview, Any]]
"""From a slice and its first row to lines, and where each begins (and the last ends)."""


def send_file(encode: Encode, slice_rows: int) -> None:
    """Sends the file that the command line names."""
    path, endpoint = arguments.parse()
    with pq.ParquetFile(path, memory_map=False) as file, ThreadPoolExecutor(THREADS) as pool:
        slices = Slices(file, slice_rows)
        for work in [pool.submit(_work, slices, endpoint, encode) for _ in range(THREADS)]:
            work.result()


def _work(slices: Slices, url: str, encode: Encode) -> None:
    with requests.Session() as session:
        session.auth = ("no-secret", "")
        while (taken := slices.take()) is not None:
            buffer, ends = encode(*taken)
            for start in range(0, len(ends) - 1, BATCH_EVENTS):
                stop = min(start + BATCH_EVENTS, len(ends) - 1)
                body = igzip.compress(buffer[int(ends[start]) : int(ends[stop])], 1)
                session.post(f"{url}/import?strict=1", body, headers=_HEADERS).raise_for_status()


def _lines(batch: pa.RecordBatch, first_row: int) -> tuple[memoryview, Any]:
    frame: Any = pl.from_arrow(batch)
    times = pl.col("updated_at").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
    return lines_of(frame, times, first_row)


if __name__ == "__main__":
    send_file(_lines, SLICE_ROWS)
