"""`ChunkBuilder` fills chunks with events, up to the limits of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EMPTY_BYTES, SEPARATOR, EventChunk
from mixpanel_sink.batch.runs import Run, singles


class ChunkBuilder:
    """Fills chunks with events to the limits, in order. Not thread-safe.

    With `group_of`, records of one group (a profile's updates) go out together where they fit
    into one request.
    """

    def __init__(self, limits: Limits, group_of: Callable[[bytes], str] | None = None) -> None:
        self._limits = limits
        self._group_of = group_of
        self._events: list[bytes] = []
        self._runs: list[Run] = []
        self._bytes = EMPTY_BYTES

    def add(self, event: bytes, origin: Run) -> EventChunk | None:
        """Adds one event; returns a chunk when one is full."""
        if self._group_of is not None:
            return self._add_to_group(event, origin, self._group_of)
        full = None
        size = len(event) + len(SEPARATOR)
        if self._events and self._bytes + size > self._limits.batch_bytes:
            full = self.flush()
        self._events.append(event)
        self._runs.append(origin)
        self._bytes += size
        if len(self._events) >= self._limits.batch_events:
            full = self.flush()
        return full

    def _add_to_group(
        self, event: bytes, origin: Run, group_of: Callable[[bytes], str]
    ) -> EventChunk | None:
        full = None
        limits, size = self._limits, len(event) + len(SEPARATOR)
        # Only now that the next one is here: it may belong to a group that waits.
        if len(self._events) >= limits.batch_events or (
            self._events and self._bytes + size > limits.batch_bytes
        ):
            group = group_of(event)
            together = [group_of(other) == group for other in self._events]
            taken = sum(
                len(other) + len(SEPARATOR)
                for other, along in zip(self._events, together, strict=True)
                if along
            )
            if all(together) or EMPTY_BYTES + taken + size > limits.batch_bytes:
                # More than fits into a request: in order, but not together.
                together, taken = [False] * len(together), 0
            pairs = list(zip(self._events, self._runs, together, strict=True))
            self._events = [e for e, _, along in pairs if not along]
            self._runs = [run for _, run, along in pairs if not along]
            full = self.flush()
            self._events = [e for e, _, along in pairs if along]
            self._runs = [run for _, run, along in pairs if along]
            self._bytes += taken
        self._events.append(event)
        self._runs.append(origin)
        self._bytes += size
        return full

    def flush(self) -> EventChunk | None:
        """The chunk of what is left; None if nothing is."""
        if not self._events:
            return None
        chunk = EventChunk.of(self._events, self._runs)
        self._events, self._runs = [], []
        self._bytes = EMPTY_BYTES
        return chunk


def merge(
    chunks: Iterable[EventChunk],
    limits: Limits,
    group_of: Callable[[bytes], str] | None = None,
) -> tuple[list[EventChunk], list[EventChunk]]:
    """Fills requests from partial chunks; `group_of` as in `ChunkBuilder`.

    Returns:
        The chunks that are full, and what is left: one chunk or none.
    """
    builder = ChunkBuilder(limits, group_of)
    full = []
    for chunk in chunks:
        for event, origin in zip(chunk.events(), singles(chunk.runs), strict=True):
            if (done := builder.add(event, origin)) is not None:
                full.append(done)
    rest = builder.flush()
    return full, [] if rest is None else [rest]
