"""A block of CSV as a table, by Polars, where it surely means the same as row by row."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mixpanel_sink.api.numbers import number_of
from mixpanel_sink.read.marks import count_of, data_of

_BOOLEANS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
_DOUBLED = b'""'
_MARK = b"\xef\xbb\xbf"


def table_of_block(
    block: bytes,
    header: Sequence[str],
    types: Mapping[str, str],
    delimiter: str,
    nulls: Sequence[str],
    decimal: str,
) -> pa.Table | None:
    """Whole lines as a table; None if a row may be bad, or if its reading is not beyond doubt.

    Args:
        block: UTF-8, with a line break at its end.
        header: names of the columns.
        types: of those that are not text.
        delimiter: between cells.
        nulls: cells that are null, besides empty ones.
        decimal: what separates a number's fraction.
    """
    mark = delimiter.encode()
    if len(mark) > 1 or not _is_plain(block, mark):
        return None
    data = np.frombuffer(block, np.uint8)
    quotes = count_of(data, b'"')
    try:
        frame = pl.read_csv(
            io.BytesIO(block),
            has_header=False,
            new_columns=list(header),
            separator=delimiter,
            quote_char='"' if quotes else None,
            null_values=list(nulls) or None,
            infer_schema=False,
            raise_if_empty=False,
        )
    except pl.exceptions.PolarsError:  # cells too many, not UTF-8, ...
        return None
    if frame.width != len(header):
        return None
    if not quotes and frame.height != block.count(b"\n"):
        return None
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    if count_of(data, mark) - _count_in(table, mark) != (len(header) - 1) * frame.height:
        return None
    if quotes:
        doubled = block.count(_DOUBLED)
        empty = doubled - _count_in(table, b'"')
        if empty < 0:
            return None
        if empty:  # an empty cell in quotes is null as well
            frame = frame.with_columns(pl.when(pl.all() != "").then(pl.all()))
            table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    return _with_types(table, frame, types, decimal)


def _is_plain(block: bytes, mark: bytes) -> bool:
    """Whether lines and quotes can only be read in one way.

    Doubled quotes left out, each quote stands beside a delimiter or a line break, half of them
    behind one and half before one: then they are around cells, and none is within one.
    """
    data = np.frombuffer(block, np.uint8)
    returns = block.count(b"\r")
    if returns and returns != block.count(b"\r\n"):
        return False
    if block.startswith((b"\n", b"\r\n", _MARK)) or count_of(data, b"\n\n"):
        return False
    if returns and b"\n\r\n" in block:
        return False
    every = returns == count_of(data, b"\n")
    if b'"' not in block:
        return not returns or every
    if _DOUBLED in block:
        block = block.replace(_DOUBLED, b"")
        data = np.frombuffer(block, np.uint8)
    opening = count_of(data, mark + b'"') + count_of(data, b'\n"') + block.startswith(b'"')
    closing = count_of(data, b'"' + mark) + (0 if every else count_of(data, b'"\n'))
    closing += count_of(data, b'"\r\n') if returns else 0
    return opening == closing == count_of(data, b'"') / 2


def _count_in(table: pa.Table, mark: bytes) -> int:
    """How often a byte is in a table's texts."""
    return sum(count_of(data, mark) for column in table.columns for data in data_of(column))


def _with_types(
    table: pa.Table, frame: pl.DataFrame, types: Mapping[str, str], decimal: str
) -> pa.Table | None:
    for name, kind in types.items():
        if kind == "text":
            continue
        column = frame.get_column(name)
        made: Any
        if kind == "boolean":
            made = column.str.to_lowercase().replace_strict(
                _BOOLEANS, default=None, return_dtype=pl.Boolean
            )
        elif kind == "integer":
            made = column.cast(pl.Int64, strict=False)
        else:
            if decimal != ".":
                if column.str.contains(".", literal=True).any():
                    return None
                column = column.str.replace(decimal, ".", literal=True)
            made = column.cast(pl.Float64, strict=False)
            if not _is_exact(column, made):
                return None
        if made.null_count() != column.null_count():  # a cell that is not of its type, or too long
            return None
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, made.to_arrow(compat_level=pl.CompatLevel.oldest()))
    return table


def _is_exact(texts: pl.Series, numbers: pl.Series) -> bool:
    """Whether floats hold what the cells say; see `numbers.number_of`."""
    doubtful = (texts.str.len_bytes() > 15) | texts.str.contains("[eE]")
    doubtful &= texts != numbers.cast(pl.String)
    return all(
        isinstance(number_of(text), float) for text in texts.filter(doubtful & numbers.is_finite())
    )
