"""Three inputs unlike each other, so that nothing is tuned to one.

All have the columns event_name, user_id and occurred_at; whatever else they have is a property.

    narrow   those three, an id and four short columns; no nulls
    orders   13 columns of which five are often null, with floats
    wide     80 columns: texts, numbers and times, half of them mostly null, lists and structs
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import data, paths

MAPPING = "event: event_name\ndistinct_id: user_id\ntime: {column: occurred_at, unit: ms}\n"
"""The same for all: ids by position, and all other columns as properties."""
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One of the inputs.

    Attributes:
        name: on the command line.
        rows: of the quick benchmark.
        make: the table of so many rows.
    """

    name: str
    rows: int
    make: Callable[[int], pa.Table]

    def file(self) -> Path:
        """The Parquet file; made once."""
        path = paths.CACHE / f"{self.name}-{self.rows}-v{_VERSION}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(self.make(self.rows), path, compression="zstd", row_group_size=100_000)
        return path


def _orders(rows: int) -> pa.Table:
    table = pa.concat_tables(data.tables(rows))
    chance = np.random.default_rng(_VERSION)
    for name in ("product", "category", "discount", "session", "updated_at"):
        table = _with_nulls(table, name, chance.random(rows) < 0.4)
    return table


def _narrow(rows: int) -> pa.Table:
    columns = ["event_name", "user_id", "occurred_at", "order_id", "country", "quantity"]
    return pa.concat_tables(data.tables(rows)).select([*columns, "returning", "session"])


def _wide(rows: int) -> pa.Table:
    chance = np.random.default_rng(_VERSION + 1)
    table = pa.concat_tables(data.tables(rows))
    words = np.array([f"value {n} of a column" for n in range(500)], dtype=object)
    for n in range(62):
        values: Any
        if n % 3 == 0:
            values = pa.array(words[chance.integers(0, 500, rows)])
        elif n % 3 == 1:
            values = pa.array(chance.integers(-(10**9), 10**9, rows))
        else:
            values = pa.array(np.round(chance.random(rows) * 1e4, 2))
        table = table.append_column(f"column_{n:02d}", values)
        if n % 2:
            table = _with_nulls(table, f"column_{n:02d}", chance.random(rows) < 0.8)
    tags = [["new", "sale"], ["gift"], [], None, ["b2b", "new", "late"]]
    table = table.append_column("tags", pa.array([tags[n % 5] for n in range(rows)]))
    page = [{"url": f"/p/{n}", "length": n * 3, "parts": [n, n + 1]} for n in range(50)]
    return table.append_column("page", pa.array([page[n % 50] for n in range(rows)]))


def _with_nulls(table: pa.Table, name: str, where: Any) -> pa.Table:
    place = table.schema.get_field_index(name)
    column = pa.compute.if_else(pa.array(where), None, table.column(place))
    return table.set_column(place, name, column)


ALL = (
    DataSet("narrow", 2_000_000, _narrow),
    DataSet("orders", 1_000_000, _orders),
    DataSet("wide", 200_000, _wide),
)
