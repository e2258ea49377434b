"""Chunks for the tests of the sending side."""

from __future__ import annotations

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run


def chunk_of(*records: bytes) -> EventChunk:
    """A chunk of these JSON texts."""
    return EventChunk.of(list(records), [Run(len(records), 0, ("",))])
