"""The log of events, by chunks: sending one again is harmless, but costs a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.checkpoint.counts import path_key
from mixpanel_sink.checkpoint.journal import Journal
from mixpanel_sink.checkpoint.log import REFRESH_SECONDS, TRANSIENT_REASONS, Lookup
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.checkpoint import Checkpoint


class EventLog:
    """The log of events. Thread-safe; a `log.Log`.

    A line is [identity, accepted, failed, files]: sending a chunk again is harmless, so that it is
    only entered once it is settled. Files are numbers (`counts.path_key`), for `compact`.

    Args:
        checkpoint: where.
        owner: of the checkpoint; written into it if it is new.
        mark: what the events of this run carry and those of another run of the same job do not.

    Raises:
        CheckpointError: if the checkpoint belongs to something else, or cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, owner: Owner, mark: str = "") -> None:
        self._mark = mark
        self._journal = Journal(checkpoint.path, owner)
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[int, tuple[FailedRecord, ...]]] = {}
        self._read_at = 0.0
        self._refresh()

    def lookup(self, chunk: EventChunk, repeat: bool = False) -> Lookup:
        """A chunk is known completely or not at all."""
        del repeat
        identity = chunk.identity(self._mark)
        with self._lock:
            entry = self._entries.get(identity)
            if entry is None and time.monotonic() - self._read_at > REFRESH_SECONDS:
                self._refresh()
                entry = self._entries.get(identity)
        return Lookup(chunk) if entry is None else Lookup(None, chunk, *entry)

    def begin(self, chunk: EventChunk) -> str:
        """The chunk's name in the log."""
        return chunk.identity(self._mark)

    def end(
        self,
        begun: str,
        chunk: EventChunk,
        failed: Sequence[FailedRecord],
        left: Sequence[EventChunk] = (),
    ) -> None:
        """Logs a settled chunk.

        Not one of which something is left, or failed for a transient reason: another run tries
        it again.
        """
        if left or any(failure.reason in TRANSIENT_REASONS for failure in failed):
            return
        accepted = chunk.count - len(failed)
        with self._lock:
            self._entries[begun] = accepted, tuple(failed)
        files = [path_key(file) for file in dict.fromkeys(run.file for run in chunk.runs) if file]
        self._journal.write([begun, accepted, [tuple(failure) for failure in failed], files])

    def has_lines_of(self, path: str) -> bool:
        """Whether it is in this folder, and something was logged, be it written yet or not."""
        return self._journal.has_lines_of(path)

    def flush(self) -> None:
        """Waits until everything that was logged is written."""
        self._journal.wait()

    def _refresh(self) -> None:
        """Reads what has been written since the last time, by others too."""
        self._read_at = time.monotonic()
        try:
            for identity, accepted, failures, *_ in self._journal.read():
                failed = tuple(FailedRecord(*values) for values in failures)
                self._entries[identity] = accepted, failed
        except (ValueError, TypeError) as error:
            raise self._journal.damaged(error) from None
