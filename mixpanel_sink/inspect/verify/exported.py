"""The events of the raw export, as far as a comparison needs them (see `tables.Summary`).

Arrow reads whole blocks of lines, strictly: where a property has another type than in the input, or
a line is not one event, the block is read line by line instead. Properties that have lists, objects
or several types in the input are read line by line in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import json

from mixpanel_sink.inspect.verify.canonical import Hashes, hashes_of, hashes_of_cells
from mixpanel_sink.inspect.verify.columns import series_of
from mixpanel_sink.inspect.verify.events import BEFORE_IDENTITY, is_own, sent_distinct_id
from mixpanel_sink.inspect.verify.tables import Summary, contents_of
from mixpanel_sink.read.raw_export import event_of_line
from mixpanel_sink.settings.run_mark import RunMark

_COARSE = 30_000_000_000
_EXACT = 2**53
_CHUNK = 1 << 20
_ALWAYS = {
    "time": pa.int64(),
    "distinct_id": pa.string(),
    "$insert_id": pa.string(),
    BEFORE_IDENTITY: pa.string(),
}
_TYPES = {
    frozenset({"text"}): pa.string(),
    frozenset({"boolean"}): pa.bool_(),
    frozenset({"integer"}): pa.int64(),
    frozenset({"unsigned"}): pa.uint64(),
    frozenset({"float"}): pa.float64(),
    frozenset({"integer", "float"}): pa.float64(),
}
"""What Arrow reads a property of these kinds as."""


class Reading:
    """Summarizes blocks of lines.

    Args:
        kinds: of each property of the input.
        any_run: the mark that events of any run count as having.
    """

    def __init__(self, kinds: Mapping[str, set[str]], any_run: RunMark | None) -> None:
        self._any_run = any_run
        types = {name: _TYPES.get(frozenset(found)) for name, found in kinds.items() if found}
        self._apart = [name for name, kind in types.items() if kind is None and is_own(name)]
        known = {name: kind for name, kind in types.items() if kind is not None}
        self._types: dict[str, Any] = {**known, **_ALWAYS}
        fields = pa.struct(list(self._types.items()))
        self._schema = pa.schema([("event", pa.string()), ("properties", fields)])

    def lines(self, block: bytes) -> list[bytes]:
        """The lines of a block that are not blank."""
        return [line for line in block.split(b"\n") if line.strip()]

    def event(self, line: bytes) -> dict[str, Any]:
        """A line's event, as if the run that is expected had sent it, whichever it was.

        Raises:
            Broken: if it holds none.
        """
        event, mark = event_of_line(line), self._any_run
        if mark is not None and isinstance(event["properties"].get(mark.name), str):
            event["properties"][mark.name] = mark.run
        return event

    def summary(self, block: bytes) -> Summary:
        """All events of a block.

        Raises:
            Broken: if one of its lines holds none.
        """
        return self._by_columns(block) or _of_events(
            [self.event(line) for line in self.lines(block)]
        )

    def _by_columns(self, block: bytes) -> Summary | None:
        try:
            if not block.isascii():
                block.decode()
            table = json.read_json(
                pa.BufferReader(block),
                json.ReadOptions(use_threads=False, block_size=_CHUNK),
                json.ParseOptions(explicit_schema=self._schema),
            )
        except (pa.ArrowException, UnicodeDecodeError):
            return None
        lines = block.count(b"\n") + (not block.endswith(b"\n"))
        events, all_properties = table.column("event"), table.column("properties")
        if len(table) != lines or events.null_count or all_properties.null_count:
            return None
        names = [field.name for field in all_properties.type]
        columns = dict(zip(names, all_properties.flatten(), strict=True))
        hashes = np.zeros(lines, np.uint64)
        sure = np.ones(lines, np.bool_)
        for name, column in columns.items():
            if not is_own(name) or name in _ALWAYS or name in self._apart:
                continue
            if name not in self._types:
                sure &= column.is_null().to_numpy()
                continue
            values = self._series(name, column)
            if values.dtype == pl.Float64:
                fits = values.abs() < _EXACT  # larger ones were integers, perhaps
                sure &= fits.fill_null(True).to_numpy()
                values = values.set(~fits, None)
            hashes += hashes_of(name, values)
        if self._apart:
            all_found = (self.event(line)["properties"] for line in self.lines(block))
            rows = [[found.get(name) for name in self._apart] for found in all_found]
            for name, *cells in zip(self._apart, *rows, strict=True):
                hashes += hashes_of_cells(name, cells)
        return _summary(series_of(events), columns, hashes, sure)

    def _series(self, name: str, column: pa.ChunkedArray) -> pl.Series:
        values = series_of(column)
        if self._any_run is not None and name == self._any_run.name:
            return values.set(values.is_not_null(), self._any_run.run)
        return values


def _summary(
    names: pl.Series, columns: Mapping[str, pa.ChunkedArray], hashes: Hashes, sure: Any
) -> Summary:
    times, users, ids = (series_of(columns[name]) for name in ("time", "distinct_id", "$insert_id"))
    sent = series_of(columns[BEFORE_IDENTITY])
    if sent.null_count() < len(sent):
        users = sent.zip_with(sent.is_not_null(), users)
    sure &= (users.is_not_null() & (times >= _COARSE).fill_null(False)).to_numpy()
    milliseconds = times.fill_null(0).to_numpy()
    contents = contents_of(names, milliseconds, users, hashes)
    return Summary(ids.fill_null(""), milliseconds, names, contents, sure)


def _of_events(events: Sequence[Mapping[str, Any]]) -> Summary:
    all_properties = [event["properties"] for event in events]
    sure = np.ones(len(events), np.bool_)
    times = np.zeros(len(events), np.int64)
    users = [""] * len(events)
    for row, properties in enumerate(all_properties):
        time, user = properties.get("time"), sent_distinct_id(properties)
        if type(time) is int and _COARSE <= time < 2**63 and type(user) is str:
            times[row], users[row] = time, user
        else:
            sure[row] = False
    ids = [str(properties.get("$insert_id") or "") for properties in all_properties]
    names = pl.Series([event["event"] for event in events], dtype=pl.String)
    hashes = hashes_of_own(all_properties)
    found = contents_of(names, times, pl.Series(users, dtype=pl.String), hashes)
    return Summary(pl.Series(ids, dtype=pl.String), times, names, found, sure)


def hashes_of_own(properties: Sequence[Mapping[str, Any]], shortened: bool = False) -> Hashes:
    """The sums of the hashes of the user's own properties."""
    total = np.zeros(len(properties), np.uint64)
    for name in set().union(*properties):
        if is_own(name):
            total += hashes_of_cells(name, [each.get(name) for each in properties], shortened)
    return total
