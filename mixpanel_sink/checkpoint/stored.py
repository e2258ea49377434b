"""What a folder of small files promises, whatever it is stored in.

A file is replaced as a whole, and written "if it is still as I read it": what two processes write
at the same time, one of them finds out.
"""

from __future__ import annotations

import abc
import contextlib
import io
from collections.abc import Iterable
from typing import Any, NamedTuple


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


class Folder(abc.ABC):
    """A folder. Errors are those of the file system."""

    path: str
    appends = False
    """Whether files can grow."""
    url = ""
    """Of the service that holds it; "" where that is not known, or there is none."""

    @abc.abstractmethod
    def stored(self, name: str) -> Stored | None:
        """A file with its version; None if there is none."""

    @abc.abstractmethod
    def write(self, name: str, data: bytes, expected: Any = ANY) -> Any:
        """Writes a file, whole or not at all; gives its new version.

        Raises:
            Changed: if it is not of the version that was expected.
        """

    @abc.abstractmethod
    def remove(self, name: str, expected: Any = ANY) -> None:
        """Removes a file, if it is there and of that version."""

    @abc.abstractmethod
    def names(self, prefix: str) -> list[str]:
        """The names of files that begin so, in order."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        found = self.stored(name)
        return None if found is None else found.data

    def append(self, name: str, data: bytes) -> None:
        """Adds to the end of a file; makes the file where files cannot grow."""
        self.write(name, data)

    def open(self, name: str) -> Any:
        """A file to read from, as a context."""
        if (data := self.read(name)) is None:
            raise FileNotFoundError(name)
        return io.BytesIO(data)

    def _check(self, name: str, expected: Any) -> None:
        """Looks at the version of a file, where the file system does not.

        Raises:
            Changed: if it is not the one that was expected.
        """
        if expected is ANY:
            return
        found = self.stored(name)
        if (ABSENT if found is None else found.version) != expected:
            raise Changed(name)


def delete_all(folder: Folder, names: Iterable[str]) -> None:
    """Removes files that are no longer needed. What cannot be removed stays."""
    for name in names:
        with contextlib.suppress(Exception):  # of each cloud's client
            folder.remove(name)
