"""The columnar encoder: Arrow tables to the JSON texts of events, in one buffer.

Polars writes the JSON; no Python object is made per event. Rows that it is not sure of
(a null id, an impossible time, text that is no UTF-8, ...) are handed back by number:
the record encoder then says what is wrong with each, or encodes it after all. So a rule
is spelled out once, there, and the checks here only have to be cautious.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence, Set
from typing import Any

import numpy as np
import orjson
import polars as pl
import polars_hash as plh
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from mixpanel_sink.api.insert_ids import CONTENT_HEX
from mixpanel_sink.api.limits import (
    INSERT_ID,
    LONG_STRING_BYTES,
    MAX_DEPTH,
    MAX_FUTURE_MS,
    MAX_ID_BYTES,
    MAX_LIST_ITEMS,
    MAX_NESTED_KEYS,
    MAX_PROPERTIES,
    MIN_TIME_MS,
    RESERVED_DISTINCT_IDS,
    Limits,
    now_ms,
)
from mixpanel_sink.api.values import to_json
from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.encode.json_columns import JsonType, json_column
from mixpanel_sink.encode.times import PER_SECOND
from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.columns import Column, ColumnsId, Constant, ContentId, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping

_LEAD = "\n,"
"""Stands before every event in the buffer; see chunk.py."""
_FEW_ROWS = 256
"""Slices with something odd are halved down to this, then go to the record encoder."""
_ISO_8601 = (
    r"^(?<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[T ](?<clock>(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9])"
    r"(?:[.](?<ms>[0-9]{3})(?:[0-9]{3})?)?"
    r"(?<zone>Z|(?<sign>[+-])(?<hours>[01][0-9]|2[0-3]):(?<minutes>[0-5][0-9]))?)?$"
)
"""What every version of Python reads."""
_RESERVED_LENGTHS = sorted({len(word) for word in RESERVED_DISTINCT_IDS})
_MIN_DAY, _MAX_DAY = -719_162, 2_932_896
"""Days since 1970 of the years 1 and 9999, which is what Python's dates hold."""


@dataclasses.dataclass(frozen=True)
class EncodedTable:
    """Events of a table, or of a part of it.

    Attributes:
        buffer: their JSON texts, each led by "\\n,".
        offsets: where each begins and, at last, where all end: one more than there are.
        rows: their rows in the table, ascending; as many as there are events.
        leftover: rows that the record encoder must look at.
        long_strings: values that Mixpanel will cut.
    """

    buffer: memoryview
    offsets: np.ndarray[Any, np.dtype[np.int64]]
    rows: np.ndarray[Any, np.dtype[np.int64]]
    leftover: np.ndarray[Any, np.dtype[np.int64]]
    long_strings: int = 0


class Unsupported(Exception):
    """The columnar encoder does not do this; the record encoder does."""


