"""What to do with the tables of one schema."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import polars as pl
import pyarrow as pa

from mixpanel_sink.api.limits import (
    IGNORE,
    LONG_STRING_BYTES,
    MAX_PROPERTIES,
    RESERVED_PROPERTIES,
)
from mixpanel_sink.api.numbers import json_bytes
from mixpanel_sink.api.values import to_json
from mixpanel_sink.batch.origin import FileKey
from mixpanel_sink.encode.columnar.arrow_types import Unsupported
from mixpanel_sink.encode.columnar.columns import Part, property_part
from mixpanel_sink.encode.columnar.expressions import Piece, json_of, quoted
from mixpanel_sink.encode.columnar.identity import identity_parts
from mixpanel_sink.encode.columnar.inputs import Inputs
from mixpanel_sink.encode.columnar.pieces import Nulls, Pieces
from mixpanel_sink.encode.columnar.times import time_of
from mixpanel_sink.encode.json_columns import SparseType
from mixpanel_sink.settings.columns import ColumnsId, Constant, ContentId, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.run_mark import RunMark

_EXACT = "x:"
"""Prefix of the frame's columns that keep all digits of the numbers in another column."""
_KNOWN_PIECES = 1000
"""Building expressions takes as long as writing a thousand events, so they are cached."""


