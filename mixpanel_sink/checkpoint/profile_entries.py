"""Some profiles in memory: their keys, what was sent for them, and their ids."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

UNKNOWN, GONE = 0, 1
"""Contents that are not hashes: nobody knows what Mixpanel holds, and it was removed there."""
Numbers = np.ndarray[Any, np.dtype[np.uint64]]


@dataclasses.dataclass(frozen=True)
class Entries:
    """Some profiles and what was sent for them, in that order."""

    keys: Numbers
    contents: Numbers
    ids: pa.Array

    @classmethod
    def of(cls, keys: Numbers, contents: Numbers, ids: Iterable[str]) -> Entries:
        """From plain values."""
        return cls(keys, contents, pa.array(ids, pa.large_string()))

    def take(self, which: Any) -> Entries:
        """Some of them, by a mask or by their numbers."""
        rows = np.flatnonzero(which) if which.dtype == bool else which
        return Entries(self.keys[rows], self.contents[rows], self.ids.take(pa.array(rows)))

    def last_of_each(self) -> Entries:
        """The last of each key, sorted by key."""
        _, from_end = np.unique(self.keys[::-1], return_index=True)
        return self.take(len(self.keys) - 1 - from_end)

    def __len__(self) -> int:
        return len(self.keys)


def joined(parts: Iterable[Entries]) -> Entries:
    """All of them, in their order."""
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
    """The last word of each log, and a mask of those about which logs differ: they are unknown,
    since nobody knows which log was later."""
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


def from_parquet(file: pq.ParquetFile) -> Entries:
    """The entries of a shard."""
    table = file.read()
    ids = table["id"].cast(pa.large_string()).combine_chunks()
    return Entries(table["key"].to_numpy(), table["content"].to_numpy(), ids)


def to_parquet(entries: Entries) -> bytes:
    """A shard of them."""
    table = pa.table({"key": entries.keys, "content": entries.contents, "id": entries.ids})
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        use_dictionary=False,
        write_statistics=False,
        column_encoding={
            "key": "DELTA_BINARY_PACKED",
            "content": "PLAIN",
            "id": "DELTA_LENGTH_BYTE_ARRAY",
        },
    )
    return buffer.getvalue()
