"""Both sides of a comparison, taken in block by block: what is needed of each event (`rows`), and
the block itself, where an event that is not plainly the same is looked up again."""

from __future__ import annotations

import datetime
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.inspect.verify.canonical import hash_of_ids, kind_of
from mixpanel_sink.inspect.verify.events import Event, exported_event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.exported import Reading, hashes_of_own
from mixpanel_sink.inspect.verify.findings import Days
from mixpanel_sink.inspect.verify.rows import ROW, Blocks, RowParts, packed
from mixpanel_sink.inspect.verify.tables import PlainTables, Summary, contents_of
from mixpanel_sink.read.ahead import worked_ahead
from mixpanel_sink.report.summaries import summarize
from mixpanel_sink.results import FailedRecord, FailureSummary

_ROWS = 40_000


class Side:
    """Events of one side, on disk.

    Args:
        folder: an empty one.
        name: of the side, in the folder.
        rows: how many to expect, roughly.
    """

    def __init__(self, folder: str, name: str, rows: int) -> None:
        self.rows = RowParts(pathlib.Path(folder, name), rows)
        self.blocks = Blocks(pathlib.Path(folder, f"{name}.blocks"))

    def add(self, block: bytes, summaries: Iterable[tuple[Any, Any]]) -> None:
        """Takes a block that was `packed`, and what is known of its rows: their numbers, and rows
        without a place."""
        number = self.blocks.add(block)
        for places, rows in summaries:
            rows["block"], rows["row"] = number, places
            self.rows.add(rows)

    def savepoint(self) -> tuple[list[int], int]:
        """The current state, for `rollback`."""
        return self.rows.savepoint(), self.blocks.savepoint()

    def rollback(self, savepoint: tuple[list[int], int]) -> None:
        """Forgets what was added since the savepoint."""
        self.rows.rollback(savepoint[0])
        self.blocks.rollback(savepoint[1])


