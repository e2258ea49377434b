"""What waits in a lane's state: partial chunks, and in a stream what the quota holds back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NamedTuple

from apache_beam.coders import BytesCoder, TupleCoder, VarIntCoder
from apache_beam.transforms.userstate import BagStateSpec, ReadModifyWriteStateSpec
from apache_beam.utils.timestamp import MAX_TIMESTAMP

from mixpanel_sink.batch.chunk import EventChunk

TAILS = BagStateSpec("tails", BytesCoder())
"""The chunks, as bytes."""
SIZE = ReadModifyWriteStateSpec("size", TupleCoder((VarIntCoder(),) * 3))
"""Their `Size`; unset where no chunk waits."""
LANE = ReadModifyWriteStateSpec("lane", BytesCoder())
"""What other workers must know of the quota: `Lane.snapshot`."""


class Size(NamedTuple):
    """How much waits: events, bytes of their JSON, and the earliest timestamp in microseconds."""

    events: int = 0
    raw_bytes: int = 0
    earliest: int = MAX_TIMESTAMP.micros

    def plus(self, chunk: EventChunk) -> Size:
        """The size with one more chunk."""
        return Size(
            self.events + chunk.count,
            self.raw_bytes + chunk.raw_bytes,
            min(self.earliest, chunk.earliest),
        )


@dataclasses.dataclass(frozen=True)
class LaneState:
    """The state of one key, during one call by Beam.

    Attributes:
        key: names the lane; see `lane_of`.
        tails, size, lane: what Beam gives for `TAILS`, `SIZE` and `LANE`.
    """

    key: str
    tails: Any
    size: Any
    lane: Any

    def waits(self) -> bool:
        """Whether a chunk waits."""
        return self.size.read() is not None

    def how_much(self) -> Size:
        """How much waits."""
        return Size(*(self.size.read() or ()))

    def keep(self, chunk: EventChunk, data: bytes | None = None) -> None:
        """Adds a chunk to those that wait.

        Args:
            data: the chunk as bytes, where they are known.
        """
        size = self.how_much().plus(chunk)
        self.tails.add(chunk.to_bytes() if data is None else data)
        self.size.write(tuple(size))

    def take(self) -> list[EventChunk]:
        """Removes and returns everything that waits."""
        chunks = [EventChunk.from_bytes(tail) for tail in self.tails.read()]
        self.tails.clear()
        self.size.clear()
        return chunks

    def keep_all(self, chunks: Iterable[EventChunk]) -> None:
        """Lets these chunks wait, in this order."""
        for chunk in chunks:
            self.keep(chunk)
