"""A block of JSON lines as a table, by Polars, where it surely means the same as line by line.

Polars takes a missing key for null and a number where text is expected for text, leaves out keys
that it does not expect, and keeps the first of two values of one key. So what it has read is
counted: pairs, quotes, fractions and nulls must be as many as the block has, and each null that
the block states must be one in the table, too.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa

from mixpanel_sink.encode.tables import MOST_MISSING
from mixpanel_sink.read.json_kinds import Schema, is_nested, parts_of, regexes_of, spellings
from mixpanel_sink.read.marks import Bytes, count_of, data_of, places_of

_LINES = 200
"""By which the columns of the blocks that follow are told."""
_HIDDEN = re.compile(rb"\\u(?:00[0-7]|[dD][89a-fA-F])")
"""Escapes of characters that are counted here, and halves of surrogate pairs."""
_NULL = re.compile(rb'": ?n')
"""The end of a key and the beginning of its null."""
_WORD = 8
"""Bytes that are compared at once."""


def first_records(block: bytes) -> list[dict[str, Any]]:
    """The objects of its first lines."""
    records = []
    for line in itertools.islice(_lines(block), _LINES):
        with contextlib.suppress(ValueError):
            records.append(orjson.loads(line))
    return [record for record in records if isinstance(record, dict)]


def _lines(block: bytes) -> Iterator[bytes]:
    at = 0
    while (end := block.find(b"\n", at)) >= 0:
        yield block[at:end]
        at = end + 1


def has_long_number(block: bytes) -> bool:
    """Whether it has 19 digits in a row, such as an integer beyond 64 bits has."""
    runs = np.frombuffer(block, np.uint8) - np.uint8(ord("0")) < 10
    for step in (1, 2, 4, 8, 3):  # runs of 2, 4, 8, 16 and 19
        runs = runs[:-step] & runs[step:]
    return bool(runs.any())


def table_of_block(
    block: bytes, schema: Schema, required: Collection[str] | None = None
) -> pa.Table | None:
    """Whole lines as a table with a row for each; None if that is not beyond doubt.

    Args:
        block: the lines.
        schema: of the columns.
        required: those whose keys no line may lack; None for all. Others become null.
    """
    rows = count_of(np.frombuffer(block, np.uint8), b"\n")
    # One byte is found by memchr, two by a search that takes ten times as long.
    if b"\\" in block and _HIDDEN.search(block):
        return None
    try:
        frame = pl.read_ndjson(io.BytesIO(block), schema=schema)
    except pl.exceptions.PolarsError:  # not JSON, not UTF-8, of another type, ...
        return None
    if frame.height != rows or frame.columns != list(schema):
        return None
    for name, kind in schema.items():
        filled = rows - frame[name].null_count()
        begins, whole = regexes_of(name, kind)
        if is_nested(kind):
            if any(_matches(block, each) != filled for each in (begins, whole)):
                return None
        # Polars makes text of a list or an object, and what is in it could pass for other pairs.
        elif _may_be_nested(frame[name]) and _matches(block, begins):
            return None
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    stated = _stated_nulls(block, frame, table)
    if stated is None:
        return None
    needed = stated.keys() if required is None else stated.keys() & required
    return table if all(frame[name].null_count() == stated[name] for name in needed) else None


def _may_be_nested(column: pl.Series) -> bool:
    """Whether it has texts that begin as lists or objects do."""
    if column.dtype != pl.String:
        return False
    return bool((column.str.starts_with("{") | column.str.starts_with("[")).any())


def _matches(block: bytes, pattern: str) -> int:
    """How often a pattern is in it; -1 if that cannot be told, such as for a very wide object."""
    try:
        return int(pl.Series([block.decode()]).str.count_matches(pattern)[0])
    except (pl.exceptions.PolarsError, UnicodeDecodeError):
        return -1


def _stated_nulls(block: bytes, frame: pl.DataFrame, table: pa.Table) -> dict[str, int] | None:
    """How many nulls the block states, by column; None if the table may not hold what it states.

    Args:
        block: the lines.
        frame: of them. Its lists and objects are known to be what the block has.
        table: the same.
    """
    filled = {column.name: len(column) - column.null_count() for column in frame}
    within = texts = fractions = 0
    inside: list[Bytes] = []
    for part in parts_of(table):
        values = len(part) - part.null_count
        if pa.types.is_struct(part.type):
            within += values * part.type.num_fields
        elif pa.types.is_large_string(part.type):
            texts += values
            inside += data_of(part)
        elif pa.types.is_floating(part.type):
            fractions += values
    data = np.frombuffer(block, np.uint8)

    def outside(mark: bytes) -> int:
        return count_of(data, mark) - sum(count_of(each, mark) for each in inside)

    pairs = outside(b":") - within
    if frame.height * frame.width > MOST_MISSING * pairs:  # a table of mostly nulls
        return None
    quotes = 2 * (pairs + within + texts)
    if outside(b'"') != quotes or (fractions and outside(b".") != fractions):
        return None
    # Each cell that is not null is the value of a pair, so that the values of all other pairs must
    # be null. A list or an object where none is expected is either an error of Polars', or a cell
    # of text; quotes are missing then.
    stated = dict.fromkeys(frame.columns, 0)
    cells = sum(filled.values())
    if pairs == cells:
        return stated
    nulls = _key_ends(block, data, inside)
    if len(nulls) != pairs - cells:
        return None
    lines = places_of(data, b"\n")
    words = np.ndarray((len(block) - _WORD + 1,), "<u8", block, 0, (1,))
    for name in frame.columns:
        if filled[name] == frame.height:
            continue
        is_null = frame[name].is_null().to_numpy()
        for key in spellings(name):
            its = _has_key(words, nulls, key.encode())
            rows = np.searchsorted(lines, nulls[its])
            if not is_null[rows].all() or (np.diff(rows) <= 0).any():
                return None
            stated[name] += len(rows)
            nulls = nulls[~its]
    return None if len(nulls) else stated


def _key_ends(block: bytes, data: Bytes, inside: Iterable[Bytes]) -> Any:
    """Where the keys of nulls end; none if that is not sure.

    A value that begins with an n is a null: Polars has read the block as JSON.
    """
    style = _NULL.search(block)
    if style is None or any(style[0] in each.tobytes() for each in inside):
        return np.zeros(0, np.int64)
    return places_of(data, style[0])


def _has_key(words: Any, ends: Any, key: bytes) -> Any:
    """At which of the places that key, with its quotes, ends.

    Args:
        words: the eight bytes from each place of the block on, as a number. There are as many
            from each byte of a key on, since a null and a line's end follow it.
        ends: the places.
        key: that one.
    """
    starts = ends + 1 - len(key)
    its = starts >= 0
    for at in range(0, len(key), _WORD):
        piece = key[at : at + _WORD]
        mask = np.uint64(2 ** (8 * len(piece)) - 1)
        places = starts[its] + at
        its[its] = words[places] & mask == int.from_bytes(piece, "little")
    return its
