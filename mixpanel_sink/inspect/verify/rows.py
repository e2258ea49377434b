"""What a comparison needs of each event, on disk: rows of 36 bytes, and the events' own form.

Rows with one id are in one part, which fits into memory. The blocks of which they came are kept
compressed, to look at single events again.
"""

from __future__ import annotations

import os
import pathlib
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from isal import igzip

from mixpanel_sink.inspect.verify.spill import appended

PART_ROWS = 100_000
"""Rows of a part, if the number that was expected is right."""
MAX_PARTS = 256
ROW = np.dtype(
    [
        ("id", np.uint64),
        ("content", np.uint64),
        ("time", np.int64),
        ("name", np.uint32),
        ("block", np.uint32),
        ("row", np.uint32),
    ]
)
"""An event: hashes of its id and of what it holds (0: not certain), milliseconds since 1970, the
number of its name, and where it lies."""
Rows = npt.NDArray[Any]


class RowParts:
    """Takes rows, gives them back part by part.

    Args:
        folder: for this alone.
        rows: how many to expect, roughly.
    """

    def __init__(self, folder: pathlib.Path, rows: int) -> None:
        self.parts = max(1, min(MAX_PARTS, -(-rows // PART_ROWS)))
        folder.mkdir()
        self._paths = [folder / f"{part}.rows" for part in range(self.parts)]
        for path in self._paths:
            path.touch()

    def add(self, rows: Rows) -> None:
        """Adds rows."""
        parts = (rows["id"] % self.parts).astype(np.uint16)  # which are sorted digit by digit
        order = np.argsort(parts, kind="stable")
        ends = np.cumsum(np.bincount(parts, minlength=self.parts))
        for path, part in zip(self._paths, np.split(rows[order], ends[:-1]), strict=True):
            if len(part):
                with appended(path) as file:
                    file.write(np.ascontiguousarray(part).data)

    def read(self, part: int) -> Rows:
        """The rows of a part."""
        return np.fromfile(self._paths[part], ROW)

    def savepoint(self) -> list[int]:
        """The current state, for `rollback`."""
        return [path.stat().st_size for path in self._paths]

    def rollback(self, savepoint: list[int]) -> None:
        """Forgets what was added since the savepoint."""
        for path, size in zip(self._paths, savepoint, strict=True):
            os.truncate(path, size)


class Blocks:
    """Tables, blocks of records and lists of lines, by the number that they get.

    Args:
        path: of a file for this alone.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._ends = [0]
        path.touch()

    def add(self, block: bytes) -> int:
        """Stores a `packed` block, and returns its number."""
        with appended(self._path) as file:
            file.write(block)
            self._ends.append(file.tell())
        return len(self._ends) - 2

    def read(self, number: int) -> Any:
        """The block with this number."""
        start, end = self._ends[number : number + 2]
        with self._path.open("rb") as file:
            file.seek(start)
            return _unpacked(file.read(end - start))

    def savepoint(self) -> int:
        """The current state, for `rollback`."""
        return len(self._ends) - 1

    def rollback(self, savepoint: int) -> None:
        """Forgets what was added since the savepoint."""
        del self._ends[savepoint + 1 :]
        os.truncate(self._path, self._ends[-1])


def packed(block: Any) -> bytes:
    """A table, a block of records or a list of lines, compressed."""
    if isinstance(block, pa.Table):
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_stream(sink, block.schema, options=options) as writer:
            writer.write_table(block)
        return b"T" + sink.getvalue().to_pybytes()
    if isinstance(block, bytes):
        return b"L" + igzip.compress(block, 1)
    return b"R" + igzip.compress(pickle.dumps(block), 1)


def _unpacked(packed: bytes) -> Any:
    kind, rest = packed[:1], memoryview(packed)[1:]
    if kind == b"T":
        return pa.ipc.open_stream(rest).read_all()
    return igzip.decompress(rest) if kind == b"L" else pickle.loads(igzip.decompress(rest))


class Marked:
    """Which rows of which blocks are to be looked at."""

    def __init__(self) -> None:
        self._flags: dict[int, npt.NDArray[np.bool_]] = {}

    def mark(self, rows: Rows) -> None:
        """Marks these rows."""
        order = np.argsort(rows["block"], kind="stable")
        blocks, starts = np.unique(rows["block"][order], return_index=True)
        parts = np.split(rows["row"][order], starts[1:]) if len(blocks) else []
        for block, part in zip(blocks.tolist(), parts, strict=True):
            flags = self._flags.get(block)
            most = int(part.max()) + 1
            if flags is None or len(flags) < most:
                longer = np.zeros(most, np.bool_)
                if flags is not None:
                    longer[: len(flags)] = flags
                flags = self._flags[block] = longer
            flags[part] = True

    def __len__(self) -> int:
        return sum(int(flags.sum()) for flags in self._flags.values())

    def items(self) -> list[tuple[int, Sequence[int]]]:
        """Each block's number and marked rows, in order."""
        return [
            (block, np.flatnonzero(flags).tolist()) for block, flags in sorted(self._flags.items())
        ]
