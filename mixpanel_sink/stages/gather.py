"""Single records and small tables become blocks, some requests' worth each. No Beam here."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from mixpanel_sink.batch.origin import memory_bytes
from mixpanel_sink.batch.runs import Run, cut_runs
from mixpanel_sink.encode.blocks import JoinedTables, RecordsBlock, TableBlock
from mixpanel_sink.encode.records import LARGE, STRIDE, weigh

BATCH_REQUESTS = 5
"""How many requests' records are encoded together, at most ..."""
BATCH_BYTES = 8_000_000
"""... and how much JSON. Each block costs some milliseconds, whatever its size."""


class Gatherer:
    """Collects records of one kind until they are worth encoding, or weigh enough.

    Args:
        kind: of the blocks.
        batch_events: of a request.
    """

    def __init__(self, kind: type[RecordsBlock], batch_events: int) -> None:
        self._kind = kind
        self._batch_events = batch_events
        self._most = BATCH_REQUESTS * batch_events
        self._start()

    def _start(self) -> None:
        self._key: str | None = None
        self._records: list[Any] = []
        self._runs: list[Run] = []
        self._weight = self._weighed = 0
        self._next_look = 1
        # The last run, while it grows: a Run for each record would take as long as encoding it.
        self._count = self._timestamp = 0
        self._windows: tuple[str, ...] = ()

    def add(self, record: Any, timestamp: int, windows: tuple[str, ...]) -> bool:
        """Takes one record that comes from no file; returns whether it is time to `take` blocks."""
        if timestamp != self._timestamp or windows != self._windows:
            self._end_run()
            self._timestamp, self._windows = timestamp, windows
        self._count += 1
        self._records.append(record)
        return len(self._records) >= self._next_look and self._is_full()

    def extend(self, block: RecordsBlock) -> Iterator[RecordsBlock]:
        """Takes a block's records, and yields blocks that are large enough."""
        if self._records and (self._key != block.key or self._kind is not type(block)):
            yield from self.take(True)
        self._kind, self._key = type(block), block.key
        self._end_run()
        self._records += block.given
        self._runs += block.runs
        if block.weight and self._weighed + len(block) == len(self._records):
            self._weight += block.weight
            self._weighed = len(self._records)
        if self._is_full():
            yield from self.take()

    def take(self, everything: bool = False) -> Iterator[RecordsBlock]:
        """Yields blocks of whole requests once there are enough records; with `everything`, also
        the rest."""
        self._end_run()
        records, runs, key, left = self._records, self._runs, self._key, self._weight
        self._start()
        at = 0
        while at < len(records) and (
            everything or left >= BATCH_BYTES or len(records) - at >= self._most
        ):
            count = min(self._most, len(records) - at)
            weight = left * count // (len(records) - at)
            if left > BATCH_BYTES:
                count, weight = weigh(records[at : at + count], BATCH_BYTES)
            # Whole requests leave no rest for the next block.
            if self._batch_events < count < len(records) - at:
                count -= count % self._batch_events
            part = list(cut_runs(runs, at, at + count))
            block = self._kind.of(records[at : at + count], part, key)
            yield dataclasses.replace(block, weight=weight)
            left -= weight
            at += count
        if at < len(records):
            self._key, self._records = key, records[at:]
            self._runs = list(cut_runs(runs, at, len(records)))
            self._is_full()

    def _end_run(self) -> None:
        if self._count:
            self._runs.append(Run(self._count, self._timestamp, self._windows))
            self._count = 0

    def _is_full(self) -> bool:
        """Weighs the records that came since the last call; whether they are enough for a block."""
        _, weight = weigh(self._records, start=self._weighed)
        self._weight += weight
        grown, self._weighed = len(self._records) - self._weighed, len(self._records)
        step = 1 if weight > LARGE * grown else STRIDE
        self._next_look = min(len(self._records) + step, self._most)
        return len(self._records) >= self._most or self._weight >= BATCH_BYTES


class TableGatherer:
    """Collects small tables of one schema, such as those of many small files, until they are worth
    encoding.

    Args:
        batch_events: of a request.
    """

    def __init__(self, batch_events: int) -> None:
        self._most = BATCH_REQUESTS * batch_events
        self._start()

    def _start(self) -> None:
        self._blocks: list[TableBlock] = []
        self._keys: dict[str, str | None] = {}
        self._rows = self._bytes = 0

    def add(self, block: TableBlock) -> Iterator[TableBlock]:
        """Takes a block, and yields those that are large enough."""
        if not self._fits(block):
            yield from self.take()
        self._blocks.append(block)
        self._keys.update((run.file, block.key) for run in block.runs)
        self._rows += len(block)
        self._bytes += memory_bytes(block.table)
        if self._rows >= self._most or self._bytes >= BATCH_BYTES:
            yield from self.take()

    def take(self) -> Iterator[TableBlock]:
        """Yields the rest."""
        blocks = self._blocks
        self._start()
        if blocks:
            yield blocks[0] if len(blocks) == 1 else JoinedTables.join(blocks)

    def _fits(self, block: TableBlock) -> bool:
        """Whether it may be joined with the blocks before."""
        if not self._blocks:
            return True
        first = self._blocks[0]
        return (
            len(block) < self._most
            and block.table.schema.equals(first.table.schema)
            and (block.key is None) == (first.key is None)
            and all(self._keys.get(run.file, block.key) == block.key for run in block.runs)
            and not _has_dictionary(block)
        )


def _has_dictionary(block: TableBlock) -> bool:
    """Whether a column has a dictionary, of which each table has its own."""
    return any(pa.types.is_dictionary(kind) for kind in block.table.schema.types)
