"""Opens a folder of small files. A local one is here: a file lock guards that a file which is
written is still as it was read."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from typing import Any

from blake3 import blake3

from mixpanel_sink import extras
from mixpanel_sink.checkpoint import clouds
from mixpanel_sink.checkpoint.stored import ANY, Changed, Folder, Stored
from mixpanel_sink.errors import CheckpointError, DestinationError

try:
    import fcntl
except ImportError:  # Windows: it is looked at just before it is written
    fcntl = None  # type: ignore[assignment]

CONNECT_SECONDS = 8.0
"""For one connection. TCP repeats a packet that was lost after 1, 3 and 7 seconds."""
_LOCK = ".lock"


def open_folder(path: str) -> Folder:
    """The folder at a path; it need not be there yet."""
    extras.require(path)
    return clouds.open_folder(path) if "://" in path else _Local(path)


def check_reachable(folder: Folder) -> None:
    """Finds out within half a minute that there is no connection to where a folder is, for people
    who wait: a cloud's client would try for minutes. One that is only slow is not given up.

    Raises:
        CheckpointError: says what went wrong.
    """
    from mixpanel_sink.api.reach import unreached  # `check` starts faster without it

    url = ""
    with contextlib.suppress(Exception):  # of each cloud's client, which the first request raises
        url = folder.url
    try:
        found = unreached(url, CONNECT_SECONDS) if url.startswith("http") else None
    except DestinationError as error:  # the proxy cannot be used
        raise CheckpointError(str(error)) from None
    if found is not None:
        raise CheckpointError(
            f"The checkpoint {folder.path} could not be reached: there is no connection to "
            f"{found.where} ({found.why}). Check the network and the proxy. Nothing was sent."
        )


def append_whole(place: str, data: bytes) -> None:
    """Adds bytes to the end of a file on this machine: all of them, or none."""
    with open(place, "ab", buffering=0) as file:
        before = file.tell()
        try:
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        except BaseException:
            file.truncate(before)  # a full disk took half of it
            raise


class _Local(Folder):
    appends = True

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))

    def stored(self, name: str) -> Stored | None:
        try:
            with open(self._place(name), "rb") as file:
                data = file.read()
        except FileNotFoundError:
            return None
        return Stored(data, blake3(data).digest())

    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        os.makedirs(self.path, exist_ok=True)
        draft = self._place(f".{name}.{uuid.uuid4().hex}")
        with self._locked(expected):
            self._check(name, expected)
            try:
                with open(draft, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, self._place(name))
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(draft)
        return blake3(data).digest()

    def append(self, name: str, data: bytes) -> None:
        os.makedirs(self.path, exist_ok=True)
        append_whole(self._place(name), data)

    def open(self, name: str) -> Any:
        return open(self._place(name), "rb")

    def remove(self, name: str, expected: Any = ANY) -> None:
        with self._locked(expected), contextlib.suppress(Changed, FileNotFoundError):
            self._check(name, expected)
            os.unlink(self._place(name))

    def names(self, prefix: str) -> list[str]:
        try:
            found = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return sorted(name for name in found if name.startswith(prefix) and name[0] != ".")

    def _place(self, name: str) -> str:
        return os.path.join(self.path, name)

    @contextlib.contextmanager
    def _locked(self, expected: Any) -> Iterator[None]:
        """One process at a time, where a version is expected; a process that dies lets go."""
        if expected is ANY or fcntl is None:
            yield
            return
        with open(self._place(_LOCK), "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
