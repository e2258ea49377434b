"""Rows of one block that need columns of different types, and so cannot be shaped as one table.

What becomes of a record must not depend on the others of its block. So no type is chosen that holds
all values of a block: the rows are taken apart, and each part is shaped by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mixpanel_sink.batch.runs import Run
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.blocks import Block, RecordsBlock, TableBlock
from mixpanel_sink.errors import RecordError

Rows = np.ndarray[Any, np.dtype[np.int64]]


class Apart(Exception):
    """Raised where rows must be shaped apart.

    Args:
        codes: of each row; those with the same one may stay together. There are two or more.
    """

    def __init__(self, codes: Sequence[int] | np.ndarray[Any, Any]) -> None:
        super().__init__("rows that need several types")
        self.groups: list[Rows] = [np.flatnonzero(codes == code) for code in np.unique(codes)]


@dataclasses.dataclass(frozen=True)
class Shaped:
    """What a shape made of records.

    Attributes:
        rows: where those that are left were in what was given, in order.
        failed: rows that do not fit, and why.
        left_out: how many records the shape was asked to leave out.
        table: the records that are left.
        records: they as dicts, in place of a table, if they need columns of several types.
    """

    rows: Rows
    failed: dict[int, RecordError]
    left_out: int
    table: pa.Table
    records: list[dict[str, Any]] | None = None

    def block(self, key: str | None, runs: Sequence[Run]) -> Block:
        """The records that are left as a block."""
        if self.records is not None:
            return RecordsBlock(key, runs, self.records)
        return TableBlock(key, runs, self.table)


def in_parts(count: int, shape: Callable[[Rows | None], Shaped]) -> Shaped:
    """Shapes so many rows: together, or in as many parts as it takes.

    Args:
        count: how many there are.
        shape: shapes those with these numbers, or all; raises `Apart` where it cannot.
    """
    return _in_parts(None, np.arange(count), shape)


def _in_parts(taken: Rows | None, rows: Rows, shape: Callable[[Rows | None], Shaped]) -> Shaped:
    try:
        return shape(taken)
    except Apart as apart:
        groups = apart.groups
    kept: list[tuple[int, dict[str, Any]]] = []
    failed: dict[int, RecordError] = {}
    left_out = 0
    for group in groups:
        made = _in_parts(rows[group], rows[group], shape)
        failed |= {int(group[row]): error for row, error in made.failed.items()}
        left_out += made.left_out
        records = made.records
        if records is None:
            records = rows_as_records(made.table, range(len(made.table)))
        kept += zip(group[made.rows].tolist(), records, strict=True)
    kept.sort(key=lambda each: each[0])
    places = np.array([row for row, _ in kept], np.int64)
    return Shaped(places, failed, left_out, pa.table({}), [record for _, record in kept])
