"""A journal: lines that many processes write into one folder and read from each other.

The folder is local or in cloud storage, and belongs to the owner that its header
names:

    checkpoint.json              the header
    accepted-OWNER-ID[-N].jsonl  lines, each a JSON value

Each process writes files of its own, so that several may share a folder. Local ones grow by
a line; objects of a cloud cannot grow, so that all lines that gathered while one was written
make the next. `events` and `updates` say what the lines mean.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import orjson

from mixpanel_sink.checkpoint.folder import append_whole, open_folder
from mixpanel_sink.checkpoint.owner import HEADER as _HEADER
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.stored import ABSENT, Changed
from mixpanel_sink.errors import CheckpointError

_LOGGER = logging.getLogger(__name__)

VERSION = 2
"""The format of the header and of the lines; a checkpoint of another one is refused."""
_PARTS = {"projects": "project or region", "mapping": "mapping or other privacy settings"}
"""The parts of an owner, for messages."""
_SAME_PROJECT = (
    f" If it is the same one with a new secret, or one project more, remove {_HEADER} from the "
    "folder: imported files stay known."
)
"""A secret does not tell which project it is for, so that a new one looks like another project."""
_READERS = 16
"""Objects that are read at the same time."""
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""What file systems without hard links answer."""
WAITS = (0.2, 1.0, 4.0)
"""Seconds between the tries to write."""
LONGEST_TRIES = 30.0
"""Seconds after which no other try begins: a cloud's client retries by itself, for minutes."""


class Journal:
    """The journal as one process reads and writes it. Thread-safe.

    Args:
        path: of the folder; made if there is none.
        owner: whom it must belong to. The header holds it, and its mark is in the names of files,
            so that lines of another owner are never read.

    Raises:
        CheckpointError: if the folder is another's, or cannot be used.
    """

    def __init__(self, path: str, owner: Owner) -> None:
        self._folder = _CloudFolder(path) if "://" in path else _LocalFolder(path)
        self._owner = owner
        self._mine = f"accepted-{owner.mark}-"
        self._name = f"{self._mine}{uuid.uuid4().hex}"
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._entered = self._written = self._parts = 0
        self._writing = False
        self._error: Exception | None = None
        self._seen: dict[str, int] = {}
        header = orjson.dumps({"version": VERSION, **dataclasses.asdict(owner)})
        try:
            self._folder.claim(header, lambda found: _check_owner(path, found, owner))
        except CheckpointError:
            raise
        except Exception as error:  # OSError, and what each cloud's client raises
            raise CheckpointError(
                f"The checkpoint {path} cannot be used ({_short(error)}). Check the folder and its "
                "permissions where the workers run."
            ) from None

    def has_lines_of(self, path: str) -> bool:
        """Whether it is in this folder, and a line was added, be it written yet or not."""
        return self._entered > 0 and self._folder.path == path

    def write(self, line: Any) -> int:
        """Adds a line, which is written at once or with the next ones while a write is under
        way. Returns a number to `wait` for.

        Raises:
            CheckpointError: if an earlier line could not be written. The next call tries again.
        """
        with self._changed:
            self._raise()
            self._waiting.append(orjson.dumps(line) + b"\n")
            self._entered += 1
            number = self._entered
            start = not self._writing
            self._writing = True
        if start:
            self._start()
        return number

    def wait(self, number: int | None = None) -> None:
        """Waits until this line, or all, are written.

        Raises:
            CheckpointError: if they could not be.
        """
        with self._changed:
            number = self._entered if number is None else number
            self._raise()
            start = self._waiting and not self._writing  # left by a write that failed
            self._writing = self._writing or bool(start)
        if start:
            self._start()
        with self._changed:
            while self._written < number and self._error is None:
                self._changed.wait(1.0)
            if self._written < number:
                self._raise()

    def read(self) -> Iterator[Any]:
        """Lines of other processes that came since the last call.

        Raises:
            CheckpointError: if what is there is not a journal.
        """
        try:
            for name, data, end in self._folder.read(self._mine, self._seen, self._name):
                for line in data.splitlines():
                    yield orjson.loads(line)
                self._seen[name] = end
        except (ValueError, TypeError) as error:
            raise self.damaged(error) from None

    def damaged(self, error: Exception) -> CheckpointError:
        """What to raise for a line that makes no sense."""
        if isinstance(error, CheckpointError):
            return error
        return CheckpointError(
            f"The checkpoint {self._folder.path} is damaged ({_short(error)}). Give another "
            f"folder; {self._owner.without}."
        )

    def _start(self) -> None:
        if self._folder.appends:
            self._write_all()
        else:
            threading.Thread(
                target=self._write_all, name="mixpanel-checkpoint", daemon=True
            ).start()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                lines = list(self._waiting)
                if not lines:
                    self._writing = False
                    return
                part = self._parts
            try:
                self._try(lambda: self._folder.write(self._name, part, b"".join(lines)))  # noqa: B023
            except Exception as error:
                with self._changed:
                    # The lines stay: a bundle that is run again finds a journal that is whole.
                    self._error, self._writing = error, False
                    self._changed.notify_all()
                return
            with self._changed:
                del self._waiting[: len(lines)]
                self._parts += 1
                self._written += len(lines)
                self._changed.notify_all()

    def _try(self, write: Callable[[], None]) -> None:
        began = time.monotonic()
        for wait in WAITS:
            try:
                return write()
            except Exception as error:
                if time.monotonic() - began >= LONGEST_TRIES:
                    raise
                _LOGGER.warning(
                    "The checkpoint %s cannot be written (%s); next try in %.1f s.",
                    self._folder.path, _short(error), wait,
                )  # fmt: skip
                time.sleep(wait)
        write()

    def _raise(self) -> None:
        if self._error is None:
            return
        error, self._error = self._error, None
        raise CheckpointError(
            f"The checkpoint {self._folder.path} cannot be written ({_short(error)}). Fix that "
            "and run the job again: what it knows so far is not sent twice."
        )


