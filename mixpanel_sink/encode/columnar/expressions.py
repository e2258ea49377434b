"""Polars expressions for texts, JSON and hashes."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence, Set
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.api.insert_ids import CONTENT_HEX
from mixpanel_sink.encode.hashing import blake3_hex

Piece = str | pl.Expr
"""A piece of a line: the same text in every row, or a column of texts."""


def line(pieces: Sequence[Piece], skip_nulls: bool = False) -> pl.Expr:
    """The pieces, one after the other, as one text a row; null where a piece is, unless nulls are
    to be skipped."""
    joined = itertools.groupby(pieces, lambda piece: isinstance(piece, str))
    exprs: list[Any] = []
    for same, group in joined:
        exprs += [_literal("".join(group))] if same else group  # type: ignore[arg-type]
    return pl.concat_str(exprs, ignore_nulls=skip_nulls)


@functools.lru_cache(10_000)
def _literal(text: str) -> pl.Expr:
    """To make one takes as long as to write it for a hundred rows."""
    return pl.lit(text)


def written(column: str, value: pl.Expr, kind: pl.DataType, plain: Set[str]) -> list[Piece] | None:
    """Values of a column as pieces of JSON; None if only Polars' JSON writer can write them."""
    if kind == pl.String:
        return ['"', value, '"'] if column in plain else None
    if kind.is_integer() or kind == pl.Float64:
        return [value.cast(pl.String)]
    if kind == pl.Boolean:
        return [pl.when(value).then(pl.lit("true")).when(~value).then(pl.lit("false"))]
    return None


def needs_escapes(texts: pa.ChunkedArray) -> bool:
    """Whether some text may hold what JSON escapes: a quote, a backslash, a control character.

    Looks at the bytes of all texts at once, which costs next to nothing.
    """
    kind = texts.type
    if not (types.is_string(kind) or types.is_large_string(kind)):
        return True
    width = np.int32 if types.is_string(kind) else np.int64
    for chunk in texts.chunks:
        _, offsets, data = chunk.buffers()
        if data is None or not len(chunk):
            continue
        ends = np.frombuffer(offsets, dtype=width)
        first, last = ends[chunk.offset], ends[chunk.offset + len(chunk)]
        text = np.frombuffer(data, dtype=np.uint8)[first:last]
        if len(text) and (text.min() < 0x20 or (text == 0x22).any() or (text == 0x5C).any()):
            return True
    return False


def inside(exprs: Sequence[pl.Expr]) -> pl.Expr:
    """An object's JSON without its braces."""
    text = pl.struct(list(exprs)).struct.json_encode()
    return text.str.strip_prefix("{").str.strip_suffix("}")


def json_of(expr: pl.Expr) -> pl.Expr:
    """Values as JSON; nulls too."""
    return inside([expr.alias("")]).str.strip_prefix('"":')


def content_hash(expr: pl.Expr) -> pl.Expr:
    """The hash of texts that `insert_ids.content_id` makes."""
    return blake3_hex(expr, CONTENT_HEX)


def quoted(text: str) -> str:
    """A text as JSON."""
    return orjson.dumps(text).decode()
