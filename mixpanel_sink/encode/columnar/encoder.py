"""The columnar encoder: Arrow tables to the JSON texts of events.

Polars writes the JSON; no Python object is made per event. Rows that it is not sure of
(a null id, an impossible time, text that is not UTF-8, ...) are handed back by number:
the record encoder then says what is wrong with each, or encodes it after all. So a rule
is spelled out once, there, and the checks here only have to be cautious.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Set
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mixpanel_sink.api.limits import (
    MAX_NESTED_BYTES,
    OLD_RETENTION_MS,
    RETENTION_MS,
    Limits,
    now_ms,
)
from mixpanel_sink.batch.keys import Keys
from mixpanel_sink.batch.origin import FileKey
from mixpanel_sink.encode.columnar.arrow_types import Unsupported, fits
from mixpanel_sink.encode.columnar.expressions import Piece, content_hash, line, quoted
from mixpanel_sink.encode.columnar.plan import Plan
from mixpanel_sink.encode.columnar.texts import LEAD, Texts
from mixpanel_sink.encode.event_json import EventCounts
from mixpanel_sink.encode.keys import keys_of
from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.run_mark import RunMark

_FILE = "i:file"
_TEXT = "text"
"""The column of the JSON lines."""
_FEW_ROWS = 256
"""Slices with something odd are halved down to this, then go to the record encoder."""


@dataclasses.dataclass(frozen=True)
class EncodedTable(EventCounts):
    """Events of a table, or of a part of it.

    Attributes:
        texts: their JSON.
        rows: their rows in the table, ascending; as many as there are events.
        leftover: rows that the record encoder must look at.
        keys: of the events, by which they are compared with others.
    """

    texts: Texts
    rows: np.ndarray[Any, np.dtype[np.int64]]
    leftover: np.ndarray[Any, np.dtype[np.int64]]
    keys: Keys | None = None


class ColumnarEncoder:
    """Encodes tables by a mapping; the same events as `MappedEventEncoder` makes.

    Args:
        mapping: what becomes what.
        limits: sizes.
        token: project token that every event carries, or None.
        clock: milliseconds since 1970.
        mark: what every event of this run carries, or None.
    """

    def __init__(
        self,
        mapping: EventMapping,
        limits: Limits,
        token: str | None = None,
        clock: Callable[[], int] = now_ms,
        mark: RunMark | None = None,
    ) -> None:
        self.mapping = mapping
        self._mark = mark
        self._salt = mapping.salt
        self._limits = limits
        self._token = token
        self._clock = clock
        self._plans: dict[bytes, Plan | None] = {}

    def encode(
        self,
        table: pa.Table,
        file_key: FileKey = None,
        first_row: int | np.ndarray[Any, np.dtype[np.int64]] = 0,
    ) -> Iterator[EncodedTable]:
        """Encodes a slice, usually in one piece, in several where some rows are odd.

        Args:
            table: tens of thousands of rows at most: all of its JSON is in memory at once.
            file_key: for position ids, or one for each row; None if unknown.
            first_row: of the table in its file; an array if its rows are not neighbours there.
        """
        plan = self._plan(table.schema)
        if plan is None or (plan.needs_position and file_key is None):
            yield _only_leftover(np.arange(len(table)))
            return
        yield from self._pieces(plan, table, 0, file_key, first_row)

    def by_value(self, schema: pa.Schema) -> list[str]:
        """The columns whose values become JSON one by one, which costs more."""
        plan = self._plan(schema)
        return [] if plan is None else plan.inputs.by_value

    def _pieces(
        self, plan: Plan, table: pa.Table, start: int, file_key: FileKey, first_row: Any
    ) -> Iterator[EncodedTable]:
        if not len(table):
            return
        chosen = plan.inputs.choose(table)
        if not all(fits(column) for column in chosen.columns):
            if len(table) <= _FEW_ROWS:
                yield _only_leftover(np.arange(start, start + len(table)))
                return
            half = len(table) // 2
            yield from self._pieces(plan, table.slice(0, half), start, file_key, first_row)
            yield from self._pieces(plan, table.slice(half), start + half, file_key, first_row)
            return
        try:
            yield self._encode(plan, chosen, start, file_key, first_row)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException):
            yield _only_leftover(np.arange(start, start + len(table)))

    def _encode(
        self, plan: Plan, table: pa.Table, start: int, file_key: FileKey, first_row: Any
    ) -> EncodedTable:
        now = self._clock()
        frame, plain = plan.read(table, now, self._limits.max_age_seconds)
        rows = np.arange(start, start + len(frame), dtype=np.int64)
        position = file_key if plan.uses_position(file_key) else None
        if position is not None:
            if isinstance(first_row, np.ndarray):
                number: Any = pl.Series(first_row[start : start + len(frame)])
            else:
                number = pl.int_range(pl.len()) + (first_row + start)
            frame = frame.with_columns(number.alias("i:insert_id"))
            if not isinstance(position, str):
                frame = frame.with_columns(pl.Series(_FILE, position[start : start + len(frame)]))
        leftover = rows[:0]
        ok = frame.get_column("ok")
        if not ok.all():
            keep = ok.to_numpy()
            rows, leftover = rows[keep], rows[~keep]
            frame = frame.filter(ok)
        frame = self._with_text(plan, frame, plain, position)
        small = self._small(plan, frame)
        if not small.all():
            keep = small.to_numpy()
            leftover = np.sort(np.concatenate([leftover, rows[~keep]]))
            rows, frame = rows[keep], frame.filter(small)
        return EncodedTable(
            Texts.of(frame.get_column(_TEXT)),
            rows,
            leftover,
            long_strings=plan.count_long(frame),
            reserved_properties=plan.count_reserved(frame),
            rounded_decimals=plan.rounded(frame),
            old_events=plan.count_before(frame, now - RETENTION_MS),
            old_events_5_years=plan.count_before(frame, now - OLD_RETENTION_MS),
            keys=keys_of(
                frame.get_column("i:insert_id") if position is None else None,
                frame.get_column("i:distinct_id"),
                frame.get_column("i:time"),
            ),
        )

    def _small(self, plan: Plan, frame: pl.DataFrame) -> pl.Series:
        """Which events, lists and objects are surely not too large."""
        sizes = frame.get_column(_TEXT).str.len_bytes() - len(LEAD)
        small = sizes <= self._limits.event_bytes
        # Only large events can have large lists or objects.
        suspects = (sizes > MAX_NESTED_BYTES).arg_true()
        nested = plan.nested_bytes(frame[suspects]) if len(suspects) else None
        if nested is not None:
            small = small.scatter(suspects.filter(nested > MAX_NESTED_BYTES), False)
        return small

    def _with_text(
        self, plan: Plan, frame: pl.DataFrame, plain: Set[str], position: FileKey
    ) -> pl.DataFrame:
        """The frame with the JSON lines, and with the ids where they come from the content."""
        if not len(frame):
            none = [pl.lit("").alias(name) for name in (_TEXT, "i:insert_id") if name not in frame]
            return frame.with_columns(none)
        pieces: list[Piece]
        id_key = f'{"" if self._mark is None else self._mark.json},"$insert_id":"'
        end = '"}}' if self._token is None else f'","token":{quoted(self._token)}}}}}'
        event = plan.event(frame, plain)
        if plan.content_id and position is None:
            bare = frame.select(line([*event, "}}"], skip_nulls=True).alias(_TEXT))
            hashed = bare
            if plan.rounded(frame):
                hashed = plan.exact(frame).select(
                    line([*event, "}}"], skip_nulls=True).alias(_TEXT)
                )
            digest = self._salted(content_hash(pl.col(_TEXT))).alias("i:insert_id")
            bare = bare.with_columns(hashed.select(digest).to_series())
            start = pl.col(_TEXT).str.strip_suffix("}}")
            pieces = [LEAD, start, id_key, pl.col("i:insert_id"), end]
            return frame.with_columns(
                bare.select(line(pieces).alias(_TEXT), "i:insert_id").get_columns()
            )
        insert_id = pl.col("i:insert_id").cast(pl.String)
        if position is None:
            frame = frame.with_columns(self._salted(insert_id).alias("i:insert_id"))
            pieces = [LEAD, *event, id_key, pl.col("i:insert_id"), end]
        elif not isinstance(position, str):
            place = self._salted(pl.concat_str([pl.col(_FILE), pl.lit("-"), insert_id]))
            pieces = [LEAD, *event, id_key, place, end]
        elif self._salt:
            pieces = [LEAD, *event, id_key, self._salted(insert_id, f"{position}-"), end]
        else:
            pieces = [LEAD, *event, f"{id_key}{position}-", insert_id, end]
        return frame.with_columns(line(pieces, skip_nulls=True).alias(_TEXT))

    def _salted(self, insert_id: pl.Expr, prefix: str = "") -> pl.Expr:
        """As `insert_ids.salted_id` of the prefix and the id; without a salt, the id itself."""
        if not self._salt:
            return insert_id
        return content_hash(pl.concat_str([pl.lit(f"{self._salt}\0{prefix}"), insert_id]))

    def _plan(self, schema: pa.Schema) -> Plan | None:
        schema = schema.remove_metadata()  # it may tell the row group, and differ each time
        key = schema.serialize().to_pybytes()  # not every extension type has a hash
        if key not in self._plans:
            try:
                plan: Plan | None = Plan(
                    self.mapping, schema, 1 + (self._token is not None), self._mark
                )
            except (Unsupported, MappingError):
                plan = None
            if len(self._plans) > 1000:
                self._plans.clear()
            self._plans[key] = plan
        return self._plans[key]


def _only_leftover(rows: np.ndarray[Any, np.dtype[np.int64]]) -> EncodedTable:
    return EncodedTable(Texts(np.zeros(1, np.int64)), rows[:0], rows)
