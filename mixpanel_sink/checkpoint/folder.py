"""A folder of small files, local or in cloud storage, whose files are replaced as a whole.

A file is written "if it is still as I read it": what two processes write at the same time, one of
them finds out. Locally a file lock guards that, in Google Cloud Storage the generation of the
object. Other file systems have no such promise: there it is looked at just before it is written.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from blake3 import blake3

from mixpanel_sink import extras

try:
    import fcntl
except ImportError:  # Windows: as for other file systems
    fcntl = None  # type: ignore[assignment]

_LOCK = ".lock"


class Changed(Exception):
    """The file has changed since it was read."""


class Stored(NamedTuple):
    """A file's bytes, and what tells this version from others."""

    data: bytes
    version: Any


class _Any:
    """Stands for whatever version there is, or none."""


ANY = _Any()
ABSENT = None
"""The version of a file that is not there."""


class Folder(Protocol):
    """A folder. Errors are those of the file system."""

    path: str
    appends: bool
    """Whether files can grow."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        ...

    def stored(self, name: str) -> Stored | None:
        """A file with its version; None if there is none."""
        ...

    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        """Writes a file, whole or not at all; gives its new version.

        Raises:
            Changed: if it is not of the version that was expected.
        """
        ...

    def remove(self, name: str, expected: Any = ANY) -> None:
        """Removes a file, if it is there and of that version."""
        ...

    def append(self, name: str, data: bytes) -> None:
        """Adds to the end of a file; makes the file where files cannot grow."""
        ...

    def open(self, name: str) -> Any:
        """A file to read from, as a context."""
        ...

    def names(self, prefix: str) -> list[str]:
        """The names of files that begin so, in order."""
        ...


def open_folder(path: str) -> Folder:
    """The folder at a path; it need not be there yet."""
    extras.require(path)
    if "://" not in path:
        return _Local(path)
    return (_Google if path.startswith("gs://") else _Beam)(path)


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


class _Reads:
    appends = False

    def read(self, name: str) -> bytes | None:
        found = self.stored(name)
        return None if found is None else found.data

    def stored(self, name: str) -> Stored | None:
        raise NotImplementedError

    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        raise NotImplementedError

    def append(self, name: str, data: bytes) -> None:
        self.write(name, data)

    def open(self, name: str) -> Any:
        if (data := self.read(name)) is None:
            raise FileNotFoundError(name)
        return io.BytesIO(data)

    def _check(self, name: str, expected: Any) -> None:
        if expected is ANY:
            return
        found = self.stored(name)
        if (ABSENT if found is None else found.version) != expected:
            raise Changed(name)


class _Local(_Reads):
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


class _Google(_Reads):
    """Objects of Google Cloud Storage, by Beam's own client of it."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")
        self._name, _, prefix = self.path.removeprefix("gs://").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""

    @functools.cached_property
    def _bucket(self) -> Any:
        from apache_beam.io.filesystems import FileSystems

        return FileSystems.get_filesystem(self.path)._gcsIO().client.bucket(self._name)

    def stored(self, name: str) -> Stored | None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        while True:
            blob = self._bucket.get_blob(self._prefix + name)
            if blob is None:
                return None
            version = blob.generation
            with contextlib.suppress(NotFound, PreconditionFailed):  # replaced meanwhile
                data = blob.download_as_bytes(raw_download=True, if_generation_match=version)
                return Stored(data, version)

    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        from google.api_core.exceptions import PreconditionFailed

        blob = self._bucket.blob(self._prefix + name)
        # Generation 0 is "there is none".
        match = None if expected is ANY else int(expected or 0)
        try:
            blob.upload_from_string(
                data, "application/octet-stream", if_generation_match=match, checksum=None
            )
        except PreconditionFailed:
            found = self.stored(name)
            if found is not None and found.data == data:  # a retry of a write whose answer was lost
                return found.version
            raise Changed(name) from None
        return blob.generation

    def remove(self, name: str, expected: Any = ANY) -> None:
        from google.api_core.exceptions import NotFound, PreconditionFailed

        match = None if expected is ANY or expected is ABSENT else int(expected)
        with contextlib.suppress(NotFound, PreconditionFailed):
            self._bucket.blob(self._prefix + name).delete(if_generation_match=match)

    def names(self, prefix: str) -> list[str]:
        found = self._bucket.client.list_blobs(self._bucket, prefix=self._prefix + prefix)
        return sorted(blob.name[len(self._prefix) :] for blob in found)


class _Beam(_Reads):
    """Any other file system that Beam knows."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")

    def stored(self, name: str) -> Stored | None:
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        place = f"{self.path}/{name}"
        if not FileSystems.match([place])[0].metadata_list:
            return None
        with FileSystems.open(place, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            data = bytes(file.read())
        return Stored(data, blake3(data).digest())

    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        from apache_beam.io.filesystem import CompressionTypes
        from apache_beam.io.filesystems import FileSystems

        self._check(name, expected)
        place = f"{self.path}/{name}"
        with FileSystems.create(place, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            file.write(data)
        return blake3(data).digest()

    def remove(self, name: str, expected: Any = ANY) -> None:
        from apache_beam.io.filesystems import FileSystems

        with contextlib.suppress(Changed):
            self._check(name, expected)
            if self.stored(name) is not None:
                FileSystems.delete([f"{self.path}/{name}"])

    def names(self, prefix: str) -> list[str]:
        from apache_beam.io.filesystems import FileSystems

        found = FileSystems.match([f"{self.path}/{prefix}*"])[0].metadata_list
        return sorted(each.path.rpartition("/")[2] for each in found)


def delete_all(folder: Folder, names: Iterable[str]) -> None:
    """Removes files that are no longer needed. What cannot be removed stays."""
    for name in names:
        with contextlib.suppress(Exception):  # of each cloud's client
            folder.remove(name)
