"""Small files in a folder, local or of any file system that Beam knows, each whole or not there."""

from __future__ import annotations

import contextlib
import os
import uuid
from typing import Protocol


class Folder(Protocol):
    """Made with its first file. Errors are OSError, and what each cloud's client raises."""

    path: str

    def names(self, prefix: str) -> list[str]:
        """Of the files that begin so, sorted."""
        ...

    def read(self, name: str) -> bytes | None:
        """A file; None if it is not there."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Makes or replaces a file: a reader sees the old one or the new one."""
        ...

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        ...


def open_folder(path: str) -> Folder:
    """The folder of a path."""
    return _Cloud(path) if "://" in path else _Local(path)


class _Local:
    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(os.path.expanduser(path))

    def names(self, prefix: str) -> list[str]:
        try:
            found = os.listdir(self.path)
        except FileNotFoundError:
            return []
        return sorted(each for each in found if each.startswith(prefix) and _DRAFT not in each)

    def read(self, name: str) -> bytes | None:
        try:
            with open(os.path.join(self.path, name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        os.makedirs(self.path, exist_ok=True)
        place = os.path.join(self.path, name)
        draft = f"{place}{_DRAFT}{uuid.uuid4().hex}"
        try:
            with open(draft, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # the name must not reach the disk before the content
            os.replace(draft, place)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft)

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, name))


_DRAFT = ".draft-"


class _Cloud:
    """Objects of a cloud are whole by nature."""

    def __init__(self, path: str) -> None:
        self.path = path.rstrip("/")

    def names(self, prefix: str) -> list[str]:
        from apache_beam.io.filesystems import FileSystems

        found = FileSystems.match([f"{self.path}/{prefix}*"])[0].metadata_list
        return sorted(each.path.rpartition("/")[2] for each in found)

    def read(self, name: str) -> bytes | None:
        from apache_beam.io.filesystems import FileSystems

        place = f"{self.path}/{name}"
        if not FileSystems.match([place])[0].metadata_list:
            return None
        with FileSystems.open(place, "application/octet-stream") as file:
            return bytes(file.read())

    def write(self, name: str, data: bytes) -> None:
        from apache_beam.io.filesystems import FileSystems

        with FileSystems.create(f"{self.path}/{name}", "application/octet-stream") as file:
            file.write(data)

    def remove(self, name: str) -> None:
        from apache_beam.io.filesystems import FileSystems

        if FileSystems.match([f"{self.path}/{name}"])[0].metadata_list:
            FileSystems.delete([f"{self.path}/{name}"])
