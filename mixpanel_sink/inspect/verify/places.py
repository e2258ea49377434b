"""Where a record of the input lies, and some records of many."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.results import FailedRecord


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a record lies; `key` is empty where position ids cannot be made."""

    file: str = ""
    key: str = ""
    row: int = -1

    def failed(self, refused: Refused) -> FailedRecord:
        """The record there, which cannot be an event."""
        file, row = (self.file, self.row) if self.file else (None, None)
        reason, message = refused.reason, refused.message
        return FailedRecord(reason, message, field=refused.field, file=file, row=row)


def places_of(origin: TableOrigin | None, rows: Iterable[int]) -> Iterator[Place]:
    """The places of rows that are counted from an origin."""
    for row in rows:
        yield Place(origin.file, origin.key, origin.row(row)) if origin else Place()


def some_of(block: RecordBlock, rows: Sequence[int]) -> RecordBlock:
    """Some records of a block."""
    offsets = rows if block.offsets is None else [block.offsets[row] for row in rows]
    return RecordBlock([block.records[row] for row in rows], block.origin, offsets)


def chosen(made: Iterable[Any], rows: Sequence[int]) -> Iterator[Any]:
    """The items at these positions."""
    wanted = frozenset(rows)
    return (each for place, each in enumerate(made) if place in wanted)
