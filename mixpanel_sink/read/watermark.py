"""The watermark of a table: the largest value of a column that was read, and the rows since."""

from __future__ import annotations

import datetime
import math
import time
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.errors import SettingError

_EPOCH = datetime.datetime(1970, 1, 1)
_MICROS = 1_000_000


class Watermark(NamedTuple):
    """A value of a column.

    Attributes:
        kind: "TIMESTAMP", "DATETIME", "DATE" or "INT64", as BigQuery has them.
        number: microseconds since 1970, days since 1970, or the number itself.
    """

    kind: str
    number: int

    @property
    def text(self) -> str:
        """The value as text, for people and for SQL literals."""
        if self.kind == "INT64":
            return str(self.number)
        if self.kind == "DATE":
            return f"{_EPOCH + datetime.timedelta(days=self.number):%Y-%m-%d}"
        moment = _EPOCH + datetime.timedelta(microseconds=self.number)
        zone = "+00:00" if self.kind == "TIMESTAMP" else ""
        return moment.isoformat(" ", "microseconds") + zone


def known_kind(type: pa.DataType) -> str | None:
    """The kind of values whose type has an order that is of use; None for other types."""
    if pa.types.is_timestamp(type):
        return "DATETIME" if type.tz is None else "TIMESTAMP"
    if pa.types.is_date(type):
        return "DATE"
    return "INT64" if pa.types.is_integer(type) else None


def kind_of(type: pa.DataType, column: str) -> str:
    """The kind of a column's values.

    Raises:
        SettingError: if they have no order that is of use.
    """
    if (kind := known_kind(type)) is not None:
        return kind
    raise SettingError(
        f"--since {column}: the column is of the type {type}; it must be a timestamp, a datetime, "
        "a date or an integer, which grows when a row is added or changed."
    )


def largest(table: pa.Table, column: str) -> Watermark | None:
    """The largest value of a table's column, but no time beyond now: one row of next year would
    leave out all that come until then. None if all are null."""
    values = table[column]
    kind = kind_of(values.type, column)
    units = {"DATE": pa.date32(), "INT64": values.type}
    if kind in ("TIMESTAMP", "DATETIME"):
        units[kind] = pa.timestamp("us", values.type.tz)
    found = pc.max(values.cast(units[kind], safe=False))
    if not found.is_valid:
        return None
    if kind == "INT64":
        return Watermark(kind, int(found.as_py()))
    now = time.time() // 86_400 if kind == "DATE" else time.time() * _MICROS
    return Watermark(kind, min(int(found.value), int(now)))


def condition(column: str, last: Watermark, overlap: float) -> str:
    """The rows to read after a run, in SQL: from the watermark on, less the overlap (in seconds, or
    in units of a column of numbers). Rows without a value are always read."""
    if last.kind == "INT64":
        number = last.number - math.ceil(overlap)
    elif last.kind == "DATE":
        number = last.number - math.ceil(overlap / 86_400)
    else:
        number = last.number - math.ceil(overlap * _MICROS)
    text = Watermark(last.kind, number).text
    literal = text if last.kind == "INT64" else f"{last.kind} '{text}'"
    return f"(`{column}` >= {literal} OR `{column}` IS NULL)"
