"""Which rows of a source are read: what a file's statistics rule out is skipped, and a limit ends
the reading."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pyarrow as pa

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.partitions import partition_keys
from mixpanel_sink.read.source import Element, Format, Unit, first_rows, rows_in, units_of
from mixpanel_sink.results import FailedRecord

if TYPE_CHECKING:
    from mixpanel_sink.encode.blocks import Block

_STEP_ROWS = 2000


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which rows are wanted.

    Args:
        mapping: whose filter and condition tell; None for all. What only reading can tell is left
            to the write.
        limit: so many records at most: the first ones that become events or failed records.
        statistics: whether those of files may rule rows out, and not their partitions alone.

    Raises:
        SettingError: for a limit below 1.
    """

    mapping: Any = None
    limit: int | None = None
    statistics: bool = True

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SettingError(f"limit is {self.limit}; it must be at least 1.")

    def wants(self, path: str) -> bool:
        """Whether a file may hold wanted rows, by the partition that it is in."""
        if not self._has_conditions() or not (keys := partition_keys(path)):
            return True
        from mixpanel_sink.read.pruning import wants_partition

        return wants_partition(self.mapping, keys)

    def units_of(self, format: Format, path: str) -> list[Unit]:
        """A file's units; none of a file without wanted rows, which is not opened.

        Raises:
            InputError: if it cannot be read.
        """
        return units_of(format, path) if self.wants(path) else []

    def units(self, format: Format, path: str, units: list[Unit]) -> list[Unit]:
        """The units of a file that may hold wanted rows."""
        asked = self.statistics and units and self._has_conditions()
        if asked and isinstance(format, Prunes):
            return format.prune(path, units, self.mapping)
        return units

    def cut(self, elements: Iterable[Element]) -> Iterator[Element]:
        """The elements up to the limit."""
        if self.limit is None:
            yield from elements
            return
        left = self.limit
        for element in elements:
            taken, count = _first_counted(element, left, self.mapping)
            if taken is not None:
                yield taken
            left -= count
            if left <= 0:
                return

    def _has_conditions(self) -> bool:
        shape = getattr(self.mapping, "shape", None)
        filtered = getattr(self.mapping, "filter", None) is not None
        return filtered or getattr(shape, "where", None) is not None


@runtime_checkable
class Prunes(Protocol):
    """A format whose files keep statistics of their parts."""

    def prune(self, path: str, units: list[Unit], mapping: Any) -> list[Unit]:
        """Without the units of which the statistics say that the mapping leaves out all rows."""
        ...


def skipped(all_units: Sequence[Unit], wanted: Sequence[Unit]) -> tuple[int, int]:
    """How many rows, and stored bytes, pruning has spared."""
    rows, size = (
        sum(getattr(unit, name) or 0 for unit in all_units)
        - sum(getattr(unit, name) or 0 for unit in wanted)
        for name in ("rows", "size")
    )
    return rows, size


def _first_counted(element: Element, most: int, mapping: Any) -> tuple[Element | None, int]:
    """The element up to its last row that may be taken, and how many of its rows count."""
    if isinstance(element, FailedRecord):
        return element, rows_in(element)
    from mixpanel_sink.encode.filtering import counted_rows  # which imports Polars

    count = 0
    for start in range(0, rows_in(element), _STEP_ROWS):
        rows = counted_rows(_block(element, start), mapping)
        if count + len(rows) >= most:
            return first_rows(element, start + rows[most - count - 1] + 1), most
        count += len(rows)
    return element, count


def _block(element: pa.Table | RecordBlock, start: int) -> Block:
    from mixpanel_sink.encode.blocks import RecordsBlock, TableBlock

    if isinstance(element, RecordBlock):
        part = element.records[start : start + _STEP_ROWS]
        return RecordsBlock.of_block(RecordBlock(part, None), Run(len(part), 0, ()))
    part = element.slice(start, _STEP_ROWS)
    return TableBlock.of(part, Run(len(part), 0, ()))