class ColumnarEncoder:
    """Encodes tables by a mapping; the same events as `RecordEncoder` makes.

    Args:
        mapping: what becomes what.
        limits: sizes.
        token: project token that every event carries, or None.
        clock: milliseconds since 1970.
    """

    def __init__(
        self,
        mapping: EventMapping,
        limits: Limits,
        token: str | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.mapping = mapping
        self._limits = limits
        self._token = token
        self._clock = clock
        self._plans: dict[bytes, _Plan | None] = {}

    def encode(
        self,
        table: pa.Table,
        file_key: str | None = None,
        first_row: int | np.ndarray[Any, np.dtype[np.int64]] = 0,
    ) -> Iterator[EncodedTable]:
        """Encodes a slice, usually in one piece, in several where some rows are odd.

        Args:
            table: tens of thousands of rows at most: all of its JSON is in memory at once.
            file_key: for position ids; None if unknown.
            first_row: of the table in its file; an array if its rows are no neighbours there.
        """
        plan = self._plan(table.schema)
        if plan is None or (plan.needs_position and file_key is None):
            yield _only_leftover(np.arange(len(table)))
            return
        yield from self._pieces(plan, table, 0, file_key, first_row)

    def by_value(self, schema: pa.Schema) -> list[str]:
        """The columns whose values are made JSON one by one, which costs more."""
        plan = self._plan(schema)
        return [] if plan is None else plan.as_json

    def _pieces(
        self, plan: _Plan, table: pa.Table, start: int, file_key: str | None, first_row: Any
    ) -> Iterator[EncodedTable]:
        if not len(table):
            return
        chosen = plan.choose(table)
        if not all(_fits(column) for column in chosen.columns):
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
        self, plan: _Plan, table: pa.Table, start: int, file_key: str | None, first_row: Any
    ) -> EncodedTable:
        frame, plain = plan.read(table, self._clock(), self._limits.max_age_seconds)
        rows = np.arange(start, start + len(frame), dtype=np.int64)
        position = file_key if plan.uses_position(file_key) else None
        if position is not None:
            if isinstance(first_row, np.ndarray):
                number: Any = pl.Series(first_row[start : start + len(frame)])
            else:
                number = pl.int_range(pl.len()) + (first_row + start)
            frame = frame.with_columns(number.alias("i:insert_id"))
        leftover = rows[:0]
        ok = frame.get_column("ok")
        if not ok.all():
            keep = ok.to_numpy()
            rows, leftover = rows[keep], rows[~keep]
            frame = frame.filter(ok)
        text = self._text(plan, frame, plain, position)
        sizes = text.str.len_bytes() - len(_LEAD)
        if len(text) and sizes.max() > self._limits.event_bytes:  # type: ignore[operator]
            fits = sizes <= self._limits.event_bytes
            keep = fits.to_numpy()
            leftover = np.sort(np.concatenate([leftover, rows[~keep]]))
            rows, text, frame = rows[keep], text.filter(fits), frame.filter(fits)
        array: Any = text.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets, data = array.buffers()
        ends = np.frombuffer(offsets, dtype=np.int64)[array.offset : array.offset + len(array) + 1]
        view = memoryview(b"") if data is None else memoryview(data).cast("B")
        return EncodedTable(view, ends, rows, leftover, plan.count_long(frame))

    def _text(
        self, plan: _Plan, frame: pl.DataFrame, plain: Set[str], position: str | None
    ) -> pl.Series:
        """The JSON lines."""
        if not len(frame):
            return pl.Series("line", [], dtype=pl.String)
        end = '"}}' if self._token is None else f'","token":{_quoted(self._token)}}}}}'
        event = plan.event(frame, plain)
        if plan.content_id and position is None:
            bare = frame.select(line([*event, "}}"]).alias("text"))
            digest = plh.col("text").chash.blake3().str.head(CONTENT_HEX)
            start = pl.col("text").str.strip_suffix("}}")
            return bare.select(line([_LEAD, start, ',"$insert_id":"', digest, end])).to_series()
        prefix = "" if position is None else f"{position}-"
        insert_id = pl.col("i:insert_id").cast(pl.String)
        pieces = [_LEAD, *event, f',"$insert_id":"{prefix}', insert_id, end]
        return frame.select(line(pieces)).to_series()

    def _plan(self, schema: pa.Schema) -> _Plan | None:
        schema = schema.remove_metadata()  # it may tell the row group, and differ each time
        key = schema.serialize().to_pybytes()  # not every extension type has a hash
        if key not in self._plans:
            try:
                plan: _Plan | None = _Plan(self.mapping, schema, 1 if self._token is None else 2)
            except (Unsupported, MappingError):
                plan = None
            if len(self._plans) > 1000:
                self._plans.clear()
            self._plans[key] = plan
        return self._plans[key]


