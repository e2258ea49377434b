"""A block of JSON lines as a table, by Polars, where it surely means the same as line by line.

Polars takes a missing key for null, a number where text is expected for text, and leaves out keys
that it does not expect. So what it has read is counted: keys, quotes, nulls and fractions must be
as many as the block has.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

_LINES = 200
"""By which the columns of the blocks that follow are told."""
_TYPES: Mapping[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
_ODD_KEY = re.compile(r'[":{\[\\.]|null')
_HIDDEN = re.compile(rb"\\u(?:00[0-7]|[dD][89a-fA-F])")
"""Escapes of characters that are counted here, and halves of surrogate pairs."""

Schema = dict[str, Any]


def schema_of_block(block: bytes) -> Schema | None:
    """The columns of its first lines, if they are plain and the same in all of them."""
    types: dict[str, set[type]] = {}
    names: list[str] | None = None
    for line in itertools.islice(_lines(block), _LINES):
        try:
            record = orjson.loads(line)
        except ValueError:
            continue
        if not isinstance(record, dict):
            continue
        if names is None:
            names = list(record)
            types = {name: set() for name in names}
        if record.keys() != types.keys():
            return None
        for name, value in record.items():
            if value is not None:
                types[name].add(type(value))
    if not names or any(_ODD_KEY.search(name) for name in names):
        return None
    schema: Schema = {}
    for name, kinds in types.items():
        if len(kinds) > 1 or not kinds <= _TYPES.keys():
            return None
        schema[name] = _TYPES[next(iter(kinds), str)]
    return schema


def _lines(block: bytes) -> Iterator[bytes]:
    at = 0
    while (end := block.find(b"\n", at)) >= 0:
        yield block[at:end]
        at = end + 1


def table_of_block(block: bytes, schema: Schema) -> pa.Table | None:
    """Whole lines as a table with a row for each; None if that is not beyond doubt."""
    rows = block.count(b"\n")
    if b"\\u" in block and _HIDDEN.search(block):
        return None
    try:
        frame = pl.read_ndjson(io.BytesIO(block), schema=schema)
    except pl.exceptions.PolarsError:  # not JSON, not UTF-8, of another type, ...
        return None
    if frame.height != rows or frame.columns != list(schema):
        return None
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return table if _is_all(block, table, schema, rows) else None


def _is_all(block: bytes, table: pa.Table, schema: Schema, rows: int) -> bool:
    texts = [column for column in table.columns if pa.types.is_large_string(column.type)]
    inside = b"\0".join(data for column in texts for data in _data(column))

    def outside(mark: bytes) -> int:
        if len(mark) > 1:
            return block.count(mark) - inside.count(mark)
        return _count(block, mark) - _count(inside, mark)

    keys = rows * len(schema)
    given = sum(len(column) - column.null_count for column in texts)
    nulls = sum(column.null_count for column in table.columns)
    fractions = sum(
        len(column) - column.null_count
        for column in table.columns
        if pa.types.is_floating(column.type)
    )
    return (
        outside(b":") == keys
        and outside(b"{") == rows
        and outside(b"[") == 0
        and outside(b'"') == 2 * keys + 2 * given
        and outside(b".") == fractions
        and outside(b"null") == nulls
        and all(
            _nulls_of(block, name) == table.column(name).null_count
            for name in schema
            if table.column(name).null_count
        )
    )


def _count(data: bytes, mark: bytes) -> int:
    """As `bytes.count`, which is slow where there are many."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == ord(mark)))


def _nulls_of(block: bytes, name: str) -> int:
    key = orjson.dumps(name)
    return block.count(key + b": null") + block.count(key + b":null")


def _data(column: Any) -> Iterator[bytes]:
    """The bytes of a column's texts."""
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        if data is not None and len(chunk):
            ends = memoryview(offsets).cast("q")
            first, last = ends[chunk.offset], ends[chunk.offset + len(chunk)]
            yield data.slice(first, last - first).to_pybytes()
