"""The checkpoint: a log of accepted chunks, outside the runner.

A runner that tries a bundle again, or a job that is started again after a kill, makes the
same chunks again. Those that the log knows are not sent: at 60 requests an hour each
costs a minute. What the log does not know is sent, and Mixpanel's deduplication guards it.

A checkpoint is a folder; `journal.py` says what it looks like. Its header says what it belongs
to (input, mapping, endpoint, projects), and its lines what has become of which chunk. Updates of
profiles, which must not be sent twice, have a log of their own: `update_log.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from blake3 import blake3

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import ENDPOINTS, Endpoint
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.checkpoint.journal import Journal
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.project import Target

REFRESH_SECONDS = 30.0
"""How old the knowledge of what other processes wrote may be."""
PASSING = frozenset({"gave_up", "project_refused"})
"""Reasons why a record failed for now: sent again it may be taken."""


def fingerprint(files: Iterable[tuple[str, int]]) -> str:
    """What stands for an input: the paths and sizes of its files."""
    listed = sorted((str(path), int(size)) for path, size in files)
    return blake3(orjson.dumps(listed)).hexdigest()[:32]


@dataclasses.dataclass(frozen=True)
class Owner:
    """What a checkpoint belongs to. The values are hashes, or names without secrets."""

    input: str
    mapping: str
    endpoint: str
    projects: str

    @property
    def mark(self) -> str:
        """All of it in 16 hex digits."""
        return blake3(orjson.dumps(dataclasses.astuple(self))).hexdigest()[:16]

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        mapping: Any,
        endpoint: Endpoint,
        projects: Iterable[tuple[Target, ResolvedCredentials]],
    ) -> Owner:
        """Of one write, with its secrets resolved: another project's secret is another owner."""
        plain = orjson.dumps(_plain(mapping), None, orjson.OPT_SORT_KEYS)
        named = [
            [target.name, target.destination.url, _project_mark(checkpoint, target, credentials)]
            for target, credentials in projects
        ]
        return cls(
            checkpoint.input,
            blake3(plain).hexdigest()[:32],
            endpoint.name,
            blake3(orjson.dumps(sorted(named))).hexdigest()[:32],
        )


def _plain(value: Any) -> Any:
    """A setting as JSON values. Classes are named: some differ in nothing else."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return [type(value).__name__, fields]
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | None) else repr(value)


def _project_mark(checkpoint: Checkpoint, target: Target, credentials: ResolvedCredentials) -> str:
    """Tells projects apart without giving away the secret: a slow, salted hash."""
    if credentials.project_id is not None:
        return credentials.project_id
    salt = hashlib.sha256(f"{checkpoint.path}\0{target.destination.url}".encode()).digest()
    known = (credentials.token or credentials.user).encode()
    return hashlib.scrypt(known, salt=salt, n=2**12, r=8, p=1, dklen=16).hex()


@dataclasses.dataclass(frozen=True)
class Recall:
    """What a log knows of a chunk.

    Attributes:
        known: the records whose end is known; None if there are none.
        accepted: how many of `known` Mixpanel holds.
        failed: the others of `known`.
        doubtful: updates that may have been applied, and would be applied once more.
        rest: what is to be sent; None if nothing is left.
    """

    rest: EventChunk | None
    known: EventChunk | None = None
    accepted: int = 0
    failed: tuple[FailedRecord, ...] = ()
    doubtful: EventChunk | None = None


class Log(Protocol):
    """What the sending side needs. Thread-safe."""

    def recall(self, chunk: EventChunk, repeat: bool = False) -> Recall:
        """What became of a chunk's records before; with `repeat` nothing is doubtful."""
        ...

    def begin(self, chunk: EventChunk) -> Any:
        """The chunk is about to be sent. Gives what `end` needs."""
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
        """Waits until everything that was entered is written.

        Raises:
            CheckpointError: if it could not be.
        """
        ...


class AcceptedLog:
    """The log of events, by chunks. Thread-safe.

    A line is [identity, accepted, failed]: sending a chunk again is harmless, so that it is
    only entered once it is settled.

    Args:
        checkpoint: where.
        owner: whose; it is entered if the checkpoint is new.

    Raises:
        CheckpointError: if the checkpoint belongs to something else, or cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, owner: Owner) -> None:
        self._journal = Journal(checkpoint.path, dataclasses.asdict(owner), owner.mark)
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[int, tuple[FailedRecord, ...]]] = {}
        self._read_at = 0.0
        self._refresh()

    def recall(self, chunk: EventChunk, repeat: bool = False) -> Recall:
        """All of a chunk or nothing is known."""
        del repeat
        identity = chunk.identity()
        with self._lock:
            entry = self._entries.get(identity)
            if entry is None and time.monotonic() - self._read_at > REFRESH_SECONDS:
                self._refresh()
                entry = self._entries.get(identity)
        return Recall(chunk) if entry is None else Recall(None, chunk, *entry)

    def begin(self, chunk: EventChunk) -> str:
        """Its name in the log."""
        return chunk.identity()

    def end(
        self,
        begun: str,
        chunk: EventChunk,
        failed: Sequence[FailedRecord],
        left: Sequence[EventChunk] = (),
    ) -> None:
        """Enters a settled chunk.

        Not one of which something is left, or has failed for now: another run shall try it
        again.
        """
        if left or any(failure.reason in PASSING for failure in failed):
            return
        accepted = chunk.count - len(failed)
        with self._lock:
            self._entries[begun] = accepted, tuple(failed)
        self._journal.write([begun, accepted, [tuple(failure) for failure in failed]])

    def flush(self) -> None:
        """Waits until everything that was entered is written."""
        self._journal.wait()

    def _refresh(self) -> None:
        """Takes in what has been written since the last look, by others too."""
        self._read_at = time.monotonic()
        try:
            for identity, accepted, failures in self._journal.read():
                failed = tuple(FailedRecord(*values) for values in failures)
                self._entries[identity] = accepted, failed
        except (ValueError, TypeError) as error:
            raise self._journal.damaged(error) from None


class LogRegistry:
    """The logs of this process, so that they outlive bundles and DoFn instances."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[tuple[str, Owner], Log] = {}

    def get(self, checkpoint: Checkpoint, owner: Owner) -> Log:
        """The log of that checkpoint, opened if it is not yet.

        Raises:
            CheckpointError: if it belongs to something else, or cannot be read.
        """
        with self._lock:
            key = (checkpoint.path, owner)
            if key not in self._logs:
                self._logs[key] = _open(checkpoint, owner)
            return self._logs[key]

    def clear(self) -> None:
        """Forgets all logs, as a new process would."""
        with self._lock:
            self._logs.clear()


def _open(checkpoint: Checkpoint, owner: Owner) -> Log:
    if ENDPOINTS[owner.endpoint].repeats_safely:
        return AcceptedLog(checkpoint, owner)
    from mixpanel_sink.checkpoint.updates import UpdateLog

    return UpdateLog(checkpoint, owner)


LOGS = LogRegistry()


def open_log(
    checkpoint: Checkpoint,
    mapping: Any,
    endpoint: Endpoint,
    projects: Iterable[tuple[Target, ResolvedCredentials]],
) -> Log:
    """This process's log of a checkpoint.

    Raises:
        CheckpointError: if it belongs to another job, or cannot be used.
    """
    return LOGS.get(checkpoint, Owner.of(checkpoint, mapping, endpoint, projects))
