"""The fastest loop that we can write without Beam: no retries, no quota, no failures.

Worker threads take slices of the file in turn; each turns its slice into JSON lines in
one buffer with Polars, cuts that at every 2000th event, compresses the parts with ISA-L
and posts them on a connection of its own. Memory: one slice a thread.
"""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from isal import igzip

from benchmarks.contestants import arguments

SLICE_ROWS = 20_000
BATCH_EVENTS = 2000
THREADS = int(os.environ.get("BENCHMARK_THREADS") or 3)

_PROPERTIES = (
    "product",
    "category",
    "country",
    "price",
    "discount",
    "quantity",
    "session",
    "returning",
)
_DAY = 86_400


def encode(batch: pa.RecordBatch, first_row: int) -> tuple[memoryview, np.ndarray[Any, Any]]:
    """The events of a slice, one a line, and where each line begins (and the last ends)."""
    frame: Any = pl.from_arrow(batch)
    return lines_of(frame, _times(frame.get_column("updated_at")), first_row)


def lines_of(
    frame: pl.DataFrame, updated_at: Any, first_row: int
) -> tuple[memoryview, np.ndarray[Any, Any]]:
    """The same, of a frame with the texts of its column updated_at."""
    properties = pl.struct(
        *_PROPERTIES,
        updated_at.alias("updated_at"),
        pl.col("user_id").alias("distinct_id"),
        pl.lit("0").alias("ip"),
        pl.col("occurred_at").alias("time"),
        pl.format("0123456789abcdef0123-{}", pl.int_range(pl.len()) + first_row).alias(
            "$insert_id"
        ),
    )
    event = pl.struct(pl.col("event_name").alias("event"), properties.alias("properties"))
    return buffer_of(frame.select((event.struct.json_encode() + "\n").alias("line")).to_series())


def buffer_of(lines: pl.Series) -> tuple[memoryview, np.ndarray[Any, Any]]:
    """The bytes of a column of lines, and where each begins (and the last ends)."""
    array: Any = lines.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(data).cast("B")[: int(ends[-1])], ends


def _times(series: pl.Series) -> pl.Series:
    """Whole seconds as ISO 8601, looked up: six times as fast as formatting them."""
    day, second = np.divmod(series.dt.epoch("s").to_numpy(), _DAY)
    first = int(day.min())
    days = np.arange(first, int(day.max()) + 1).astype("datetime64[D]")
    texts = pl.Series(np.datetime_as_string(days).tolist())
    return texts.gather(day - first) + _seconds().gather(second)


@cache
def _seconds() -> pl.Series:
    return pl.Series([f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z" for s in range(_DAY)])


class Slices:
    """Hands the file's slices to threads, one at a time."""

    def __init__(self, file: pq.ParquetFile, rows: int = SLICE_ROWS) -> None:
        self._batches: Iterator[pa.RecordBatch] = file.iter_batches(rows)
        self._lock = threading.Lock()
        self._row = 0

    def take(self) -> tuple[pa.RecordBatch, int] | None:
        """The next slice and its first row."""
        with self._lock:
            batch = next(self._batches, None)
            if batch is None:
                return None
            row = self._row
            self._row += len(batch)
            return batch, row


def _work(slices: Slices, host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port)
    headers = {
        "Authorization": "Basic bm8tc2VjcmV0Og==",
        "Content-Type": "application/x-ndjson",
        "Content-Encoding": "gzip",
    }
    while (taken := slices.take()) is not None:
        buffer, ends = encode(*taken)
        for start in range(0, len(ends) - 1, BATCH_EVENTS):
            stop = min(start + BATCH_EVENTS, len(ends) - 1)
            body = igzip.compress(buffer[int(ends[start]) : int(ends[stop])], 1)
            connection.request("POST", "/import?strict=1", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise SystemExit(f"{answer.status}: {said[:300]!r}")
    connection.close()


def main() -> None:
    """Sends the file."""
    path, endpoint = arguments.parse()
    url = urlsplit(endpoint)
    assert url.hostname is not None
    assert url.port is not None
    _seconds()
    with pq.ParquetFile(path, memory_map=False) as file, ThreadPoolExecutor(THREADS) as pool:
        slices = Slices(file)
        for work in [pool.submit(_work, slices, url.hostname, url.port) for _ in range(THREADS)]:
            work.result()


if __name__ == "__main__":
    main()
