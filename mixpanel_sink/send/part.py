"""A part of a chunk on its way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mixpanel_sink.batch.chunk import EventChunk


@dataclasses.dataclass(frozen=True)
class Part:
    """A whole chunk at first; later halves of it, or what is left of it.

    Attributes:
        chunk: its records.
        started: when the whole chunk was begun, in seconds since 1970.
        waits: seconds to wait before each retry of this part.
        attempts: requests that carried its records.
        unreceipted: those of them that no receipt counts yet.
        status: of the last response; 0 if there was none.
        asked_again: whether it was sent again because a response was unclear.
    """

    chunk: EventChunk
    started: float
    waits: Iterator[float] = dataclasses.field(default=iter(()), repr=False, compare=False)
    attempts: int = 0
    unreceipted: int = 0
    status: int = 0
    asked_again: bool = False

    def posted(self, status: int) -> Part:
        """The part after one more request."""
        return dataclasses.replace(
            self, attempts=self.attempts + 1, unreceipted=self.unreceipted + 1, status=status
        )

    def without(self, indexes: frozenset[int], waits: Iterator[float]) -> Part | None:
        """The records that are not at these places, if any. A receipt counts the requests so
        far."""
        rest = [index for index in range(self.chunk.count) if index not in indexes]
        if not rest:
            return None
        chunk = self.chunk.select(rest)
        return dataclasses.replace(self, chunk=chunk, waits=waits, unreceipted=0)

    def halves(self, waits: Iterator[float], others: Iterator[float]) -> tuple[Part, Part]:
        """Two parts of about half its bytes each; the first one's receipt counts its requests."""
        first, second = self.chunk.halves()
        return (
            dataclasses.replace(self, chunk=first, waits=waits),
            dataclasses.replace(self, chunk=second, waits=others, unreceipted=0),
        )
