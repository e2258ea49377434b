"""The events of plain tables, as far as a comparison needs them, for all rows at once.

A row of which anything is not certain is left to `expected.py`; so is a table whose mapping needs
more than columns. Nothing here comes from the encoders.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyarrow import types

from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.inspect.verify.canonical import Hashes, hashes_of
from mixpanel_sink.inspect.verify.columns import (
    Flags,
    Property,
    Unsure,
    of_cells,
    plain,
    property_of,
    ticks_of,
)
from mixpanel_sink.inspect.verify.events import is_own
from mixpanel_sink.inspect.verify.exact import exact_column
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.inspect.verify.ids import RESERVED, column_id, columns_id, hashed
from mixpanel_sink.inspect.verify.times import is_possible, milliseconds_of
from mixpanel_sink.settings.columns import Column, ColumnsId, Constant, ContentId, TimeColumn

if TYPE_CHECKING:
    from mixpanel_sink.inspect.verify.expected import Expectation

_MANY_PROPERTIES = 240
_ID_BYTES = 240
_TEXT_BYTES = 255
_FRAME_BYTES = 10_000
"""More than names, ids and times of an event have as JSON."""
_EXACT = 2**53
_PER_MS = {"us": 1000, "ns": 10**6}
_MS_OF = {"s": 1000, "ms": 1}


@dataclasses.dataclass
class Summary:
    """Events reduced to what is compared.

    Attributes:
        ids: their `$insert_id`s.
        times: milliseconds since 1970.
        names: of the events.
        contents: a hash of all that is compared (see `canonical`).
        sure: whether each row is an event, and this one.
    """

    ids: pl.Series
    times: npt.NDArray[np.int64]
    names: pl.Series
    contents: Hashes
    sure: Flags


def contents_of(
    names: pl.Series, times: npt.NDArray[np.int64], users: pl.Series, properties: Hashes
) -> Hashes:
    """The hashes of events: the sum of their properties', and of what every event has."""
    own = hashes_of("\0name", names) + hashes_of("\0user", users, shortened=True)
    return own + hashes_of("\0time", pl.Series(times)) + properties


class PlainTables:
    """Summarizes tables of one mapping.

    Args:
        expectation: says what is expected, of single rows too.
        kinds: takes the kinds of each property (see `canonical.kind_of`).
    """

    def __init__(self, expectation: Expectation, kinds: dict[str, set[str]]) -> None:
        self._of, self._kinds = expectation, kinds
        self._mapping = mapping = expectation.mapping
        rule, constants = mapping.insert_id, expectation.constants
        self._marked = (
            {} if expectation.mark is None else {expectation.mark.name: expectation.mark.run}
        )
        self._able = (
            expectation.plain
            and not isinstance(rule, ContentId)
            and all(map(_is_simple, constants))
            and self._marked.keys().isdisjoint(constants)
        )

    def summarize(self, table: pa.Table) -> Summary | None:
        """The events of a table; None where each row must be looked at."""
        names = table.schema.names
        if not self._able or len(set(names)) < len(names):
            return None
        try:
            return _Summarizing(self._of, table, self._marked, self._kinds).summary()
        except (Unsure, Refused):
            return None


