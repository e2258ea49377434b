"""`Since`: of files that were imported, the rows that came since, by a column that grows."""

from __future__ import annotations

import dataclasses
import datetime
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.checkpoint.since import Mark, Seen
from mixpanel_sink.encode.arrow_rows import take_rows
from mixpanel_sink.encode.columnar.times import of_texts
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.source import Element
from mixpanel_sink.read.watermark import known_kind
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.names import is_text

_PER_SECOND = {"TIMESTAMP": 10**6, "DATETIME": 10**6, "TEXT": 1000, "DATE": 1 / 86_400}
"""Units of a kind's values. Kinds are those of `watermark`, and of text: "TEXT" is times as text,
"DIGITS" is numbers as text. "INT64" and "DIGITS" are in units of their own. "NONE" is that
of a file without rows."""
_MOST = 2**61
"""The largest overlap: a few times as much still fits into 64 bits."""


@dataclasses.dataclass(frozen=True)
class Since:
    """Which rows of which files are wanted. Picklable.

    Attributes:
        time: the column, and how text in it is read.
        kind: of its values.
        step: the overlap in their units.
        now: in their units; None for numbers.
        marks: by path, of files of which only what came since is wanted; of others all rows are.
    """

    time: TimeColumn
    kind: str
    step: int
    now: int | None
    marks: Mapping[str, Mark] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, time_column: TimeColumn, sample: pa.Table, overlap: float) -> Since:
        """Made for a time column of files, whose type their first rows show.

        Args:
            time_column: names it, and says how text in it is read.
            sample: the file's first rows.
            overlap: seconds, or units of a column of numbers.

        Raises:
            SettingError: if the column is not there, or has no order that is of use.
        """
        name = time_column.name
        if name not in sample.schema.names:
            raise SettingError(f"--since {name}: the files have no such column.")
        if not time_column.patterns():
            time_column = TimeColumn(name, unit="iso8601")
        kind = _kind(sample.column(name), time_column)
        per_second = _PER_SECOND.get(kind)
        step = min(_MOST, max(1, math.ceil(overlap * (per_second or 1))))
        now = None if per_second is None else math.floor(time.time() * per_second)
        return cls(time_column, kind, step, now)

    def wanted(self, element: Element) -> tuple[Element | None, Seen | None, int]:
        """What is wanted of an element, what was seen in it, and how many of its rows were imported
        before."""
        place = _place(element)
        if place is None:
            return element, None, 0
        values = self._numbers(element)
        given = np.asarray(values.is_valid())
        numbers = np.asarray(values.fill_null(0))
        mark = self.marks.get(place.file)
        cutoff = None if mark is None else mark.cutoff
        seen = None
        if given.any():
            seen = Seen.of(place.file, self.kind, numbers[given], self.step, cutoff, self.now)
        if cutoff is None:
            return element, seen, 0
        rows = np.flatnonzero(~given | (numbers >= cutoff))
        return _rows(element, rows), seen, len(numbers) - len(rows)

    def elements(self, elements: Iterable[Element]) -> Iterator[Element]:
        """The elements of which something is wanted."""
        for element in elements:
            wanted, _, _ = self.wanted(element)
            if wanted is not None:
                yield wanted

    def _numbers(self, element: Any) -> Any:
        """The column's values as integers; null where there is none, or one of another kind."""
        name = self.time.name
        if isinstance(element, RecordBlock):
            return _numbers(_of_values([r.get(name) for r in element.records], self.kind), self)
        at = element.schema.get_all_field_indices(name)
        if len(at) != 1:
            return pa.nulls(len(element), pa.int64())
        return _numbers(element.column(at[0]), self)


def _kind(column: pa.ChunkedArray, time_column: TimeColumn) -> str:
    type = column.type
    if pa.types.is_dictionary(type):
        type = type.value_type
    if (known := known_kind(type)) is not None:
        return known
    kinds: Sequence[str] = ("DIGITS", "TEXT") if time_column.format is None else ("TEXT",)
    for kind in kinds if _holds_text(type) else ():
        read = _numbers(column, Since(time_column, kind, 1, None))
        if read.null_count < len(read):
            return kind
    if not len(column) and (_holds_text(type) or pa.types.is_null(type)):
        return "NONE"
    raise SettingError(
        f"--since {time_column.name}: the column is of the type {type}; it must hold timestamps, "
        "dates, integers, or text that is one of these, which grow when a row is added or changed."
    )


def _numbers(column: Any, since: Since) -> Any:
    type, kind = column.type, since.kind
    if pa.types.is_dictionary(type):
        return _numbers(column.cast(type.value_type), since)
    if pa.types.is_timestamp(type) and kind == ("DATETIME" if type.tz is None else "TIMESTAMP"):
        return column.cast(pa.timestamp("us", type.tz), safe=False).cast(pa.int64())
    if pa.types.is_date(type) and kind == "DATE":
        return column.cast(pa.date32(), safe=False).cast(pa.int32()).cast(pa.int64())
    if pa.types.is_integer(type) and kind == "INT64":
        fits = pc.less_equal(column, 2**63 - 1) if type == pa.uint64() else None
        return (column if fits is None else pc.if_else(fits, column, None)).cast(pa.int64())
    if _holds_text(type) and kind in ("DIGITS", "TEXT"):
        texts = pl.Series("text", column)
        if kind == "DIGITS":
            return texts.cast(pl.Int64, strict=False).to_arrow()
        expression = of_texts(pl.col("text"), since.time).cast(pl.Int64, strict=False)
        return texts.to_frame().select(expression.alias("ms"))["ms"].to_arrow()
    return pa.nulls(len(column), pa.int64())


def _holds_text(type: pa.DataType) -> bool:
    return bool(pa.types.is_string(type) or pa.types.is_large_string(type))


_OF_KIND: Mapping[str, tuple[type, pa.DataType]] = {
    "INT64": (int, pa.int64()),
    "DATE": (datetime.date, pa.date32()),
    "DATETIME": (datetime.datetime, pa.timestamp("us")),
    "TIMESTAMP": (datetime.datetime, pa.timestamp("us", "UTC")),
}
"""Values of records, and their type; of other kinds they are text."""


def _of_values(values: list[Any], kind: str) -> Any:
    """Values of records as Arrow has them; null in place of one of another kind."""
    wanted, made = _OF_KIND.get(kind, (str, pa.string()))
    fit = [value if type(value) is wanted and _has_place(value, kind) else None for value in values]
    return pa.array(fit, made)


def _has_place(value: Any, kind: str) -> bool:
    if isinstance(value, str):
        return is_text(value)  # else Arrow cannot hold it
    if isinstance(value, datetime.datetime):
        return (value.tzinfo is None) == (kind == "DATETIME")
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _place(element: Any) -> TableOrigin | None:
    if isinstance(element, pa.Table):
        return TableOrigin.of(element)
    return element.origin if isinstance(element, RecordBlock) else None


def _rows(element: Any, rows: Any) -> Element | None:
    """Some rows of an element, with their places in the file."""
    if not len(rows):
        return None
    if isinstance(element, RecordBlock):
        held = element.offsets
        offsets = [row if held is None else held[row] for row in rows.tolist()]
        return RecordBlock([element.records[row] for row in rows], element.origin, offsets)
    if len(rows) == len(element):
        return element
    place = TableOrigin.of(element)
    assert place is not None
    first = int(rows[0])
    if len(rows) == int(rows[-1]) - first + 1:  # as where rows are added at the end
        return place.at(first).attach(element.slice(first, len(rows)))
    return place.taking(rows.tolist()).attach(take_rows(element, rows))