class _Folder(Protocol):
    appends: bool
    path: str

    def claim(self, header: bytes, check: Callable[[bytes], None]) -> None:
        """Writes the header, or checks the one that is there."""
        ...

    def write(self, name: str, part: int, lines: bytes) -> None:
        """Adds lines to a file, or writes the file of that part, even if it exists."""
        ...

    def read(
        self, prefix: str, seen: dict[str, int], skip: str
    ) -> Iterator[tuple[str, bytes, int]]:
        """What is new in files with this prefix: name, whole lines, and where they end."""
        ...


class _LocalFolder:
    """A folder on this machine: each process appends to one file."""

    appends = True

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))

    def claim(self, header: bytes, check: Callable[[bytes], None]) -> None:
        os.makedirs(self.path, exist_ok=True)
        place = os.path.join(self.path, _HEADER)
        # Whole or not at all, and never over another's.
        draft = f"{place}.{uuid.uuid4().hex}"
        try:
            with open(draft, "wb") as file:
                file.write(header)
            try:
                _link(draft, place, header)
            except FileExistsError:
                with open(place, "rb") as file:
                    check(file.read())
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)

    def write(self, name: str, part: int, lines: bytes) -> None:
        del part
        append_whole(os.path.join(self.path, f"{name}.jsonl"), lines)

    def read(
        self, prefix: str, seen: dict[str, int], skip: str
    ) -> Iterator[tuple[str, bytes, int]]:
        for name in sorted(os.listdir(self.path)):
            if not name.startswith(prefix) or name.startswith(skip):
                continue
            with open(os.path.join(self.path, name), "rb") as file:
                start = seen.get(name, 0)
                file.seek(start)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]  # a killed process may leave half a line
            if whole:
                yield name, whole, start + len(whole)


def _link(draft: str, place: str, header: bytes) -> None:
    """Gives a written file its name, unless that name is taken."""
    try:
        os.link(draft, place)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with open(place, "xb", buffering=0) as file:  # FAT, exFAT and some shares have no links
            file.write(header)


class _CloudFolder:
    """A folder in cloud storage: each write is a separate object."""

    appends = False

    def __init__(self, path: str) -> None:
        self._folder = open_folder(path)
        self.path = self._folder.path

    def claim(self, header: bytes, check: Callable[[bytes], None]) -> None:
        found = self._folder.read(_HEADER)
        if found is None:
            with contextlib.suppress(Changed):  # another job was faster
                self._folder.write(_HEADER, header, ABSENT)
            found = self._read(_HEADER)
        check(found)

    def write(self, name: str, part: int, lines: bytes) -> None:
        self._folder.write(f"{name}-{part:08d}.jsonl", lines)

    def read(
        self, prefix: str, seen: dict[str, int], skip: str
    ) -> Iterator[tuple[str, bytes, int]]:
        names = self._folder.names(prefix)
        new = [name for name in names if name not in seen and not name.startswith(skip)]
        with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
            for name, data in zip(new, pool.map(self._read, new), strict=True):
                yield name, data, len(data)

    def _read(self, name: str) -> bytes:
        with self._folder.open(name) as file:
            return bytes(file.read())


def _check_owner(path: str, header: bytes, owner: Owner) -> None:
    try:
        found: dict[str, Any] = orjson.loads(header)
        version = int(found["version"])
    except (ValueError, TypeError, LookupError):
        raise CheckpointError(
            f"The checkpoint {path} is damaged: its {_HEADER} cannot be read. Give another folder; "
            f"{owner.without}."
        ) from None
    if version != VERSION:
        age = "a newer" if version > VERSION else "an older"
        raise CheckpointError(
            f"The checkpoint {path} was written by {age} version of mixpanel_sink (format "
            f"{version}; this one has {VERSION}). Use that version, or give another folder; "
            f"{owner.without}."
        )
    for part, value in dataclasses.asdict(owner).items():
        if part in ("input", "mapping") and owner.input and found.get("input") == "":
            continue  # of daily imports, beside which a replay has a log of its own
        if found.get(part) != value:
            what = _PARTS.get(part, part)
            raise CheckpointError(
                f"The checkpoint {path} belongs to another {what}. Give each import a folder of "
                "its own, or run the import that it was made for."
                + (_SAME_PROJECT if part == "projects" and owner.repeats_safely else "")
            )


def _short(error: Exception) -> str:
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return str(text)[:160] or type(error).__name__
