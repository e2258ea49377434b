"""Profiles in memory: their keys, what was sent for them, and their ids."""

from __future__ import annotations

import dataclasses
import io
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

UNKNOWN, GONE = 0, 1
"""Contents that are not hashes: what Mixpanel holds is unknown; the profile was removed there."""
_WIDTH = struct.Struct(">I")
"""The length of all ids in bytes; 0 if their lengths differ."""
Numbers = np.ndarray[Any, np.dtype[np.uint64]]


@dataclasses.dataclass(frozen=True)
class Entries:
    """Profiles and what was sent for them, in the order of sending."""

    keys: Numbers
    contents: Numbers
    ids: pa.Array

    @classmethod
    def of(cls, keys: Numbers, contents: Numbers, ids: Iterable[str]) -> Entries:
        """Entries of plain values."""
        return cls(keys, contents, pa.array(ids, pa.large_string()))

    def take(self, which: Any) -> Entries:
        """Some of the entries, by a mask or by their numbers."""
        rows = np.flatnonzero(which) if which.dtype == bool else which
        return Entries(self.keys[rows], self.contents[rows], self.ids.take(pa.array(rows)))

    def last_of_each(self) -> Entries:
        """The last of each key, sorted by key."""
        _, from_end = np.unique(self.keys[::-1], return_index=True)
        return self.take(len(self.keys) - 1 - from_end)

    def __len__(self) -> int:
        return len(self.keys)


def joined(parts: Iterable[Entries]) -> Entries:
    """The entries of all parts, in their order."""
    every = list(parts)
    none = np.empty(0, np.uint64)
    return Entries(
        np.concatenate([none, *(part.keys for part in every)]),
        np.concatenate([none, *(part.contents for part in every)]),
        pa.chunked_array([part.ids for part in every], pa.large_string()).combine_chunks(),
    )


@dataclasses.dataclass(frozen=True)
class Base:
    """What was known when a run began, sorted by key.

    Attributes:
        keys, contents: of all profiles.
        mark: tells it from what was known at another time.
    """

    keys: Numbers
    contents: Numbers
    mark: str

    def find(self, keys: Numbers) -> tuple[Any, Any]:
        """Where keys are, and which of them are there at all."""
        if not len(self.keys):
            return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
        places = np.searchsorted(self.keys, keys)
        places[places == len(self.keys)] = 0
        return places, self.keys[places] == keys


def last_words(logs: Iterable[Entries]) -> tuple[Entries, Any]:
    """The last entry of each key, and a mask of those on which logs differ: they are unknown,
    since it is unknown which log was later."""
    every = joined(log.last_of_each() for log in logs)
    keys, first, count = np.unique(every.keys, return_index=True, return_counts=True)
    if (count > 1).any():
        order = np.argsort(every.keys, kind="stable")
        starts = np.concatenate([[0], np.cumsum(count)[:-1]])
        sorted_contents = every.contents[order]
        low = np.minimum.reduceat(sorted_contents, starts)
        high = np.maximum.reduceat(sorted_contents, starts)
        agreed = np.where(low == high, low, np.uint64(UNKNOWN))
        return Entries(keys, agreed, every.ids.take(pa.array(first))), low != high
    return every.take(first), np.zeros(len(keys), bool)


def ids_to_bytes(ids: pa.Array) -> bytes:
    """Ids in a form that compresses well.

    Ids of one length, such as UUIDs, are written place by place: what stands in the same place of
    each is of the same kind, and costs no more than its digits.
    """
    lengths = pc.binary_length(ids).to_numpy(zero_copy_only=False).astype(np.uint32)
    text = b"".join(ids.cast(pa.large_binary()).to_pylist())
    width = int(lengths[0]) if len(lengths) and (lengths == lengths[0]).all() else 0
    if width:
        return _WIDTH.pack(width) + np.frombuffer(text, np.uint8).reshape(-1, width).T.tobytes()
    return _WIDTH.pack(0) + lengths.tobytes() + text


def ids_from_bytes(data: bytes, count: int) -> pa.Array:
    """The reverse of `ids_to_bytes`, for so many ids."""
    (width,) = _WIDTH.unpack_from(data)
    rest = memoryview(data)[_WIDTH.size :]
    if width:
        text = np.frombuffer(rest, np.uint8).reshape(width, count).T.tobytes()
        ends = np.arange(count + 1, dtype=np.int64) * width
    else:
        text = bytes(rest[4 * count :])
        ends = np.concatenate([[0], np.cumsum(np.frombuffer(rest, np.uint32, count))])
    buffers = [None, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(text)]
    ids = pa.Array.from_buffers(pa.large_string(), count, buffers)
    ids.validate(full=True)
    return ids


def from_parquet(file: pq.ParquetFile) -> Entries:
    """The entries of a shard."""
    table = file.read()
    return Entries(table["key"].to_numpy(), table["content"].to_numpy(), ids_of(table["id"]))


def ids_of(column: pa.ChunkedArray) -> pa.Array:
    """The ids of a shard as text."""
    if pa.types.is_fixed_size_binary(column.type):
        column = column.cast(pa.large_binary())
    return column.cast(pa.large_string()).combine_chunks()


def to_parquet(entries: Entries) -> bytes:
    """A shard of them. Ids of one length are written as in `ids_to_bytes`."""
    ids, encoding = entries.ids, "DELTA_LENGTH_BYTE_ARRAY"
    lengths = pc.min_max(pc.binary_length(ids)).as_py()
    if lengths["min"] and lengths["min"] == lengths["max"]:
        ids, encoding = ids.cast(pa.binary()).cast(pa.binary(lengths["min"])), "BYTE_STREAM_SPLIT"
    table = pa.table({"key": entries.keys, "content": entries.contents, "id": ids})
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        column_encoding={"key": "DELTA_BINARY_PACKED", "content": "PLAIN", "id": encoding},
    )
    return buffer.getvalue()