class _Summarizing:
    """Summarizes one table."""

    def __init__(
        self,
        of: Expectation,
        table: pa.Table,
        marked: Mapping[str, str],
        kinds: dict[str, set[str]],
    ) -> None:
        self._kinds = kinds
        self._of, self._mapping, self._marked = of, of.mapping, marked
        self._table = table
        self._rows = len(table)
        self._columns = [name for name in table.schema.names if name not in of.dropped]
        self._sure = np.ones(self._rows, np.bool_)
        self._size: Any = of.added + _FRAME_BYTES
        self._hashes = np.zeros(self._rows, np.uint64)
        self._masked: dict[str, pa.ChunkedArray] = {}

    def summary(self) -> Summary:
        self._properties()
        mapping = self._mapping
        device, user = self._id(mapping.device_id), self._id(mapping.user_id)
        for name, values in (("$device_id", device), ("$user_id", user)):
            if values is not None:
                self._hashes += hashes_of(name, values)
                self._kinds.setdefault(name, set()).add("text")
        users = self._users(device, user)
        names = self._names()
        self._address()
        times = self._times()
        ids = self._ids()
        if mapping.salt:
            salted = [i and hashed(f"{mapping.salt}\0{i}") for i in ids]
            ids = pl.Series(salted, dtype=pl.String)
        self._trust(np.broadcast_to(self._size, self._rows) <= self._of.limits.event_bytes)
        for found in (ids, names, users):
            self._trust(found.is_not_null())
        contents = contents_of(names, times, users, self._hashes)
        return Summary(ids, times, names, contents, self._sure)

    def _trust(self, sure: pl.Series | Flags | None) -> None:
        if sure is not None:
            self._sure &= sure.to_numpy() if isinstance(sure, pl.Series) else sure

    def _properties(self) -> None:
        plan = self._of.plan(tuple(self._columns))
        constants = {**self._of.constants, **self._marked}
        taken = {name for name, _ in plan}
        if len(plan) + len(constants) > _MANY_PROPERTIES or taken & self._marked.keys():
            raise Unsure
        for name, column in plan:
            if not _is_simple(name):
                raise Unsure
            self._enter(name, property_of(name, self._column(column), self._of.drop))
        for name, value in constants.items():
            self._enter(name, of_cells(name, [value], self._of.drop))

    def _enter(self, name: str, found: Property) -> None:
        self._hashes += found.hashes
        self._kinds.setdefault(name, set()).update(found.kinds)
        size = found.size if len(found.hashes) == self._rows else found.size[0]
        self._size = self._size + size + 6 * len(name.encode()) + 6
        if found.sure is not None:
            self._trust(np.broadcast_to(found.sure, self._rows))

    def _column(self, name: str) -> pa.ChunkedArray:
        column = self._table.column(name)
        if name not in self._of.hidden:
            return column
        if (known := self._masked.get(name)) is None:
            values = [self._of.mask(value, name) for value in exact_column(column)]
            if not all(value is None or isinstance(value, str) for value in values):
                raise Unsure
            known = self._masked[name] = pa.chunked_array([pa.array(values, pa.string())])
        return known

    def _text(self, part: Any) -> pl.Series:
        """A serving column's text; whole numbers by their digits."""
        if part.name not in self._columns:
            raise Unsure
        found = plain(self._column(part.name))
        if found is None:
            raise Unsure
        values, sure = found
        if values.dtype.is_integer():
            values = values.cast(pl.String)
        elif values.dtype != pl.String:
            raise Unsure
        self._trust(sure)
        substitute = getattr(part, "if_null", None)
        if substitute is not None:
            if not isinstance(substitute, str):
                raise Unsure
            values = values.fill_null(substitute)
        return values

    def _is_text(self, name: str) -> bool:
        if name not in self._columns:
            raise Unsure
        kind = self._column(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return types.is_string(kind) or types.is_large_string(kind)

    def _id(self, part: Any) -> pl.Series | None:
        if part is None:
            return None
        kind = self._column(part.name).type if part.name in self._columns else None
        if kind is None or not (
            self._is_text(part.name) or types.is_integer(kind) or types.is_decimal(kind)
        ):
            raise Unsure
        values = self._text(part)
        fits = (values.str.len_bytes() <= _ID_BYTES) & ~values.str.to_lowercase().is_in(
            list(RESERVED)
        )
        self._trust(fits.fill_null(True))
        return values

    def _users(self, device: pl.Series | None, user: pl.Series | None) -> pl.Series:
        part = self._mapping.distinct_id
        if isinstance(part, Constant):
            if part.value.lower() in RESERVED or len(part.value.encode()) > _ID_BYTES:
                raise Unsure
            return pl.Series([part.value]).new_from_index(0, self._rows)
        if part is not None:
            found = self._id(part)
            assert found is not None
            return found
        devices = None if device is None else "$device:" + device
        if user is None or devices is None:
            found = devices if user is None else user
            assert found is not None
            return found
        return user.zip_with(user.is_not_null(), devices)

    def _names(self) -> pl.Series:
        part = self._mapping.event
        if isinstance(part, Constant):
            return pl.Series([part.value]).new_from_index(0, self._rows)
        assert isinstance(part, Column)
        if not self._is_text(part.name):
            raise Unsure
        names = self._text(part)
        fits = names.str.len_bytes().is_between(1, _TEXT_BYTES)
        self._trust(fits.fill_null(False))
        return names

    def _address(self) -> None:
        part = self._mapping.ip
        if isinstance(part, Column):
            if not self._is_text(part.name):
                raise Unsure
            self._size = self._size + 6 * self._text(part).str.len_bytes().fill_null(0).to_numpy()

    def _times(self) -> npt.NDArray[np.int64]:
        part = self._mapping.time
        assert isinstance(part, TimeColumn)
        if part.name not in self._columns:
            raise Unsure
        column = self._column(part.name)
        kind = column.type
        if types.is_timestamp(kind) and (kind.tz is not None or part.timezone == "UTC"):
            times = _milliseconds(ticks_of(column), kind.unit)
        elif types.is_integer(kind) and part.unit in (*_PER_MS, *_MS_OF):
            found = plain(column)
            assert found is not None
            times = _milliseconds(found[0].cast(pl.Int64, strict=False), part.unit)
        else:
            times = pl.Series(
                [_time(value, part) for value in exact_column(column)], dtype=pl.Int64
            )
        sure = is_possible(times, self._of.now, self._of.limits.max_age_seconds)
        self._trust(sure.fill_null(False))
        return times.fill_null(0).to_numpy()

    def _ids(self) -> pl.Series:
        rule = self._mapping.insert_id
        if not isinstance(rule, ColumnsId):
            origin = TableOrigin.of(self._table)
            if origin is None or not origin.key:
                raise Unsure
            if origin.offsets is None:
                rows = pl.int_range(origin.row(0), origin.row(self._rows), eager=True)
            else:
                rows = pl.Series([origin.row(row) for row in range(self._rows)], dtype=pl.Int64)
            return f"{origin.key}-" + rows.cast(pl.String)
        if any(name not in self._columns for name in rule.columns):
            raise Unsure
        if len(rule.columns) > 1:
            values = [exact_column(self._column(name)) for name in rule.columns]
            rows_of = zip(*values, strict=True)
            return pl.Series([_joint(rule.columns, row) for row in rows_of], dtype=pl.String)
        name = rule.columns[0]
        if not (self._is_text(name) or types.is_integer(self._column(name).type)):
            exact = exact_column(self._column(name))
            return pl.Series([_single(value, name) for value in exact], dtype=pl.String)
        texts = self._text(self._of.id_columns[0])
        fits = texts.str.contains(r"^[A-Za-z0-9-]{1,36}$") & ~texts.str.to_lowercase().is_in(
            list(RESERVED)
        )
        others = (~fits).fill_null(False).arg_true()
        if len(others):
            made = [_single(text, name) for text in texts.gather(others)]
            texts = texts.clone().scatter(others, made)
        return texts


def _is_simple(name: str) -> bool:
    """Whether a property means nothing to Mixpanel itself."""
    return is_own(name) and name != "$ignore"


def _milliseconds(ticks: pl.Series, unit: str) -> pl.Series:
    if unit in _PER_MS:
        return ticks // _PER_MS[unit]
    return ticks.set((ticks.abs() > _EXACT).fill_null(False), None) * _MS_OF[unit]


def _time(value: Any, column: TimeColumn) -> int | None:
    if value is None or (isinstance(value, float) and value != value):
        return None
    try:
        found = milliseconds_of(value, column)
    except Refused:
        return None
    return found if abs(found) < _EXACT else None


def _single(value: Any, name: str) -> str | None:
    try:
        return None if value is None else column_id(value, name)
    except Refused:
        return None


def _joint(names: tuple[str, ...], values: tuple[Any, ...]) -> str | None:
    if any(isinstance(value, float) and value != value for value in values):
        return None
    try:
        return None if all(value is None for value in values) else columns_id(names, values)
    except Refused:
        return None