class _Plan:
    """What to do with tables of one schema.

    The frame that `read` makes has the columns p:NAME (properties), i:NAME (event, ids, ip,
    time) and ok.
    """

    def __init__(self, mapping: EventMapping, schema: pa.Schema, extra: int) -> None:
        self.mapping = mapping
        self.properties = mapping.plan(tuple(schema.names))
        needed = [*mapping.mapped_columns(), *(column for _, column in self.properties)]
        self.columns = [name for name in dict.fromkeys(needed)]
        for name in self.columns:
            if schema.names.count(name) != 1 or "\0" in name:  # NUL makes Polars panic
                raise Unsupported(name)
        if any("\0" in name for name in [*mapping.constants, *mapping.rename.values()]):
            raise Unsupported("a name with a NUL")
        self.content_id = mapping.insert_id is None or isinstance(mapping.insert_id, ContentId)
        self.needs_position = not (self.content_id or isinstance(mapping.insert_id, ColumnsId))
        self._types = {name: _decoded(schema.field(name).type) for name in self.columns}
        mapped = mapping.mapped_columns()
        self.as_json = [
            column
            for _, column in self.properties
            if column not in mapped and not _is_columnar(self._types[column])
        ]
        self._types |= {column: JsonType() for column in self.as_json}
        # Polars takes "*" and "^...$" for patterns: columns go by number.
        self._numbers = {name: f"c{i}" for i, name in enumerate(self.columns)}
        kinds = [plain_type(kind) for kind in self._types.values()]
        self._schema = pa.schema(list(zip(self._numbers.values(), kinds, strict=True)))
        if not self.columns:
            raise Unsupported("no columns")  # a frame without columns has no rows
        self._ok: list[pl.Expr] = []
        self._strings: list[str] = []
        self._sources: dict[str, set[str]] = {}
        """Frame columns that hold the text of table columns; other texts need no escapes."""
        self._escaped: set[str] = set()
        """Frame columns of text that may need escapes whatever the table holds."""
        self._json: set[str] = set()
        """Frame columns that hold JSON."""
        self._events: dict[tuple[tuple[_Nulls, ...], frozenset[str]], list[Piece]] = {}
        """What `event` has given so far: to put expressions together takes as long as to write a
        thousand events."""
        self._exprs = [self._property(name, column) for name, column in self.properties]
        self._exprs += self._identity()
        fixed = len(self.fixed()) + extra + len(mapping.constants)
        if len(self.properties) + fixed > MAX_PROPERTIES:
            if not mapping.drop_nulls:
                raise Unsupported("too many properties")
            present = [self._column(column).is_not_null() for _, column in self.properties]
            self._ok.append(pl.sum_horizontal(present) <= MAX_PROPERTIES - fixed)
        self._all_ok = pl.all_horizontal([expr.fill_null(False) for expr in self._ok])
        sizes = [pl.col(name).str.len_bytes() for name in self._strings]
        longs = [(size > LONG_STRING_BYTES).sum() for size in sizes]
        self._long = pl.sum_horizontal(longs or [pl.lit(0)])
        self._constants = {
            name: orjson.dumps(to_json(value, name, mapping.non_finite == "drop")).decode()
            for name, value in mapping.constants.items()
        }
        self._long_constants = sum(
            isinstance(value, str) and len(value.encode()) > LONG_STRING_BYTES
            for value in mapping.constants.values()
        )

    def choose(self, table: pa.Table) -> pa.Table:
        """The columns that are needed, in a form that is columnar."""
        table = table.select(self.columns)
        for name in self.as_json:
            values = values_of(table.column(name))
            place, drop = self.columns.index(name), self.mapping.non_finite == "drop"
            table = table.set_column(place, name, json_column(values, name, drop))
        return table

    def _column(self, name: str) -> pl.Expr:
        return pl.col(self._numbers[name])

    def uses_position(self, file_key: str | None) -> bool:
        """Whether the ids come from file and row."""
        return self.needs_position or (self.mapping.insert_id is None and file_key is not None)

    def read(
        self, table: pa.Table, now: int, max_age: float | None = None
    ) -> tuple[pl.DataFrame, set[str]]:
        """Converts the columns and finds the rows that are surely all right.

        Returns:
            The frame, and its columns whose text is JSON's as it is, without escapes.
        """
        columns = table.rename_columns(self._schema.names).cast(self._schema)
        frame: Any = pl.from_arrow(columns, rechunk=False)
        ok = self._all_ok & self._time_ok(now, max_age).fill_null(False)
        frame = frame.lazy().select(*self._exprs, ok.alias("ok")).collect()
        sources = set().union(*self._sources.values())
        special = {n for n in sources if needs_escapes(columns.column(self._numbers[n]))}
        plain = {
            name
            for name, kind in frame.schema.items()
            if kind == pl.String
            and name not in self._escaped
            and special.isdisjoint(self._sources.get(name, ()))
        }
        return frame, plain

    def count_long(self, frame: pl.DataFrame) -> int:
        """Text values that Mixpanel will cut."""
        count = self._long_constants * len(frame)
        if not self._strings or not len(frame):
            return count
        return count + int(frame.select(self._long).item() or 0)

    def fixed(self) -> list[str]:
        """The sink's own properties that come before `$insert_id`, in their order."""
        mapping = self.mapping
        names = ["$device_id"] * (mapping.device_id is not None)
        names += ["$user_id"] * (mapping.user_id is not None)
        names += ["distinct_id"] + ["ip"] * (mapping.ip is not None) + ["time"]
        return names

    def event(self, frame: pl.DataFrame, plain: Set[str]) -> list[Piece]:
        """The pieces of an event's JSON, up to its last property but `$insert_id` and token.

        Args:
            frame: what `read` gave.
            plain: its columns of text that need no escapes.
        """
        nulls = tuple(_Nulls.of(n, len(frame)) for n in frame.null_count().row(0))
        known = self._events.get((nulls, frozenset(plain)))
        if known is None:
            if len(self._events) > 1000:
                self._events.clear()
            known = self._event_pieces(frame.schema, nulls, plain)
            self._events[nulls, frozenset(plain)] = known
        return known

    def _event_pieces(
        self, schema: pl.Schema, each: Sequence[_Nulls], plain: Set[str]
    ) -> list[Piece]:
        nulls = dict(zip(schema, each, strict=True))
        columns = {name: f"p:{name}" for name, _ in self.properties}
        pieces: list[Piece] = ["{"]
        run: list[pl.Expr] = []  # neighbours that Polars' JSON writer must write

        def end_run() -> None:
            if run:
                pieces.extend([_inside(run), ","])
                run.clear()

        def add(name: str, column: str) -> None:
            missing = column[0] == "i" or self.mapping.drop_nulls
            if missing and nulls[column] is _Nulls.ALL:
                return
            missing = missing and nulls[column] is _Nulls.SOME
            values = pl.col(column)
            texts: list[Piece] | None = [values]
            if column not in self._json:
                texts = written(column, schema[column], plain)
            if texts is None and not missing:
                run.append(values.alias(name))
                return
            end_run()
            if texts is None:
                member: list[Piece] = [_inside([values.alias(name)]), ","]
            elif missing or nulls[column] is _Nulls.NONE:
                member = [f"{_quoted(name)}:", *texts, ","]
            else:  # nulls are written as such
                member = [f"{_quoted(name)}:", line(texts).fill_null("null"), ","]
            if missing:
                member = [pl.when(values.is_not_null()).then(line(member)).otherwise(pl.lit(""))]
            pieces.extend(member)

        if isinstance(self.mapping.event, Constant):
            pieces.append(f'"event":{_quoted(self.mapping.event.value)},')
        else:
            add("event", "i:event")
            end_run()
        pieces.append('"properties":{')
        for name in sorted([*columns, *self._constants]):
            if name in self._constants:
                end_run()
                pieces.append(f"{_quoted(name)}:{self._constants[name]},")
            else:
                add(name, columns[name])
        for name in self.fixed()[:-1]:
            if name == "ip" and isinstance(self.mapping.ip, Constant):
                end_run()
                pieces.append(f'"ip":{_quoted(self.mapping.ip.value)},')
            else:
                add(name, f"i:{name}")
        end_run()
        return [*pieces, '"time":', pl.col("i:time").cast(pl.String)]

    def _property(self, name: str, column: str) -> pl.Expr:
        kind = self._types[column]
        if types.is_timestamp(kind):
            text = functools.partial(_timestamp_texts, kind=kind)
            return self._column(column).map_batches(text, pl.String).alias(f"p:{name}")
        if isinstance(kind, JsonType):
            self._json.add(f"p:{name}")
            self._ok.append((self._column(column) != JsonType.UNFIT).fill_null(True))
            return self._column(column).alias(f"p:{name}")
        if types.is_map(kind):
            expr, once = map_texts(self._column(column), kind)
            self._json.add(f"p:{name}")
            self._ok.append(once)
            return expr.alias(f"p:{name}")
        expr = convert(self._column(column), kind)
        if types.is_floating(kind) or types.is_decimal(kind):
            if self.mapping.non_finite == "drop":
                expr = pl.when(expr.is_finite()).then(expr)
            else:
                self._ok.append(expr.is_finite() | expr.is_null())
        if _is_text(kind):
            self._sources[f"p:{name}"] = {column}
        if _is_text(kind) or _is_binary(kind):
            self._strings.append(f"p:{name}")
        return expr.alias(f"p:{name}")

    def _identity(self) -> list[pl.Expr]:
        mapping = self.mapping
        event = self._event().alias("i:event")
        self._texts_of("i:event", mapping.event)
        self._texts_of("i:$device_id", mapping.device_id)
        self._texts_of("i:$user_id", mapping.user_id)
        by = [mapping.user_id, mapping.device_id]
        self._texts_of("i:distinct_id", *([mapping.distinct_id] if mapping.distinct_id else by))
        self._texts_of("i:ip", mapping.ip)
        exprs = [event, self._time().alias("i:time")]
        device = user = None
        if isinstance(mapping.device_id, Column):
            device = self._id(mapping.device_id, optional=True)
            exprs.append(device.alias("i:$device_id"))
        if isinstance(mapping.user_id, Column):
            user = self._id(mapping.user_id, optional=True)
            exprs.append(user.alias("i:$user_id"))
        if isinstance(mapping.distinct_id, Column):
            distinct = self._id(mapping.distinct_id, optional=False)
        elif isinstance(mapping.distinct_id, Constant):
            distinct = pl.lit(mapping.distinct_id.value)
            self._ok.append(self._good_id(distinct))
        else:
            named = (
                pl.format("$device:{}", device) if device is not None else pl.lit(None, pl.String)
            )
            distinct = named if user is None else pl.coalesce(user, named)
            self._ok += [distinct.is_not_null(), self._good_id(distinct)]
        exprs.append(distinct.alias("i:distinct_id"))
        if mapping.ip is not None:
            exprs.append(self._ip().alias("i:ip"))
        if isinstance(mapping.insert_id, ColumnsId):
            exprs.append(self._insert_id(mapping.insert_id.columns).alias("i:insert_id"))
        return exprs

    def _texts_of(self, target: str, *parts: Any) -> None:
        """Notes whose texts a frame column holds."""
        sources = self._sources.setdefault(target, set())
        for part in parts:
            if isinstance(part, Column) and _is_text(self._types[part.name]):
                sources.add(part.name)
            fixed = getattr(part, "value", None) or getattr(part, "if_null", None)
            if fixed is not None and _quoted(fixed) != f'"{fixed}"':
                self._escaped.add(target)

    def _event(self) -> pl.Expr:
        part = self.mapping.event
        if isinstance(part, Constant):
            expr = pl.lit(part.value)
        else:
            assert isinstance(part, Column)
            expr = self._text_column(part)
        size = expr.str.len_bytes()
        self._ok.append((size > 0) & (size <= MAX_ID_BYTES))
        return expr

    def _id(self, part: Column, optional: bool) -> pl.Expr:
        kind = self._types[part.name]
        expr = convert(self._column(part.name), kind)
        if types.is_integer(kind):
            expr = expr.cast(pl.String)
        elif not _is_text(kind):
            raise Unsupported(f"{part.name} is {kind}")
        if part.if_null is not None:
            expr = expr.fill_null(part.if_null)
        good = self._good_id(expr)
        self._ok.append(expr.is_null() | good if optional else good)
        return expr

    def _good_id(self, expr: pl.Expr) -> pl.Expr:
        reserved = expr.map_batches(_reserved, pl.Boolean)
        return ~reserved & (expr.str.len_bytes() <= MAX_ID_BYTES)

    def _ip(self) -> pl.Expr:
        part = self.mapping.ip
        if isinstance(part, Constant):
            return pl.lit(part.value)
        assert isinstance(part, Column)
        expr = self._text_column(part)
        self._strings.append("i:ip")
        return pl.when(expr == "").then(pl.lit("0")).otherwise(expr.fill_null("0"))

    def _text_column(self, part: Column) -> pl.Expr:
        kind = self._types[part.name]
        if not _is_text(kind):
            raise Unsupported(f"{part.name} is {kind}")
        expr = convert(self._column(part.name), kind)
        return expr if part.if_null is None else expr.fill_null(part.if_null)

    def _insert_id(self, columns: Sequence[str]) -> pl.Expr:
        values = {name: convert(self._column(name), self._types[name]) for name in columns}
        for name, value in values.items():
            kind = self._types[name]
            if types.is_floating(kind) or types.is_decimal(kind):
                self._ok.append(value.is_finite() | value.is_null())
        if len(columns) > 1:
            self._ok.append(pl.any_horizontal([v.is_not_null() for v in values.values()]))
            parts = [value.alias(name) for name, value in values.items()]
            return _blake3(pl.struct(parts).struct.json_encode())
        name = columns[0]
        value, kind = values[name], self._types[name]
        self._ok.append(value.is_not_null())
        if types.is_integer(kind):
            return value.cast(pl.String)
        if not _yields_text(kind):
            raise Unsupported(f"{name} is {kind}")
        self._ok.append(value.str.len_bytes() > 0)
        fitting = value.str.contains(f"^(?:{INSERT_ID.pattern})$") & ~value.str.contains(r"\n\z")
        return pl.when(fitting).then(value).otherwise(_blake3(value))

    def _time(self) -> pl.Expr:
        part = self.mapping.time
        assert isinstance(part, TimeColumn)
        kind, expr = self._types[part.name], self._column(part.name)
        if types.is_timestamp(kind) or types.is_date(kind):
            if types.is_date(kind):
                expr = expr.cast(pl.Date).cast(pl.Datetime("us"))
            if getattr(kind, "tz", None) is None:
                expr = _in_zone(expr, part.timezone)
            self._time_raw, self._per_second = expr.dt.epoch("ms"), 1000
            return self._time_raw
        if _is_text(kind) and part.unit == "iso8601":
            self._time_raw, self._per_second = _iso_ms(convert(expr, kind), part.timezone), 1000
            return self._time_raw
        if types.is_integer(kind) and part.unit in PER_SECOND:
            self._time_raw = expr.cast(pl.Int64, strict=False)
            self._per_second = PER_SECOND[part.unit]
            if part.unit == "s":
                return self._time_raw * 1000
            return self._time_raw // (self._per_second // 1000)
        if types.is_floating(kind) and part.unit in PER_SECOND:
            ms = expr.cast(pl.Float64) * (1000 / PER_SECOND[part.unit])
            ms = pl.when(ms.is_finite() & (ms.abs() < 1e17)).then((ms + 0.5).floor())
            self._time_raw, self._per_second = ms.cast(pl.Int64, strict=False), 1000
            return self._time_raw
        raise Unsupported(f"time is {kind}")

    def _time_ok(self, now: int, max_age: float | None) -> pl.Expr:
        # In the column's own unit, so that no product can overflow before it is checked.
        earliest = MIN_TIME_MS if max_age is None else max(MIN_TIME_MS, now - int(max_age * 1000))
        low = -(-earliest * self._per_second // 1000)
        high = (now + MAX_FUTURE_MS) * self._per_second // 1000
        return self._time_raw.is_between(low, high)


class _Nulls(enum.Enum):
    """How many of a column's values are null."""

    NONE = enum.auto()
    SOME = enum.auto()
    ALL = enum.auto()

    @classmethod
    def of(cls, nulls: int, rows: int) -> _Nulls:
        if not nulls:
            return cls.NONE
        return cls.ALL if nulls == rows else cls.SOME


Piece = str | pl.Expr
"""Of a line: the same text in every row, or a column of texts."""


def line(pieces: Sequence[Piece]) -> pl.Expr:
    """The pieces, one after the other, as one text a row; null where a piece is."""
    joined = itertools.groupby(pieces, lambda piece: isinstance(piece, str))
    exprs: list[Any] = []
    for same, group in joined:
        exprs += [pl.lit("".join(group))] if same else group  # type: ignore[arg-type]
    return pl.concat_str(exprs)


def written(column: str, kind: pl.DataType, plain: Set[str]) -> list[Piece] | None:
    """A column's values as pieces of JSON; None if only Polars' JSON writer can write them."""
    value = pl.col(column)
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


def _is_columnar(kind: pa.DataType) -> bool:
    """Whether values of the type are written without a Python object for each."""
    try:
        if types.is_map(kind):
            map_texts(pl.element(), kind)
        else:
            convert(pl.element(), kind)
    except Unsupported:
        return isinstance(kind, JsonType)
    return True


def convert(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
    """A column's values in the form that `values.py` decides, for Polars' JSON writer.

    Raises:
        Unsupported: for types that only the record encoder does.
    """
    if types.is_float16(kind) or types.is_float32(kind):
        return expr.cast(pl.Float64)
    if types.is_decimal(kind):
        if not 0 <= kind.scale <= kind.precision:
            raise Unsupported(str(kind))
        if types.is_decimal256(kind):
            return expr.cast(pl.Float64)  # from text, see `plain_type`
        # Up to 15 digits the division is exact; beyond, only reading the text rounds right.
        return (expr if kind.precision <= 15 else expr.cast(pl.String)).cast(pl.Float64)
    if types.is_date(kind):
        return expr.cast(pl.Date).dt.to_string("%Y-%m-%d")
    if types.is_timestamp(kind):
        return _timestamp_text(expr, kind)
    if types.is_time(kind):
        nanoseconds = expr.cast(pl.Int64)
        text = expr.dt.to_string("%H:%M:%S")
        return _with_fraction(text, nanoseconds % 1_000_000_000, "ns")
    if types.is_duration(kind):
        per_second = {"s": 1_000, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[kind.unit]
        value = expr.cast(pl.Int64)
        # Polars multiplies by the inverse of a literal, which rounds twice; a column it divides by.
        return value / (value * 0 + per_second)
    if _is_binary(kind):
        return expr.bin.encode("base64")
    if types.is_dictionary(kind):
        return convert(expr, kind.value_type)  # see `plain_type`
    if _is_list(kind):
        if _is_native(kind.value_type):
            return expr
        return expr.list.eval(convert(pl.element(), kind.value_type))
    if types.is_struct(kind):
        if _is_native(kind):
            return expr
        if any(_is_pattern(f.name) for f in kind):
            raise Unsupported("a field whose name Polars takes for a pattern")
        fields = [
            convert(expr.struct.field(f.name), f.type).alias(f.name)
            for f in sorted(kind, key=lambda f: f.name)
        ]
        return pl.when(expr.is_not_null()).then(pl.struct(fields))
    if _is_native(kind):
        return expr
    raise Unsupported(str(kind))


def map_texts(expr: pl.Expr, kind: pa.MapType) -> tuple[pl.Expr, pl.Expr]:
    """The JSON objects of a column of maps, and whether each has every key once.

    Args:
        expr: the maps as lists of entries, see `plain_type`.

    Raises:
        Unsupported: for keys or values that only the record encoder does.
    """
    inner = kind.item_type
    while _is_list(inner):
        inner = inner.value_type
    if types.is_struct(inner):
        _check_struct(inner, depth=2)
    entry = pl.element().struct
    key = convert(entry.field("key"), kind.key_type)
    if types.is_integer(_decoded(kind.key_type)):
        key = key.cast(pl.String)
    elif not _yields_text(_decoded(kind.key_type)):
        raise Unsupported(str(kind))
    value = convert(entry.field("value"), kind.item_type)
    pair = line([_json_of(key), ":", _json_of(value)]).sort_by(key)
    texts = line(["{", expr.list.eval(pair).list.join(","), "}"])
    once = expr.list.eval(key).list.n_unique() == expr.list.len()
    return texts, expr.is_null() | once


def _in_zone(expr: pl.Expr, zone: str) -> pl.Expr:
    """Wall times of a zone as moments; null where a change of clocks leaves them out."""
    if zone in ("UTC", "Etc/UTC"):
        return expr
    try:
        pl.Series([0]).cast(pl.Datetime("us")).dt.replace_time_zone(zone)
    except pl.exceptions.PolarsError:
        raise Unsupported(f"time zone {zone}") from None  # such as "localtime"
    return expr.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _iso_ms(text: pl.Expr, zone: str) -> pl.Expr:
    """Milliseconds of ISO 8601 text in its usual forms; null for all others.

    Args:
        text: such as 2024-01-15T10:00:00.123+01:00, or the date alone.
        zone: of texts without one.
    """
    parts = text.str.extract_groups(_ISO_8601).struct
    clock = pl.concat_str(parts.field("day"), parts.field("clock").fill_null("00:00:00"))
    wall = clock.str.to_datetime("%Y-%m-%d%H:%M:%S", time_unit="ms", strict=False)
    fraction = parts.field("ms").cast(pl.Int64).fill_null(0)
    away = parts.field("hours").cast(pl.Int64) * 60 + parts.field("minutes").cast(pl.Int64)
    away = pl.when(parts.field("sign") == "-").then(-away).otherwise(away).fill_null(0) * 60_000
    local = _in_zone(wall, zone).dt.epoch("ms")
    utc = wall.dt.epoch("ms") - away
    return pl.when(parts.field("zone").is_null()).then(local).otherwise(utc) + fraction


def check_types(mapping: EventMapping, schema: pa.Schema) -> None:
    """Refuses columns whose type can never serve as event, time or id.

    Raises:
        MappingError: names the column, its type and the mend.
    """
    time = mapping.time
    assert isinstance(time, TimeColumn)
    kind = _decoded(schema.field(time.name).type)
    if types.is_integer(kind) or types.is_floating(kind):
        if time.unit not in PER_SECOND:
            raise MappingError(
                f"The time column {time.name!r} is {kind}, a number, and the mapping does not say "
                "of what. Set its unit: s, ms, us or ns."
            )
    elif _is_text(kind):
        if time.unit != "iso8601":
            raise MappingError(
                f"The time column {time.name!r} is text. Set unit: iso8601 if it holds such, or "
                "convert it."
            )
    elif not (types.is_timestamp(kind) or types.is_date(kind) or types.is_null(kind)):
        raise MappingError(
            f"The time column {time.name!r} is {kind}; it must be a timestamp, a date, a number "
            "with a unit, or ISO 8601 text."
        )
    for part in ("event", "distinct_id", "device_id", "user_id", "ip"):
        column = getattr(mapping, part)
        if not isinstance(column, Column):
            continue
        kind = _decoded(schema.field(column.name).type)
        if _is_text(kind) or types.is_null(kind):
            continue
        if part not in ("event", "ip") and types.is_integer(kind):
            continue
        also = "" if part in ("event", "ip") else " or integers"
        raise MappingError(
            f"The {part} column {column.name!r} is {kind}; it must be text{also}. Cast it where "
            "the file is made."
        )


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type, of those that Polars reads well, for the same values."""
    if types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, JsonType):
        return pa.string()
    if types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    if types.is_fixed_size_binary(kind):
        return pa.binary()
    if types.is_map(kind):  # entries, which Polars can compute with
        entry = [("key", plain_type(kind.key_type)), ("value", plain_type(kind.item_type))]
        return pa.list_(pa.struct(entry))
    if types.is_decimal256(kind):  # wider than Polars' decimals
        return pa.string()
    if types.is_float16(kind):
        return pa.float32()
    if types.is_null(kind):  # a cast to null breaks structs in lists; any type holds nulls
        return pa.bool_()
    if types.is_decimal32(kind) or types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    if _is_list(kind):
        make = pa.large_list if types.is_large_list(kind) else pa.list_
        return make(plain_type(kind.value_type))
    if types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    return kind


def _fits(column: pa.ChunkedArray) -> bool:
    """Whether the columnar way can be trusted with these values."""
    try:
        column.validate(full=True)  # among others: that text is UTF-8
    except pa.ArrowInvalid:
        return False
    return all(_array_fits(chunk, top=True) for chunk in column.chunks)


def _array_fits(array: pa.Array, top: bool = False) -> bool:
    kind = array.type
    if types.is_date(kind) or types.is_timestamp(kind):
        width = pa.int32() if types.is_date32(kind) else pa.int64()
        bounds = pc.min_max(array.view(width))
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        per_day = 1 if types.is_date32(kind) else 86_400 * PER_SECOND[getattr(kind, "unit", "ms")]
        return low is None or (_MIN_DAY * per_day <= low and high < (_MAX_DAY + 1) * per_day)
    if types.is_duration(kind):
        bounds = pc.min_max(array.view(pa.int64()))
        low, high = bounds["min"].as_py(), bounds["max"].as_py()
        most = 2**53 // (1000 if kind.unit == "s" else 1)  # floats hold it exactly
        return low is None or (-most < low and high < most)
    if not top and types.is_floating(kind):
        return bool(pc.all(pc.is_finite(array), skip_nulls=True).as_py() in (True, None))
    if types.is_dictionary(kind):
        return _array_fits(array.dictionary, top)
    if types.is_map(kind):
        entries = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return _array_fits(array.cast(pa.list_(entries)))
    if _is_list(kind):
        longest = pc.max(pc.list_value_length(array)).as_py()
        return (longest or 0) <= MAX_LIST_ITEMS and _array_fits(array.flatten())
    if types.is_struct(kind):
        return all(_array_fits(child) for child in array.flatten())
    return True


def _only_leftover(rows: np.ndarray[Any, np.dtype[np.int64]]) -> EncodedTable:
    none = np.zeros(0, dtype=np.int64)
    return EncodedTable(memoryview(b""), np.zeros(1, dtype=np.int64), none, rows)


def _is_native(kind: pa.DataType, depth: int = 1) -> bool:
    """Whether Polars writes it as wanted without any conversion."""
    if _is_list(kind):
        return _is_native(kind.value_type, depth)
    if types.is_struct(kind):
        _check_struct(kind, depth)
        names = [field.name for field in kind]
        return names == sorted(names) and all(_is_native(field.type, depth + 1) for field in kind)
    return (
        types.is_null(kind)
        or types.is_boolean(kind)
        or types.is_integer(kind)
        or types.is_float64(kind)
        or _is_utf8(kind)
    )


def _check_struct(kind: pa.StructType, depth: int) -> None:
    names = [field.name for field in kind]
    if depth >= MAX_DEPTH or len(names) > MAX_NESTED_KEYS or not names:
        raise Unsupported("nested too deep, too wide, or without fields")
    if len(set(names)) < len(names) or any("\0" in name for name in names):
        raise Unsupported("a struct with two fields of one name, or with a NUL in one")
    for field in kind:
        inner = field.type
        while _is_list(inner):
            inner = inner.value_type
        if types.is_struct(inner):
            _check_struct(inner, depth + 1)


def _is_pattern(name: str) -> bool:
    return name == "*" or (name.startswith("^") and name.endswith("$"))


def _is_utf8(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_text(kind: pa.DataType) -> bool:
    return _is_utf8(_decoded(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _is_list(kind: pa.DataType) -> bool:
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _decoded(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if types.is_dictionary(kind) else kind


def _yields_text(kind: pa.DataType) -> bool:
    return (
        _is_text(kind)
        or types.is_date(kind)
        or types.is_timestamp(kind)
        or types.is_time(kind)
        or _is_binary(kind)
    )


def _timestamp_text(expr: pl.Expr, kind: pa.TimestampType) -> pl.Expr:
    unit: Any = "ms" if kind.unit == "s" else kind.unit  # Polars has no whole seconds
    text = expr.dt.to_string("%Y-%m-%dT%H:%M:%S")
    # Flooring, also before 1970: Polars' % has the sign of the divisor.
    fraction = expr.dt.epoch(unit) % PER_SECOND[unit]
    text = _with_fraction(text, fraction, unit)
    return text if kind.tz is None else text + "Z"


def _reserved(ids: pl.Series) -> pl.Series:
    """Which ids are words that Mixpanel refuses. Lower case is made only of those that are as
    long as such a word, since it is most of the work. (No letter becomes two of ASCII.)
    """
    suspects = ids.str.len_chars().is_in(_RESERVED_LENGTHS).arg_true()
    reserved = pl.repeat(False, len(ids), eager=True)
    if not len(suspects):
        return reserved
    words = ids.gather(suspects).str.to_lowercase().is_in(sorted(RESERVED_DISTINCT_IDS))
    return reserved.scatter(suspects.filter(words.fill_null(False)), True)


def _timestamp_texts(moments: pl.Series, kind: pa.TimestampType) -> pl.Series:
    """The same texts as `_timestamp_text`, put together from a table of the days that occur and
    one of the seconds of a day: five times faster where there are no fractions.
    """
    per_second = PER_SECOND["ms" if kind.unit == "s" else kind.unit]
    ticks = moments.to_physical()
    seconds = ticks // per_second
    days = seconds // 86_400
    first: Any = days.min()
    last: Any = days.max()
    if first is None or last - first > len(days) or (ticks != seconds * per_second).any():
        return moments.to_frame("t").select(_timestamp_text(pl.col("t"), kind)).to_series()
    every: Any = pl.int_range(first, last + 1, dtype=pl.Int32, eager=True)
    date: Any = every.cast(pl.Date).dt.to_string("%Y-%m-%d").gather(days - first)
    return date + _seconds_of_day(kind.tz is not None).gather(seconds - days * 86_400)


@functools.cache
def _seconds_of_day(zoned: bool) -> pl.Series:
    every: Any = pl.int_range(86_400, eager=True) * 1_000_000_000
    return "T" + every.cast(pl.Time).dt.to_string("%H:%M:%S") + ("Z" if zoned else "")


def _with_fraction(text: pl.Expr, fraction: pl.Expr, unit: str) -> pl.Expr:
    """Adds ".ffffff" where there is a fraction, or nine digits where nanoseconds need them."""

    def digits(value: pl.Expr, count: int) -> pl.Expr:
        return text + "." + value.cast(pl.String).str.zfill(count)

    if unit == "ms":
        six = digits(fraction * 1000, 6)
    elif unit == "us":
        six = digits(fraction, 6)
    else:
        some = pl.when(fraction % 1000 == 0)
        six = some.then(digits(fraction // 1000, 6)).otherwise(digits(fraction, 9))
    return pl.when(fraction == 0).then(text).otherwise(six)


def _inside(exprs: Sequence[pl.Expr]) -> pl.Expr:
    """An object's JSON without its braces."""
    text = pl.struct(list(exprs)).struct.json_encode()
    return text.str.strip_prefix("{").str.strip_suffix("}")


def _json_of(expr: pl.Expr) -> pl.Expr:
    """Values as JSON; nulls too."""
    return _inside([expr.alias("")]).str.strip_prefix('"":')


def _blake3(expr: pl.Expr) -> pl.Expr:
    hashed: pl.Expr = plh.HExpr._from_pyexpr(expr._pyexpr).chash.blake3()
    return hashed.str.head(CONTENT_HEX)


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()