class Names:
    """Numbers that stand for names of events."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, names: pl.Series) -> Any:
        """The number of each name."""
        unique = names.unique().drop_nulls().to_list()
        for name in unique:
            self.numbers.setdefault(name, len(self.numbers))
        numbers = [self.numbers[name] for name in unique]
        return names.replace_strict(unique, numbers, default=0, return_dtype=pl.UInt32).to_numpy()

    def texts(self) -> list[str]:
        """The names by their numbers."""
        return list(self.numbers)


class Input(Side):
    """The events that are expected, of the days in question.

    Args:
        folder, rows: see `Side`.
        expectation: says what the events are.
        days: of the project.
        first, last: of them, both included; None for all.

    Attributes:
        names: of the events.
        kinds: of each property.
        earliest, latest: days of them.
        outside: how many were of other days.
        failures: of records that cannot be events.
    """

    def __init__(
        self,
        folder: str,
        rows: int,
        expectation: Expectation,
        days: Days,
        first: datetime.date | None,
        last: datetime.date | None,
    ) -> None:
        super().__init__(folder, "input", rows)
        self.names = Names()
        self.earliest, self.latest = datetime.date.max, datetime.date.min
        self.outside = 0
        self.failures: dict[str, FailureSummary] = {}
        self._expectation = expectation
        self.kinds: dict[str, set[str]] = {}
        self._tables = PlainTables(expectation, self.kinds)
        self._days = days
        self._first, self._last = first or datetime.date.min, last or datetime.date.max

    def take(self, elements: Iterable[Any], limit: int | None) -> None:
        """Takes what a source gives, up to so many records."""
        left = limit
        for part, (known, block) in worked_ahead(_parts(elements), self._prepared):
            if isinstance(part, FailedRecord):
                summarize(self.failures, part)
                count = int(part.row is not None)
            elif known is None or (left is not None and _length(part) >= left):
                count = self._one_by_one(part, block, left)
            else:
                count = self._all(part, block, known)
            if left is not None and (left := left - count) <= 0:
                return

    def _prepared(self, part: Any) -> tuple[Summary | None, bytes]:
        """What can be said of a part on any thread, and the part as it is kept."""
        if isinstance(part, FailedRecord):
            return None, b""
        known = self._tables.summarize(part) if isinstance(part, pa.Table) else None
        return known, packed(part)

    def _all(self, part: pa.Table, block: bytes, known: Summary) -> int:
        """Takes a table; returns how many of its records count towards the limit."""
        found = [(np.flatnonzero(known.sure), self._rows_of(known, known.sure))]
        others = np.flatnonzero(~known.sure).tolist()
        each = zip(others, self._expectation.each(part, others), strict=True) if others else ()
        singly: tuple[Any, Any] = self._singly(each)
        found.append(singly)
        self.add(block, [self._of_days(*rows) for rows in found])
        return len(known.sure)

    def _one_by_one(self, part: pa.Table | RecordBlock, block: bytes, most: int | None) -> int:
        """Takes a part row by row, and only so many."""
        count = 0

        def counted() -> Iterator[tuple[int, Any]]:
            nonlocal count
            for row, each in enumerate(self._expectation.each(part)):
                yield row, each
                count += each is not None and getattr(each, "row", 0) is not None
                if count == most:
                    return

        self.add(block, [self._of_days(*self._singly(counted()))])
        return count

    def _singly(self, each: Iterable[tuple[int, Any]]) -> tuple[list[int], Any]:
        """Rows that were looked at one by one: those that are events."""
        places: list[int] = []
        events: list[Event] = []
        for row, found in each:
            if isinstance(found, FailedRecord):
                summarize(self.failures, found)
            elif found is not None:
                places.append(row)
                events.append(found)
        for event in events:
            for name, value in event.properties.items():
                self.kinds.setdefault(name, set()).update(kind_of((value,)))
        return places, self._rows_of(_summary_of_events(events), slice(None))

    def _rows_of(self, known: Summary, chosen: Any) -> Any:
        rows = _rows_of(known)
        rows["name"] = self.names.of(known.names)
        return rows[chosen]

    def _of_days(self, places: Any, rows: Any) -> tuple[Any, Any]:
        """The rows of the days in question."""
        wanted, earliest, latest = self._days.within(rows["time"], self._first, self._last)
        self.outside += len(rows) - int(wanted.sum())
        self.earliest, self.latest = min(self.earliest, earliest), max(self.latest, latest)
        return np.asarray(places, np.int64)[wanted], rows[wanted]


class Exported(Side):
    """The events that Mixpanel holds.

    Args:
        folder, rows: see `Side`.
        names: of events that count; None for all.
        reading: of lines.
    """

    def __init__(
        self, folder: str, rows: int, names: frozenset[str] | None, reading: Reading
    ) -> None:
        super().__init__(folder, "export", rows)
        self._names = None if names is None else sorted(names)
        self._reading = reading

    def take(self, blocks: Iterable[bytes]) -> int:
        """Takes whole lines, and returns the number of events."""
        count = 0
        for _, (known, block) in worked_ahead(iter(blocks), self._prepared):
            rows = _rows_of(known)
            places = np.arange(len(rows))
            if self._names is not None:
                wanted = known.names.is_in(self._names).to_numpy()
                places, rows = places[wanted], rows[wanted]
            self.add(block, [(places, rows)])
            count += len(rows)
        return count

    def _prepared(self, block: bytes) -> tuple[Summary, bytes]:
        return self._reading.summary(block), packed(block)

    def events(self, number: int, rows: Sequence[int]) -> Iterator[Event]:
        """Some events of a block."""
        lines = self._reading.lines(self.blocks.read(number))
        return (exported_event(self._reading.event(lines[row])) for row in rows)


def _rows_of(known: Summary) -> Any:
    rows = np.zeros(len(known.sure), ROW)
    rows["id"] = hash_of_ids(known.ids.fill_null(""))
    rows["time"] = known.times
    rows["content"] = np.where(known.sure, np.maximum(known.contents, np.uint64(1)), 0)
    return rows


def _summary_of_events(events: Sequence[Event]) -> Summary:
    """The summary of events of the input."""
    names = pl.Series([event.event for event in events], dtype=pl.String)
    times = np.array([event.time for event in events], np.int64)
    users = pl.Series([event.distinct_id for event in events], dtype=pl.String)
    ids = pl.Series([event.insert_id for event in events], dtype=pl.String)
    properties = hashes_of_own([event.properties for event in events], shortened=True)
    sure = np.array([not event.added for event in events], np.bool_)
    return Summary(ids, times, names, contents_of(names, times, users, properties), sure)


def _parts(elements: Iterable[Any]) -> Iterator[Any]:
    """Slices of tables, and all other elements unchanged."""
    for element in elements:
        if not isinstance(element, pa.Table):
            yield element
        else:
            for first in range(0, len(element), _ROWS):
                yield _slice(element, first)


def _slice(table: pa.Table, first: int) -> pa.Table:
    """A slice of a table, with its origin."""
    part, origin = table.slice(first, _ROWS), TableOrigin.of(table)
    return part if origin is None else origin.at(first).attach(part)


def _length(part: pa.Table | RecordBlock) -> int:
    return len(part.records) if isinstance(part, RecordBlock) else len(part)
