"""The checkpoint: a log of accepted chunks, outside the runner.

A runner that tries a bundle again, or a job that is started again after a kill, makes the
same chunks again. Those that the log knows are not sent: at 60 requests an hour each
costs a minute. What the log does not know is sent, and Mixpanel's deduplication guards it.

A checkpoint is a folder, local or of any file system that Beam knows:

    checkpoint.json          what it belongs to: input, mapping, endpoint, projects
    accepted-ID[-N].jsonl    a line for each settled chunk: its identity, how many of its
                             records Mixpanel holds, and those that it refused

Each process writes files of its own, so that several may share a folder. Local ones grow by a
line for each chunk; objects of a cloud cannot grow, so that all lines that gathered while one
was written make the next.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from blake3 import blake3

from mixpanel_sink.chunk import EventChunk
from mixpanel_sink.credentials import ResolvedCredentials
from mixpanel_sink.endpoint import Endpoint
from mixpanel_sink.errors import CheckpointError, SettingError
from mixpanel_sink.project import Target
from mixpanel_sink.results import FailedRecord

VERSION = 1
_HEADER = "checkpoint.json"
_REFRESH_SECONDS = 30.0
"""How old the knowledge of what other processes wrote may be."""
_FINAL = frozenset({"refused", "event_too_large"})
"""Reasons that sending the same record again would not change."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where accepted chunks are remembered, and what of.

    Args:
        path: a folder, local or gs://; made if there is none.
        input: a text that stands for the input, such as `fingerprint` makes of its files:
            a checkpoint of other input is refused. "" checks the mapping and project only.

    >>> Checkpoint("gs://bucket/checkpoints/2024").path
    'gs://bucket/checkpoints/2024'
    """

    path: str
    input: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.strip():
            raise SettingError("checkpoint is a folder, local or gs://.")


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

    @classmethod
    def of(
        cls,
        checkpoint: Checkpoint,
        mapping: Any,
        endpoint: Endpoint,
        projects: Iterable[tuple[Target, ResolvedCredentials]],
    ) -> Owner:
        """Of one write, with its secrets resolved: another project's secret is another owner."""
        settings = dataclasses.asdict(mapping) if mapping is not None else None
        plain = orjson.dumps([type(mapping).__name__, settings], None, orjson.OPT_SORT_KEYS)
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


def _project_mark(checkpoint: Checkpoint, target: Target, credentials: ResolvedCredentials) -> str:
    """Tells projects apart without giving away the secret: a slow, salted hash."""
    if credentials.project_id is not None:
        return credentials.project_id
    salt = hashlib.sha256(f"{checkpoint.path}\0{target.destination.url}".encode()).digest()
    known = (credentials.token or credentials.user).encode()
    return hashlib.scrypt(known, salt=salt, n=2**12, r=8, p=1, dklen=16).hex()


@dataclasses.dataclass(frozen=True)
class Entry:
    """A settled chunk, as the log knows it.

    Attributes:
        accepted: records that Mixpanel holds.
        failed: those that it refused.
    """

    accepted: int
    failed: tuple[FailedRecord, ...] = ()


def identity_of(chunk: EventChunk, endpoint: str) -> str | None:
    """What names a chunk in the log: its content, for events.

    Two updates may be equal and yet two, so that theirs is where they come from as well. None
    where that is not known: such chunks are always sent.
    """
    if endpoint in ("import", "track"):
        return chunk.identity()
    if any(run.row < 0 for run in chunk.runs):
        return None
    places = orjson.dumps([(run.file, run.row, run.count) for run in chunk.runs])
    return blake3(chunk.payload + places).hexdigest()[:32]


