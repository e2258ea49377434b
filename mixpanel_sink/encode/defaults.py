"""Defaults of a `Shape`: a value in place of nulls."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.encode.columnar.arrow_types import plain_text
from mixpanel_sink.encode.json_columns import JsonType, texts_column
from mixpanel_sink.encode.told import json_texts


def filled(column: Any, name: str, value: Any, told: bool) -> Any:
    """A column with a value in place of its nulls; the other values keep their types.

    Args:
        column: any.
        name: for messages.
        value: the default.
        told: whether its values tell the column's type.
    """
    column = plain_text(column)
    if _takes(column.type, value, told):
        with contextlib.suppress(pa.ArrowInvalid):  # such as 300 for 8 bits
            return pc.fill_null(column, pa.scalar(value, column.type))
    text = orjson.dumps(value).decode()
    texts = [text if each is None else each for each in json_texts(column, name)]
    return texts_column(JsonType(), texts)


def _takes(kind: pa.DataType, value: Any, told: bool) -> bool:
    """Whether a column of this type can hold a default as it is. Where the values tell the type, a
    whole number does not become a fraction because other records have some."""
    if isinstance(value, bool):
        return bool(pa.types.is_boolean(kind))
    if isinstance(value, str):
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if isinstance(value, int):
        return bool(pa.types.is_integer(kind) or (pa.types.is_floating(kind) and not told))
    return isinstance(value, float) and bool(pa.types.is_floating(kind))
