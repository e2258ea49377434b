"""What became of each file of a run, in a few bytes a file: from all workers to the commit."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from blake3 import blake3

MARK_BYTES = 16
_ROW = np.dtype(
    [
        ("key", "<u8"), ("read", "<i8"), ("failed", "<i8"), ("open", "<i8"), ("listed", "<i8"),
        ("mark", f"V{MARK_BYTES}"),
    ]
)  # fmt: skip
_SUMS = ("read", "failed", "open", "listed")


def path_key(path: str) -> int:
    """A 64-bit hash that stands for a path."""
    return int.from_bytes(blake3(path.encode("utf-8", "surrogatepass")).digest(8), "little")


@dataclasses.dataclass
class FileCount:
    """What became of one file.

    Attributes:
        read: records that were read.
        failed: of them, those that failed for good.
        open: reasons why the file is not complete: records that another run may still send, or
            parts that could not be read.
        listed: how often its parts were listed.
        mark: of its content.
    """

    read: int = 0
    failed: int = 0
    open: int = 0
    listed: int = 0
    mark: bytes = b""


class FileCounts:
    """What became of many files, by `path_key`."""

    def __init__(self, rows: np.ndarray[Any, Any] | None = None) -> None:
        self._rows = np.empty(0, _ROW) if rows is None else rows

    @classmethod
    def of(cls, counts: dict[str, FileCount]) -> FileCounts:
        """Counts given by path."""
        rows = np.zeros(len(counts), _ROW)
        for place, (path, count) in enumerate(counts.items()):
            mark = count.mark.ljust(MARK_BYTES, b"\0")
            rows[place] = (
                path_key(path), count.read, count.failed, count.open, count.listed, mark
            )  # fmt: skip
        return cls(rows)

    @classmethod
    def merged(cls, parts: Iterable[FileCounts]) -> FileCounts:
        """The sums of several counts."""
        rows = np.concatenate([np.empty(0, _ROW), *(part._rows for part in parts)])
        if not len(rows):
            return cls(rows)
        # An empty mark sorts before the file's mark.
        marks = rows["mark"].view(f"S{MARK_BYTES}")
        rows = rows[np.lexsort((marks, rows["key"]))]
        starts = np.flatnonzero(np.diff(rows["key"], prepend=rows["key"][:1] + np.uint64(1)))
        sums = np.zeros(len(starts), _ROW)
        sums["key"] = rows["key"][starts]
        for name in _SUMS:
            sums[name] = np.add.reduceat(rows[name], starts)
        sums["mark"] = rows["mark"][np.append(starts[1:], len(rows)) - 1]
        return cls(sums)

    def to_bytes(self) -> bytes:
        """The counts as bytes, for a shuffle."""
        return self._rows.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> FileCounts:
        """The reverse of `to_bytes`."""
        return cls(np.frombuffer(data, _ROW))

    def total(self, name: str) -> int:
        """The sum over all files of "read", "failed", "open" or "listed"."""
        return int(self._rows[name].sum())

    def by_path(self, paths: Iterable[str]) -> np.ndarray[Any, Any]:
        """A row for each path, with fields as `FileCount` has; zeros for unknown ones. They must be
        `merged`."""
        keys = np.fromiter(map(path_key, paths), np.uint64)
        found = np.zeros(len(keys), _ROW)
        if len(self._rows) and len(keys):
            places = np.searchsorted(self._rows["key"], keys)
            places[places == len(self._rows)] = 0
            known = self._rows["key"][places] == keys
            found[known] = self._rows[places[known]]
        return found