class AcceptedLog:
    """The log as one process reads and writes it. Thread-safe.

    Args:
        checkpoint: where.
        owner: whose; it is entered if the checkpoint is new.

    Raises:
        CheckpointError: if the checkpoint belongs to something else, or cannot be read.
    """

    def __init__(self, checkpoint: Checkpoint, owner: Owner) -> None:
        self._endpoint = owner.endpoint
        self._folder = _folder(checkpoint.path)
        self._lock = threading.Condition()
        self._entries: dict[str, Entry] = {}
        self._seen: dict[str, int] = {}
        self._name = f"accepted-{uuid.uuid4().hex}"
        self._waiting: list[bytes] = []
        self._writing = False
        self._error: Exception | None = None
        self._parts = 0
        self._folder.claim(checkpoint.path, owner)
        self._read_at = 0.0
        self._refresh()

    def known(self, chunk: EventChunk) -> Entry | None:
        """What became of this chunk before; None if that is not known."""
        identity = identity_of(chunk, self._endpoint)
        if identity is None:
            return None
        with self._lock:
            entry = self._entries.get(identity)
            if entry is None and time.monotonic() - self._read_at > _REFRESH_SECONDS:
                self._refresh()
                entry = self._entries.get(identity)
            return entry

    def add(self, chunk: EventChunk, accepted: int, failed: Iterable[FailedRecord]) -> None:
        """Enters a settled chunk. It is written at once, or with the next ones while a write
        is under way.

        Chunks with failures that may pass (given up, ambiguous) are not entered: another
        run shall try them again.

        Raises:
            CheckpointError: if an earlier entry could not be written.
        """
        failures = list(failed)
        identity = identity_of(chunk, self._endpoint)
        if identity is None or any(failure.reason not in _FINAL for failure in failures):
            return
        line = orjson.dumps([identity, accepted, [tuple(f) for f in failures]]) + b"\n"
        with self._lock:
            self._raise()
            self._entries[identity] = Entry(accepted, tuple(failures))
            self._waiting.append(line)
            if self._writing:
                return
            self._writing = True
        if self._folder.appends:
            self._write()
        else:
            threading.Thread(target=self._write, name="mixpanel-checkpoint", daemon=True).start()

    def flush(self) -> None:
        """Waits until everything that was entered is written.

        Raises:
            CheckpointError: if it could not be.
        """
        with self._lock:
            while self._writing and self._error is None:
                self._lock.wait(1.0)
            self._raise()

    def _write(self) -> None:
        while True:
            with self._lock:
                lines, self._waiting = self._waiting, []
                if not lines:
                    self._writing = False
                    self._lock.notify_all()
                    return
                self._parts += 1
                number = self._parts
            try:
                self._folder.write(self._name, number, b"".join(lines))
            except Exception as error:  # OSError, and what each cloud's client raises
                with self._lock:
                    self._error = error
                    self._writing = False
                    self._lock.notify_all()
                return

    def _raise(self) -> None:
        if self._error is not None:
            raise CheckpointError(
                f"The checkpoint {self._folder.path} cannot be written "
                f"({_short(self._error)}). Mend that and run the job again: what it knows so far "
                "is not sent twice."
            )

    def _refresh(self) -> None:
        """Takes in what has been written since the last look, by others too."""
        self._read_at = time.monotonic()
        try:
            for name, data, end in self._folder.read(self._seen, skip=self._name):
                self._seen[name] = end
                for line in data.splitlines():
                    identity, accepted, failures = orjson.loads(line)
                    failed = tuple(FailedRecord(*values) for values in failures)
                    self._entries[identity] = Entry(accepted, failed)
        except (ValueError, TypeError) as error:
            raise CheckpointError(
                f"The checkpoint {self._folder.path} is damaged ({_short(error)}). Give another "
                "folder; ids keep events from doubling."
            ) from None


class _LocalFolder:
    """A checkpoint on this machine: each process appends to one file."""

    appends = True

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))

    def claim(self, given: str, owner: Owner) -> None:
        try:
            os.makedirs(self.path, exist_ok=True)
            header = os.path.join(self.path, _HEADER)
            # Whole or not at all, and never over another's.
            draft = f"{header}.{uuid.uuid4().hex}"
            with open(draft, "wb") as file:
                file.write(_header(owner))
            try:
                os.link(draft, header)
            except FileExistsError:
                with open(header, "rb") as file:
                    _check_owner(given, file.read(), owner)
            finally:
                os.unlink(draft)
        except OSError as error:
            raise _unusable(given, error) from None

    def write(self, name: str, number: int, lines: bytes) -> None:
        with open(os.path.join(self.path, f"{name}.jsonl"), "ab") as file:
            file.write(lines)

    def read(self, seen: dict[str, int], skip: str) -> Iterator[tuple[str, bytes, int]]:
        for name in sorted(os.listdir(self.path)):
            if not name.startswith("accepted-") or name.startswith(skip):
                continue
            with open(os.path.join(self.path, name), "rb") as file:
                start = seen.get(name, 0)
                file.seek(start)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]  # a killed process may leave half a line
            if whole:
                yield name, whole, start + len(whole)


