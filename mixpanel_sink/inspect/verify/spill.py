"""Lines on disk, in parts: lines with the same key are in the same part, which fits into memory."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import zlib
from collections.abc import Iterator
from typing import IO

from isal import igzip

from mixpanel_sink.errors import writing

PART_LINES = 10_000
"""Lines of a part, if the number that was expected is right."""
MAX_PARTS = 1024
_BUFFER = 32_768


@contextlib.contextmanager
def appended(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """A temporary file to append to.

    Raises:
        OutputError: if it cannot be written.
    """
    with writing(f"A temporary file in {tempfile.gettempdir()} (TMPDIR)"), path.open("ab") as file:
        yield file


class Spill:
    """Takes lines, gives them back part by part. Compressed; a buffer a part is in memory.

    Args:
        folder: an empty one, for this spill alone.
        lines: how many to expect, roughly.
    """

    def __init__(self, folder: pathlib.Path, lines: int) -> None:
        self.parts = parts_for(lines)
        self._folder = folder
        self._buffers = [bytearray() for _ in range(self.parts)]

    def add(self, key: str, line: bytes) -> None:
        """Adds a line, which must not contain a line break."""
        part = zlib.crc32(key.encode("utf-8", "surrogatepass")) % self.parts
        buffer = self._buffers[part]
        buffer += line
        buffer += b"\n"
        if len(buffer) > _BUFFER:
            self._write(part)

    def savepoint(self) -> list[int]:
        """The current state, for `rollback`."""
        self._flush()
        return [self._size(part) for part in range(self.parts)]

    def rollback(self, savepoint: list[int]) -> None:
        """Forgets what was added since the savepoint."""
        for part, size in enumerate(savepoint):
            self._buffers[part].clear()
            if self._size(part) != size:
                os.truncate(self._path(part), size)

    def lines(self, part: int) -> Iterator[bytes]:
        """The lines of a part, in the order in which they came."""
        self._write(part)
        if self._size(part):
            with igzip.open(self._path(part), "rb") as file:
                for line in file:
                    yield line[:-1]

    def _flush(self) -> None:
        for part in range(self.parts):
            self._write(part)

    def _write(self, part: int) -> None:
        buffer = self._buffers[part]
        if buffer:
            with appended(self._path(part)) as file:
                file.write(igzip.compress(buffer, 1))
            buffer.clear()

    def _path(self, part: int) -> pathlib.Path:
        return self._folder / f"{part}.gz"

    def _size(self, part: int) -> int:
        path = self._path(part)
        return path.stat().st_size if path.exists() else 0


def parts_for(lines: int) -> int:
    """How many parts are needed for so many lines."""
    return max(1, min(MAX_PARTS, -(-lines // PART_LINES)))