class Plan:
    """A list of parts, and how they become events.

    Args:
        mapping: what becomes what.
        schema: of the tables.
        extra: properties that the sink writes behind the time, but for the mark.
        mark: what every event of this run carries, or None.

    Attributes:
        inputs: the table's columns that are needed.

    Raises:
        Unsupported: if only the record encoder can encode such tables.
        MappingError: if two columns would become one property.
    """

    def __init__(
        self, mapping: EventMapping, schema: pa.Schema, extra: int, mark: RunMark | None = None
    ) -> None:
        self._mapping = mapping
        properties = mapping.plan(tuple(schema.names))
        if mark is not None:
            extra += 1
            if mark.name in (*mapping.constants, *dict(properties)):
                raise Unsupported("a property of the mark's name")
        if any("\0" in name for name in [*mapping.constants, *mapping.rename.values()]):
            raise Unsupported("a name with a NUL")
        self.inputs = Inputs(mapping, schema)
        assert isinstance(mapping.time, TimeColumn)
        self._time = time_of(mapping.time, self.inputs)
        drop = mapping.non_finite == "drop"
        self._parts: list[Part] = [
            *(property_part(name, column, self.inputs, drop) for name, column in properties),
            *identity_parts(mapping, self.inputs),
            Part("i:time", self._time.milliseconds),
        ]
        self._exprs = [part.expr.alias(part.name) for part in self._parts]
        checks = [check for part in self._parts for check in part.checks]
        checks += self._ignore_check(dict(properties))
        checks += self._count_check([column for _, column in properties], extra)
        self._ok = pl.all_horizontal([check.fill_null(False) for check in checks])
        self._json = frozenset(part.name for part in self._parts if part.is_json)
        cut = [pl.col(part.name).str.len_bytes() for part in self._parts if part.cut]
        long = [(size > LONG_STRING_BYTES).sum() for size in cut]
        self._long = pl.sum_horizontal(long) if long else None
        self._rounds = [part.name for part in self._parts if part.rounds]
        self._nested = [part.name for part in self._parts if part.nested]
        self._sparse = frozenset(part.name for part in self._parts if part.sparse)
        self._members = {name: f"p:{name}" for name, _ in properties}
        self._constants = {
            name: json_bytes(to_json(value, name, drop)).decode()
            for name, value in mapping.constants.items()
        }
        self._long_constants = sum(
            isinstance(value, str) and len(value.encode()) > LONG_STRING_BYTES
            for value in mapping.constants.values()
        )
        self._pieces: dict[Any, list[Piece]] = {}

    def _ignore_check(self, properties: dict[str, str]) -> list[pl.Expr]:
        """Whether Mixpanel keeps the events; the record encoder refuses those that it does not."""
        if self._mapping.constants.get(IGNORE):
            raise Unsupported(IGNORE)
        if IGNORE not in properties:
            return []
        column = properties[IGNORE]
        values = self.inputs[column]
        if pa.types.is_boolean(self.inputs.type_of(column)):
            return [~values.fill_null(False)]
        return [values.is_null()]

    def _count_check(self, columns: list[str], extra: int) -> list[pl.Expr]:
        """Whether the events have no more properties than Mixpanel takes."""
        fixed = len(self._fixed()) + extra + len(self._mapping.constants)
        if len(columns) + fixed <= MAX_PROPERTIES:
            return []
        if not self._mapping.drop_nulls:
            raise Unsupported("too many properties")
        present = [self.inputs[column].is_not_null() for column in columns]
        return [pl.sum_horizontal(present) <= MAX_PROPERTIES - fixed]

    @property
    def needs_position(self) -> bool:
        """Whether ids can come from file and row only."""
        return not (self.content_id or isinstance(self._mapping.insert_id, ColumnsId))

    @property
    def content_id(self) -> bool:
        """Whether ids come from the content, where file and row are not known."""
        return self._mapping.insert_id is None or isinstance(self._mapping.insert_id, ContentId)

    def uses_position(self, file_key: FileKey) -> bool:
        """Whether ids come from file and row."""
        return self.needs_position or (self._mapping.insert_id is None and file_key is not None)

    def read(
        self, table: pa.Table, now: int, max_age: float | None = None
    ) -> tuple[pl.DataFrame, set[str]]:
        """Computes the parts, and finds the rows that can surely be sent.

        Args:
            table: what `inputs.choose` gave.
            now: milliseconds since 1970.
            max_age: seconds before now of the oldest event, if there is such a limit.

        Returns:
            A frame of the parts and of `ok`, and its columns whose text needs no escapes.
        """
        frame, columns = self.inputs.read(table)
        ok = self._ok & self._time.in_range(now, max_age)
        parts: Any = frame.lazy().select(*self._exprs, ok.alias("ok")).collect()
        for name in self._rounds:
            both = parts.get_column(name).struct
            exact = both.field("exact").alias(f"{_EXACT}{name}")
            parts = parts.with_columns(both.field("text").alias(name), exact)
        sources = frozenset().union(*(part.text.sources for part in self._parts))
        special = self.inputs.special(columns, sources)
        types = dict(zip(parts.columns, parts.dtypes, strict=True))
        plain = {
            part.name
            for part in self._parts
            if types[part.name] == pl.String
            and not part.text.escapes
            and special.isdisjoint(part.text.sources)
        }
        return parts, plain

    def count_long(self, frame: pl.DataFrame) -> int:
        """The number of text values that Mixpanel will cut."""
        count = self._long_constants * len(frame)
        if self._long is None or not len(frame):
            return count
        return count + int(frame.select(self._long).item() or 0)

    def count_before(self, frame: pl.DataFrame, moment: int) -> int:
        """Events before a moment, in milliseconds since 1970."""
        return int((frame.get_column("i:time") < moment).sum() or 0)

    def count_reserved(self, frame: pl.DataFrame) -> int:
        """Values of properties that Mixpanel has a meaning of its own for."""
        constants = len(RESERVED_PROPERTIES & self._constants.keys())
        columns = [self._members[name] for name in RESERVED_PROPERTIES & self._members.keys()]
        nulls = sum(frame.get_column(column).null_count() for column in columns)
        for column in self._sparse.intersection(columns):
            nulls += int((frame.get_column(column) == SparseType.NULL).sum() or 0)
        return (constants + len(columns)) * len(frame) - nulls

    def rounded(self, frame: pl.DataFrame) -> int:
        """How many numbers of a frame are sent with fewer digits than they have."""
        return sum(frame.get_column(f"{_EXACT}{name}").count() for name in self._rounds)

    def exact(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with all digits in place of the numbers that are sent."""
        exact = {name: pl.coalesce(f"{_EXACT}{name}", name) for name in self._rounds}
        return frame.with_columns(**exact)

    def nested_bytes(self, frame: pl.DataFrame) -> pl.Series | None:
        """At least as many bytes of JSON as each event's largest list or object has, if any."""
        if not self._nested:
            return None
        texts = [
            pl.col(name) if name in self._json else json_of(pl.col(name)) for name in self._nested
        ]
        sizes = [text.str.len_bytes().cast(pl.Int64) for text in texts]
        return frame.select(pl.max_horizontal(sizes)).to_series()

    def event(self, frame: pl.DataFrame, plain: Set[str]) -> list[Piece]:
        """The pieces of an event's JSON, up to its last property but `$insert_id` and token.

        Args:
            frame: what `read` gave.
            plain: its columns of text that need no escapes.
        """
        nulls = tuple(Nulls.of(count, len(frame)) for count in frame.null_count().row(0))
        key = (nulls, frozenset(plain))
        if key not in self._pieces:
            if len(self._pieces) > _KNOWN_PIECES:
                self._pieces.clear()
            of_column = dict(zip(frame.schema, nulls, strict=True))
            pieces = Pieces(frame.schema, of_column, plain, self._json)
            self._pieces[key] = self._event_pieces(pieces)
        return self._pieces[key]

    def _fixed(self) -> list[str]:
        """The sink's own properties that come before `$insert_id`, in their order."""
        mapping = self._mapping
        names = ["$device_id"] * (mapping.device_id is not None)
        names += ["$user_id"] * (mapping.user_id is not None)
        return names + ["distinct_id"] + ["ip"] * (mapping.ip is not None) + ["time"]

    def _event_pieces(self, pieces: Pieces) -> list[Piece]:
        pieces.fixed("{")
        if isinstance(self._mapping.event, Constant):
            pieces.fixed(f'"event":{quoted(self._mapping.event.value)},')
        else:
            pieces.member("event", "i:event", drop_nulls=True)
        pieces.fixed('"properties":{')
        for name in sorted([*self._members, *self._constants]):
            if name in self._constants:
                pieces.fixed(f"{quoted(name)}:{self._constants[name]},")
            else:
                part = self._members[name]
                pieces.member(name, part, self._mapping.drop_nulls or part in self._sparse)
        for name in self._fixed()[:-1]:
            if name == "ip" and isinstance(self._mapping.ip, Constant):
                pieces.fixed(f'"ip":{quoted(self._mapping.ip.value)},')
            else:
                pieces.member(name, f"i:{name}", drop_nulls=True)
        return pieces.end('"time":', pl.col("i:time").cast(pl.String))
