"""The interface of a checkpoint's log, as the sending side uses it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.results import FailedRecord

REFRESH_SECONDS = 30.0
"""How old the knowledge of what other processes wrote may be."""
TRANSIENT_REASONS = frozenset({"gave_up", "project_refused"})
"""Reasons of failures that may be accepted when they are sent again."""


@dataclasses.dataclass(frozen=True)
class Lookup:
    """What a log knows of a chunk.

    Attributes:
        rest: what is to be sent; None if nothing is left.
        known: the records whose end is known; None if there are none.
        accepted: how many of `known` Mixpanel holds.
        failed: the others of `known`.
        doubtful: updates that may have been applied, and would be applied once more.
    """

    rest: EventChunk | None
    known: EventChunk | None = None
    accepted: int = 0
    failed: tuple[FailedRecord, ...] = ()
    doubtful: EventChunk | None = None


class Log(Protocol):
    """The log of one checkpoint. Thread-safe."""

    def lookup(self, chunk: EventChunk, repeat: bool = False) -> Lookup:
        """What became of a chunk's records before; with `repeat` nothing is doubtful."""
        ...

    def begin(self, chunk: EventChunk) -> Any:
        """The chunk is about to be sent. Returns what `end` needs."""
        ...

    def end(
        self,
        begun: Any,
        chunk: EventChunk,
        failed: Sequence[FailedRecord],
        left: Sequence[EventChunk] = (),
    ) -> None:
        """The chunk is settled, but for what is `left` of it, which was not taken.

        Raises:
            CheckpointError: if an earlier entry could not be written.
        """
        ...

    def flush(self) -> None:
        """Waits until everything that was logged is written.

        Raises:
            CheckpointError: if it could not be.
        """
        ...