class _CloudFolder:
    """A checkpoint in cloud storage: each write is an object of its own."""

    appends = False

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")

    def claim(self, given: str, owner: Owner) -> None:
        from apache_beam.io.filesystems import FileSystems

        header = f"{self.path}/{_HEADER}"
        try:
            if FileSystems.match([header])[0].metadata_list:
                with FileSystems.open(header) as file:
                    _check_owner(given, file.read(1 << 20), owner)
            else:
                with FileSystems.create(header) as file:
                    file.write(_header(owner))
        except CheckpointError:
            raise
        except Exception as error:  # each cloud's client has errors of its own
            raise _unusable(given, error) from None

    def write(self, name: str, number: int, lines: bytes) -> None:
        from apache_beam.io.filesystems import FileSystems

        with FileSystems.create(f"{self.path}/{name}-{number:08d}.jsonl") as file:
            file.write(lines)

    def read(self, seen: dict[str, int], skip: str) -> Iterator[tuple[str, bytes, int]]:
        from apache_beam.io.filesystems import FileSystems

        for found in FileSystems.match([f"{self.path}/accepted-*"])[0].metadata_list:
            name = found.path.rpartition("/")[2]
            if name in seen or name.startswith(skip):
                continue
            with FileSystems.open(found.path) as file:
                data = bytes(file.read())
            yield name, data, len(data)


def _folder(path: str) -> _LocalFolder | _CloudFolder:
    return _CloudFolder(path) if "://" in path else _LocalFolder(path)


def _header(owner: Owner) -> bytes:
    return orjson.dumps({"version": VERSION, **dataclasses.asdict(owner)})


def _check_owner(path: str, header: bytes, owner: Owner) -> None:
    try:
        found: dict[str, Any] = orjson.loads(header)
        version = found.get("version")
    except (ValueError, AttributeError):
        found, version = {}, None
    if version != VERSION:
        raise CheckpointError(
            f"The checkpoint {path} is damaged or of another version of mixpanel_sink. Give "
            "another folder; ids keep events from doubling."
        )
    for part, value in dataclasses.asdict(owner).items():
        if found.get(part) != value:
            what = {"projects": "project or region"}.get(part, part)
            raise CheckpointError(
                f"The checkpoint {path} belongs to another {what}. Give each import a folder of "
                "its own, or run the import that it was made for."
            )


def _unusable(path: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {path} cannot be used ({_short(error)}). Check the folder and its "
        "permissions where the workers run."
    )


def _short(error: Exception) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return str(text)[:160] or type(error).__name__


class LogRegistry:
    """The logs of this process, so that they outlive bundles and DoFn instances."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[tuple[str, Owner], AcceptedLog] = {}

    def get(self, checkpoint: Checkpoint, owner: Owner) -> AcceptedLog:
        """The log of that checkpoint, opened if it is not yet.

        Raises:
            CheckpointError: if it belongs to something else, or cannot be read.
        """
        with self._lock:
            key = (checkpoint.path, owner)
            if key not in self._logs:
                self._logs[key] = AcceptedLog(checkpoint, owner)
            return self._logs[key]

    def clear(self) -> None:
        """Forgets all logs, as a new process would."""
        with self._lock:
            self._logs.clear()


LOGS = LogRegistry()


def open_log(
    checkpoint: Checkpoint,
    mapping: Any,
    endpoint: Endpoint,
    projects: Iterable[tuple[Target, ResolvedCredentials]],
) -> AcceptedLog:
    """This process's log of a checkpoint.

    Raises:
        CheckpointError: if it belongs to another job, or cannot be used.
    """
    return LOGS.get(checkpoint, Owner.of(checkpoint, mapping, endpoint, projects))
