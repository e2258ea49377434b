"""A shape as a function from a block to a block, like redaction and routing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.batch.runs import take_runs
from mixpanel_sink.encode.blocks import Block, Failure, TableBlock
from mixpanel_sink.encode.json_columns import JsonType, json_column, texts_of
from mixpanel_sink.encode.shape import shape_table
from mixpanel_sink.encode.tables import plain_column
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import SHAPE_FAILED
from mixpanel_sink.settings.shape import Shape


def shape_block(
    block: Block, shape: Shape, mapped: Collection[str], failed: list[Failure]
) -> tuple[Block, int]:
    """The block that a shape makes, and how many records it left out.

    Args:
        block: of records that have not failed before.
        shape: what to do.
        mapped: columns that the mapping uses for more than a property.
        failed: gets the records that do not fit.

    Raises:
        MappingError: for a shape that cannot fit these columns.
    """
    table, odd = table_of_block(block)
    made = shape_table(table, shape, mapped, loose=is_loose(block))
    errors = {**made.failed, **odd}
    rows = [int(row) for row in made.rows if int(row) not in odd]
    result = made.table
    if odd:
        keep = [at for at, row in enumerate(made.rows) if int(row) not in odd]
        result = result.take(pa.array(keep, pa.int64()))
    if errors:
        numbers = sorted(errors)
        for row, record, origin in zip(
            numbers, block.records(numbers), block.origins(numbers), strict=True
        ):
            failed.append((block.failure(errors[row], record, block.source(origin)), origin))
    left_out = len(block) - len(rows) - len(errors)
    return TableBlock(block.key, take_runs(block.runs, rows), result), left_out


def is_loose(block: Block) -> bool:
    """Whether the types of the block's columns are told by their values."""
    if not isinstance(block, TableBlock):
        return True
    origin = TableOrigin.of(block.table)
    return origin is not None and not origin.declared


def table_of_block(block: Block) -> tuple[pa.Table, dict[int, RecordError]]:
    """The block as a table, and the records that cannot be in one."""
    if isinstance(block, TableBlock):
        return block.table, {}
    records: Sequence[Any] = block.records()
    odd: dict[int, RecordError] = {}
    names: dict[str, None] = {}
    for row, record in enumerate(records):
        try:
            for name in record:
                if type(name) is not str:
                    raise TypeError
                names[name] = None
        except Exception:  # of a user's class, too
            odd[row] = RecordError(SHAPE_FAILED, "A key of the record is not text. Convert it.")
    columns = {}
    for name in names:
        values = [None if row in odd else record.get(name) for row, record in enumerate(records)]
        column = plain_column(values)
        if column is None:
            column = json_column(values, name, False)
            for row, text in enumerate(texts_of(pa.chunked_array([column]))):
                if text == JsonType.UNFIT:
                    odd[row] = RecordError(
                        SHAPE_FAILED,
                        f"{name} holds a value that JSON cannot represent. Convert or exclude it.",
                        name,
                    )
        columns[name] = column
    if not columns:  # a table needs a column to have rows
        columns[""] = pa.nulls(len(records))
    return pa.table(columns), odd
