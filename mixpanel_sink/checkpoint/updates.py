"""The checkpoint of profile updates, which must not be sent twice: a log with intents.

Sending `$add`, `$append` or `$remove` again changes the profile again, and no id tells. So
an update is entered before it is sent, and again once its end is known. One that was only
begun when a process was killed is doubtful: it is unknown whether Mixpanel has applied it.

Other tries may make other chunks of the same updates. So each update counts by itself: by its
file, its row and its content. Those whose file and row are not known are always sent. Lines:

    {"begun": TOKEN, "keys": [64-bit numbers as base64]}
    {"ended": TOKEN, "again": [places], "failed": [[place, [FailedRecord's values]], ...]}

The updates at the places `again` failed for a transient reason and were not applied.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixpanel_sink.api.endpoints import ENDPOINTS
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.checkpoint.journal import Journal
from mixpanel_sink.checkpoint.log import REFRESH_SECONDS, TRANSIENT_REASONS, Lookup
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.checkpoint import Checkpoint


class KeySet:
    """A set of 64-bit numbers at eight bytes each, in a few sorted arrays, each at least twice as
    large as the next."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray[Any, Any]] = []

    def add(self, keys: np.ndarray[Any, Any]) -> None:
        """Adds an array of keys."""
        last = np.unique(keys[~self.find(keys)])
        while self._parts and len(self._parts[-1]) < 2 * len(last):
            last = np.concatenate([self._parts.pop(), last])
            last.sort(kind="stable")
        if len(last):
            self._parts.append(last)

    def find(self, keys: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Which of an array are in it, as an array of booleans."""
        found = np.zeros(len(keys), bool)
        for part in self._parts:
            places = np.searchsorted(part, keys)
            places[places == len(part)] = 0
            found |= part[places] == keys
        return found


class UpdateLog:
    """The log of updates, by rows. Thread-safe; a `log.Log`.

    Args:
        checkpoint: where.
        owner: whose; it is entered if the checkpoint is new.

    Raises:
        CheckpointError: if the checkpoint belongs to something else, or cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, owner: Owner) -> None:
        self._endpoint = ENDPOINTS[owner.endpoint]
        self._journal = Journal(checkpoint.path, owner)
        self._lock = threading.Lock()
        self._done = KeySet()
        self._failed: dict[int, FailedRecord] = {}
        self._open: dict[str, np.ndarray[Any, Any]] = {}
        self._read_at = 0.0
        self._refresh()

    def lookup(self, chunk: EventChunk, repeat: bool = False) -> Lookup:
        """Each update by itself: its end is known, or it is doubtful, or it is to be sent."""
        keys = _keys(chunk)
        if keys is None:
            return Lookup(chunk)
        with self._lock:
            if time.monotonic() - self._read_at > REFRESH_SECONDS:
                self._refresh()
            done = self._done.find(keys)
            begun = np.isin(keys, np.concatenate([np.empty(0, np.uint64), *self._open.values()]))
            failed = [f for key in keys[done].tolist() if (f := self._failed.get(key))]
        if not done.any() and not begun.any():
            return Lookup(chunk)
        known, doubtful, rest = [], [], []
        for index, record in enumerate(chunk.events()):
            if done[index]:
                known.append(index)
            elif begun[index] and not repeat and not self._endpoint.repeatable(record):
                doubtful.append(index)
            else:
                rest.append(index)
        return Lookup(
            rest=_select(chunk, rest),
            known=_select(chunk, known),
            accepted=len(known) - len(failed),
            failed=tuple(failed),
            doubtful=_select(chunk, doubtful),
        )

    def begin(self, chunk: EventChunk) -> str | None:
        """Logs what is about to be sent, and waits until that is written if it matters."""
        keys = _keys(chunk)
        if keys is None:
            return None
        token = uuid.uuid4().hex
        with self._lock:
            self._open[token] = keys
        line = {"begun": token, "keys": base64.b64encode(keys.tobytes()).decode()}
        number = self._journal.write(line)
        if not all(map(self._endpoint.repeatable, chunk.events())):
            self._journal.wait(number)
        return token

    def end(
        self,
        begun: str | None,
        chunk: EventChunk,
        failed: Sequence[FailedRecord],
        left: Sequence[EventChunk] = (),
    ) -> None:
        """Logs what became of a chunk."""
        if begun is None:
            return
        places = {place: index for index, place in enumerate(_places(chunk))}
        again = {places[place] for part in left for place in _places(part)}
        final = []
        for failure in failed:
            index = places[failure.file or "", -1 if failure.row is None else failure.row]
            if failure.reason in TRANSIENT_REASONS:
                again.add(index)
            else:
                final.append((index, tuple(failure)))
        line = {"ended": begun, "again": sorted(again), "failed": final}
        with self._lock:
            self._take(line)
        self._journal.write(line)

    def has_lines_of(self, path: str) -> bool:
        """Whether it is in this folder, and something was logged, be it written yet or not."""
        return self._journal.has_lines_of(path)

    def flush(self) -> None:
        """Waits until everything that was logged is written."""
        self._journal.wait()

    def _take(self, line: dict[str, Any]) -> None:
        if (token := line.get("begun")) is not None:
            self._open[token] = np.frombuffer(base64.b64decode(line["keys"]), np.uint64)
            return
        keys = self._open.pop(line["ended"])
        done = np.ones(len(keys), bool)
        done[line["again"]] = False
        self._done.add(keys[done])
        for index, values in line["failed"]:
            self._failed[int(keys[index])] = FailedRecord(*values)

    def _refresh(self) -> None:
        self._read_at = time.monotonic()
        try:
            for line in self._journal.read():
                self._take(line)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise self._journal.damaged(error) from None


def _keys(chunk: EventChunk) -> np.ndarray[Any, Any] | None:
    """A number for each update; None if its file or row is unknown."""
    if any(run.row < 0 for run in chunk.runs):
        return None
    digests = (
        hashlib.blake2b(f"{file}\0{row}\0".encode() + record, digest_size=8).digest()
        for (file, row), record in zip(_places(chunk), chunk.events(), strict=True)
    )
    return np.frombuffer(b"".join(digests), np.uint64)


def _places(chunk: EventChunk) -> list[tuple[str, int]]:
    """The file and the row of each update."""
    return [(run.file, run.row + i) for run in chunk.runs for i in range(run.count)]


def _select(chunk: EventChunk, indexes: list[int]) -> EventChunk | None:
    if len(indexes) == chunk.count:
        return chunk
    return chunk.select(indexes) if indexes else None
