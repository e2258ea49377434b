"""The loop without Beam that a good engineer writes in an afternoon: no retries, no quota.

Threads take slices of the file in turn; each turns its slice into JSON lines with Polars, cuts
them at every 2000th event, compresses the parts with ISA-L and posts them by a session of
`requests`. What `best_loop` adds to it are tricks that we found while we made the sink.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import requests
from isal import igzip

from benchmarks.contestants import arguments
from benchmarks.contestants.best_loop import BATCH_EVENTS, Slices, lines_of

SLICE_ROWS = 50_000
THREADS = 3
_HEADERS = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}


def _work(slices: Slices, url: str) -> None:
    with requests.Session() as session:
        session.auth = ("no-secret", "")
        while (taken := slices.take()) is not None:
            batch, first_row = taken
            frame: Any = pl.from_arrow(batch)
            times = pl.col("updated_at").dt.to_string("%Y-%m-%dT%H:%M:%SZ")
            buffer, ends = lines_of(frame, times, first_row)
            for start in range(0, len(frame), BATCH_EVENTS):
                stop = min(start + BATCH_EVENTS, len(frame))
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
