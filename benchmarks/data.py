"""The input: a Parquet file of any number of orders, the same for the same number.

13 columns, about 314 bytes of JSON an event once mapped, no nulls, row groups of 250,000
rows, zstd.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import paths

GROUP_ROWS = 250_000
_VERSION = 2
_FIRST_MS = 1_735_689_600_000
"""2025-01-01; events come every 7 ms and stay in the past for billions of rows."""

_EVENTS = ("Order Completed", "Product Viewed", "Cart Updated", "Checkout Started", "Page Viewed")
_PRODUCTS = tuple(f"Nordic {wood} {thing}" for wood in ("Oak", "Birch", "Pine", "Walnut", "Ash")
                  for thing in ("Chair", "Table", "Bookshelf", "Lamp", "Bench"))  # fmt: skip
_CATEGORIES = ("furniture", "lighting", "outdoor", "textiles", "kitchen")
_COUNTRIES = ("DE", "FR", "PL", "SE", "IT", "ES", "NL", "US")

SCHEMA = pa.schema(
    [
        ("event_name", pa.string()),
        ("user_id", pa.string()),
        ("occurred_at", pa.int64()),  # milliseconds since 1970
        ("order_id", pa.string()),  # unique
        ("product", pa.string()),
        ("category", pa.string()),
        ("country", pa.string()),
        ("price", pa.float64()),
        ("discount", pa.float64()),
        ("quantity", pa.int32()),
        ("session", pa.int64()),
        ("returning", pa.bool_()),
        ("updated_at", pa.timestamp("us", "UTC")),  # whole seconds
    ]
)


def parquet_file(events: int) -> Path:
    """The file of that many events; made once."""
    path = paths.CACHE / f"orders-{events}-v{_VERSION}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _whole(path) as unfinished,
            pq.ParquetWriter(unfinished, SCHEMA, compression="zstd") as writer,
        ):
            for table in tables(events):
                writer.write_table(table, row_group_size=GROUP_ROWS)
    return path


def ndjson_file(parquet: Path) -> Path:
    """The finished events, one a line, for a contestant that does best with them."""
    from benchmarks.contestants.best_loop import encode

    path = parquet.with_suffix(".ndjson")
    if not path.exists():
        with (
            _whole(path) as unfinished,
            unfinished.open("wb") as out,
            pq.ParquetFile(parquet) as file,
        ):
            row = 0
            for batch in file.iter_batches(50_000):
                buffer, _ = encode(batch, row)
                out.write(buffer)
                row += len(batch)
    return path


def snappy_file(parquet: Path) -> Path:
    """The same rows in a compression that a contestant can read."""
    path = parquet.with_suffix(".snappy.parquet")
    if not path.exists():
        with (
            _whole(path) as unfinished,
            pq.ParquetFile(parquet) as file,
            pq.ParquetWriter(unfinished, SCHEMA, compression="snappy") as writer,
        ):
            for group in range(file.num_row_groups):
                writer.write_table(file.read_row_group(group))
    return path


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Another name to write a file under, which gets its own only when it is finished."""
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    yield unfinished
    unfinished.rename(path)


def tables(events: int) -> Iterator[pa.Table]:
    """The rows of the file, a row group at a time."""
    for start in range(0, events, GROUP_ROWS):
        yield _table(start, min(start + GROUP_ROWS, events))


def _table(start: int, stop: int) -> pa.Table:
    rows = np.arange(start, stop, dtype=np.int64)
    random = np.random.default_rng([_VERSION, start])
    count = len(rows)

    def pick(values: tuple[str, ...]) -> pa.Array:
        return pa.array(np.array(values, dtype=object)[random.integers(0, len(values), count)])

    time = _FIRST_MS + rows * 7
    users = random.integers(0, 200_000, count)
    columns = [
        pick(_EVENTS),
        pa.array([f"user-{user:06d}" for user in users.tolist()]),
        pa.array(time),
        pa.array([f"order-{row:012d}" for row in rows.tolist()]),
        pick(_PRODUCTS),
        pick(_CATEGORIES),
        pick(_COUNTRIES),
        pa.array(np.round(random.random(count) * 500, 2)),
        pa.array(np.round(random.random(count) * 0.3, 3)),
        pa.array(random.integers(1, 10, count, dtype=np.int32)),
        pa.array(random.integers(10**9, 10**10, count)),
        pa.array(random.random(count) < 0.4),
        pa.array((time // 1000 + random.integers(0, 86_400, count)) * 1_000_000).cast(
            SCHEMA.field("updated_at").type
        ),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)
