"""Which events are known: 64-bit keys, each with the request that brought it last.

They live in memory: random places in an index on disk would be written again with every request.
The newest are in a dictionary, the others in sorted arrays, which take 16 bytes a key. Blocks keep
the keys on disk, from which they are read when the first event arrives.
"""

import sqlite3
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixpanel_sink.emulator.blocks import Numbers

_RECENT = 100_000
"""How many keys the dictionary takes: most emulators hold fewer, and need no arrays."""


class Keys:
    """The keys of stored events. Belongs to the writing thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._recent: dict[int, int] = {}
        # Sorted by key; of a key in several of them, the last one tells.
        self._sorted: list[tuple[Numbers, Numbers]] | None = None

    def forget(self) -> None:
        """Read the keys again when they are asked for: events were deleted, or brought back."""
        self._recent, self._sorted = {}, None

    def last(self, keys: Collection[int]) -> dict[int, int]:
        """The request that brought each of the keys last, for those that are known."""
        if self._sorted is None:
            self._sorted = self._read()
        recent = self._recent
        found = {key: recent[key] for key in keys if key in recent}
        if not self._sorted:
            return found
        import numpy as np

        # In order: neighbours in the arrays are found in the processor's cache.
        wanted = np.sort(np.fromiter(keys, dtype=np.int64, count=len(keys)))
        older: dict[int, int] = {}
        for known, requests in self._sorted:
            at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
            here = known[at] == wanted
            if here.any():
                older.update(zip(wanted[here].tolist(), requests[at[here]].tolist(), strict=True))
        return older | found

    def add(self, keys: Iterable[int], request: int) -> None:
        """Note that the request brought these."""
        self._recent.update(dict.fromkeys(keys, request))
        if len(self._recent) > _RECENT and self._sorted is not None:
            self._fold(self._sorted)

    def _fold(self, runs: list[tuple["Numbers", "Numbers"]]) -> None:
        """Turn the dictionary into an array, and arrays of about one size into one."""
        import numpy as np

        size = len(self._recent)
        newest = (
            np.fromiter(self._recent.keys(), dtype=np.int64, count=size),
            np.fromiter(self._recent.values(), dtype=np.int64, count=size),
        )
        runs.append(_in_order(*newest))
        self._recent = {}
        while len(runs) > 1 and len(runs[-2][0]) <= 2 * len(runs[-1][0]):
            last, before = runs.pop(), runs.pop()
            both = [np.concatenate(pair) for pair in zip(before, last, strict=True)]
            runs.append(_in_order(*both))

    def _read(self) -> list[tuple["Numbers", "Numbers"]]:
        rows = self._db.execute("SELECT first, count, request, keys FROM blocks ORDER BY first")
        blocks: list[tuple[Any, ...]] = rows.fetchall()
        if not blocks:
            return []
        import numpy as np

        first, counts, requests = np.array([row[:3] for row in blocks], dtype=np.int64).T
        keys = np.frombuffer(b"".join(row[3] for row in blocks), dtype=np.int64)
        brought = np.repeat(requests, counts)
        known = keys != 0
        if gone := self._db.execute("SELECT seq FROM gone").fetchall():
            numbers = np.array(gone, dtype=np.int64)[:, 0]
            block = np.searchsorted(first, numbers, side="right") - 1
            known[(np.cumsum(counts) - counts)[block] + numbers - first[block]] = False
        return [_in_order(keys[known], brought[known])] if known.any() else []


def _in_order(keys: "Numbers", requests: "Numbers") -> tuple["Numbers", "Numbers"]:
    """Both by key; of equal keys the last one."""
    import numpy as np

    order = np.argsort(keys, kind="stable")
    keys, requests = keys[order], requests[order]
    last = np.append(keys[1:] != keys[:-1], True)
    return keys[last], requests[last]
