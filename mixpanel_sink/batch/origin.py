"""Where rows come from, for position ids and failed records.

A table carries it in its own schema metadata. So a reader's output stays a plain `pyarrow.Table`,
and any transform between that keeps the metadata (and the rows' order) keeps the origin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from mixpanel_sink.batch.runs import Run

SLICE_ROWS = 50_000
"""Rows of one table, which is read and encoded at once."""

FileKey = str | Sequence[str] | None
"""Stands for the file of a table's rows in position ids, or one for each row; None if unknown."""
_KEY = b"mixpanel_sink.batch.origin"


def memory_bytes(data: pa.Table | pa.RecordBatch | pa.Array) -> int:
    """What it takes in memory.

    Older versions of Arrow cannot tell this of a part of text views: there all that they point to
    counts, which is more.
    """
    try:
        return int(data.nbytes)
    except pa.ArrowTypeError:
        return int(data.get_total_buffer_size())


@dataclasses.dataclass(frozen=True)
class TableOrigin:
    """A file, and the row in it that is the table's first.

    Attributes:
        file: its path.
        key: what stands for it in position ids; see `ids.file_key`.
        first_row: counted from 0.
        offsets: each row's place, counted from the first; None if there is no gap.
        declared: whether the file states its columns' types, and they are not told by the values
            of this part of it, as those of JSON lines are.
    """

    file: str
    key: str
    first_row: int
    offsets: Sequence[int] | None = None
    declared: bool = True

    @classmethod
    def of(cls, table: pa.Table) -> TableOrigin | None:
        """The origin that `attach` stored in a table; None for other tables."""
        packed = (table.schema.metadata or {}).get(_KEY)
        return None if packed is None else cls(*orjson.loads(packed))

    def attach(self, table: pa.Table) -> pa.Table:
        """The same table, with this origin in its metadata."""
        packed = orjson.dumps(dataclasses.astuple(self))
        return table.replace_schema_metadata({_KEY: packed})

    def at(self, row: int) -> TableOrigin:
        """The origin of the part that begins at this row of the table."""
        if self.offsets is None:
            return dataclasses.replace(self, first_row=self.first_row + row)
        return self.taking(range(row, len(self.offsets)))

    def taking(self, rows: Sequence[int]) -> TableOrigin:
        """The origin of some rows of the table, one or more, in their order."""
        first = self.row(rows[0])
        offsets = [self.row(row) - first for row in rows]
        return dataclasses.replace(self, first_row=first, offsets=offsets)

    def parts(self) -> tuple[TableOrigin, Sequence[int] | None]:
        """The origin of the first row, and the offsets of all rows from there."""
        return dataclasses.replace(self, offsets=None), self.offsets

    def row(self, row: int) -> int:
        """The row in the file of a row of the table."""
        return self.first_row + (row if self.offsets is None else self.offsets[row])

    def source(self, row: int) -> RowOrigin:
        """Where one row of the table lies."""
        return RowOrigin(self.file, self.key, self.row(row))


@dataclasses.dataclass(frozen=True)
class RecordBlock:
    """Records that travel together, without being a table.

    Attributes:
        records: one or more.
        origin: of the first row; None if no file is known.
        offsets: each record's row, counted from there; None if there is no gap.
    """

    records: Sequence[Mapping[Any, Any]]
    origin: TableOrigin | None
    offsets: Sequence[int] | None = None


@dataclasses.dataclass(frozen=True)
class RowOrigin:
    """Where a record lies.

    Attributes:
        file: its name, for failures.
        key: stands for the file in position ids (see `ids.file_key`).
        row: counted from 0.
    """

    file: str
    key: str
    row: int


def runs_from(
    place: TableOrigin | None, offsets: Sequence[int] | None, whole: Run
) -> Sequence[Run]:
    """The runs of records at these offsets from a place; None for offsets without gaps.

    Args:
        place: of the first record; None if no file is known.
        offsets: of each record from there.
        whole: what all of them share, and their number.
    """
    if place is None or not whole.count:
        return [whole]
    if offsets is None:
        return [whole._replace(file=place.file, row=place.first_row)]
    rows = np.add(offsets, place.first_row)
    parts = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return [whole._replace(count=len(p), file=place.file, row=int(p[0])) for p in parts]
