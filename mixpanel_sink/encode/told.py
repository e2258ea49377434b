"""Columns whose type their values tell: of dicts, and of keys of JSON and objects."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Hashable, Sequence
from typing import Any

import pyarrow as pa

from mixpanel_sink.encode.apart import Apart
from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.encode.json_columns import JsonType, json_column, texts_of
from mixpanel_sink.encode.tables import plain_column

_ARROW_ONLY = {datetime.datetime, datetime.date, datetime.timedelta, bytes}
"""Values that are something else as JSON."""


def told_column(name: str, values: Sequence[Any]) -> pa.ChunkedArray:
    """Values as a column that keeps each as it is: of Arrow's type if all have one, else of JSON.

    Raises:
        Apart: if it would make JSON of values that are more than that.
    """
    kinds = set(map(type, values))
    # Of decimals only all together would tell how many digits the type has.
    plain = None if decimal.Decimal in kinds else plain_column(values)
    if plain is not None:
        return pa.chunked_array([plain])
    if not kinds.isdisjoint(_ARROW_ONLY):
        codes: dict[Hashable, int] = {}
        of_row = [None if v is None else codes.setdefault(_kind(v), len(codes)) for v in values]
        if len(codes) > 1:
            raise Apart([code or 0 for code in of_row])
    return pa.chunked_array([json_column(values, name, False)])


def _kind(value: Any) -> Any:
    kind = type(value)
    if kind not in _ARROW_ONLY or plain_column([value]) is None:
        return None
    return (kind, value.utcoffset() is None) if kind is datetime.datetime else kind


def json_texts(column: Any, name: str) -> list[str | None]:
    """The values of any column as JSON; None for nulls."""
    if not isinstance(column.type, JsonType):
        column = pa.chunked_array([json_column(values_of(column), name, False)])
    return texts_of(column)


def is_of_json(*kinds: pa.DataType) -> bool:
    """Whether `json_column` keeps values as they are, of types that values tell."""
    return not any(pa.types.is_temporal(kind) or pa.types.is_binary(kind) for kind in kinds)
