"""A shape as a function from a block to a block, like redaction and routing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.batch.runs import take_runs
from mixpanel_sink.encode.apart import Rows, Shaped, in_parts
from mixpanel_sink.encode.blocks import Block, Failure, TableBlock
from mixpanel_sink.encode.json_columns import lost_rows
from mixpanel_sink.encode.shape import Absent, not_of_json, shape_table
from mixpanel_sink.encode.told import told_column
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import SHAPE_FAILED
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.shape import Shape

_BY_KEY = "A key of the record is not text. Convert it."


def shape_block(
    block: Block, mapping: Any, failed: list[Failure], also: Collection[str] = ()
) -> tuple[Block, int]:
    """The block that a mapping's shape makes, and how many records it left out.

    Args:
        block: of records that have not failed before.
        mapping: of events or profiles.
        failed: gets the records that do not fit.
        also: columns that something else needs.

    Raises:
        MappingError: for a shape that cannot fit these columns.
    """
    made = shaped(block, mapping, also)
    if made.failed:
        numbers = sorted(made.failed)
        for row, record, origin in zip(
            numbers, block.records(numbers), block.origins(numbers), strict=True
        ):
            failed.append((block.failure(made.failed[row], record, block.source(origin)), origin))
    return made.block(block.key, take_runs(block.runs, made.rows.tolist())), made.left_out


def shaped(block: Block, mapping: Any, also: Collection[str] = ()) -> Shaped:
    """What a mapping's shape makes of a block.

    Raises:
        MappingError: for a shape that cannot fit these columns.
    """
    shape: Shape = mapping.shape
    if isinstance(mapping, EventMapping):
        needed, sparse = [*mapping.mapped_columns(), *also], not mapping.drop_nulls
    else:  # an update fails for what a record lacks
        needed, sparse = [*mapping.named_columns(), *also], True
    if isinstance(block, TableBlock):
        absent: Absent | None = {} if sparse else None
        return shape_table(block.table, shape, needed, _is_loose(block.table), absent)

    def some(rows: Rows | None) -> Shaped:
        records = block.records(None if rows is None else rows.tolist())
        table, lacking, odd = _table_of(records)
        return shape_table(table, shape, needed, True, lacking if sparse else None, odd)

    return in_parts(len(block), some)


def _is_loose(table: pa.Table) -> bool:
    """Whether the types of a table's columns are told by their values."""
    origin = TableOrigin.of(table)
    return origin is not None and not origin.declared


def _table_of(records: Sequence[Any]) -> tuple[pa.Table, Absent, dict[int, RecordError]]:
    """Records as a table, those that lack a column, and those that cannot be in one.

    Raises:
        Apart: if a column has values that no type holds as they are.
    """
    odd: dict[int, RecordError] = {}
    names: set[str] = set()
    for row, record in enumerate(records):
        try:
            for name in record:
                if type(name) is not str:
                    raise TypeError
            names.update(record)
        except Exception:  # of a user's class, too
            odd[row] = RecordError(SHAPE_FAILED, _BY_KEY)
    columns: dict[str, Any] = {}
    absent: dict[str, Any] = {}
    good = [{} if row in odd else record for row, record in enumerate(records)]
    for name in sorted(names):
        column = told_column(name, [record.get(name) for record in good])
        for row in lost_rows(column):
            odd[row] = not_of_json(name)
        columns[name] = column
        lacks = np.array([name not in record for record in good], bool)
        if lacks.any():
            absent[name] = lacks
    # A table needs a column to have rows.
    return pa.table(columns or {"": pa.nulls(len(records))}), absent, odd
