"""What a run with --since remembers of a file: which rows it need not read in the next version.

The watermark is the largest value of a column. The next run reads rows from the cutoff on, which
lies below the watermark. All others must be rows that this run has seen: so it keeps their number,
and the sum of a hash of their values. If these differ, rows came late, were changed or were
removed: the file is not complete then, and the next run reads it as a whole.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

Values = np.ndarray[Any, np.dtype[np.int64]]
Amount = tuple[int, int]
"""How many rows, and the sum of their hashes in 64 bits."""
_NONE: Amount = (0, 0)
_STORED = {"TEXT": ("TIMESTAMP", 1000), "DIGITS": ("INT64", 1)}
"""What text counts as where people read it, and in how many of its units."""
_MASK = 2**64 - 1


class Mark(NamedTuple):
    """What is known of a file that was imported.

    Attributes:
        kind: of the column's values; see `read.since`.
        step: the overlap, in units of the values. It cuts them into buckets.
        cutoff: rows below it need not be read again.
        rows, sum: of these.
    """

    kind: str
    step: int
    cutoff: int
    rows: int
    sum: int


class Seen(NamedTuple):
    """Rows of one file, as a run has read them. Those without a value are always read again, and
    are not among them.

    Attributes:
        path: of the file.
        kind: of the values.
        largest: value.
        top: the bucket of the largest value.
        amounts: of the rows in that bucket, in the one below it, and in all those below.
        known: of the rows below the cutoff of the file's mark.
    """

    path: str
    kind: str
    largest: int
    top: int
    amounts: tuple[Amount, Amount, Amount]
    known: Amount = _NONE

    @classmethod
    def of(
        cls, path: str, kind: str, values: Values, step: int, cutoff: int | None, now: int | None
    ) -> Seen:
        """What was seen of one or more rows.

        Args:
            path: of the file.
            kind: of the values.
            values: one or more.
            step: the size of a bucket.
            cutoff: of the file's mark; None without one.
            now: larger values count as this: a row of next year must not leave out all those that
                come until then.
        """
        bounded = values if now is None else np.minimum(values, now)
        buckets = bounded // step
        top = int(buckets.max())
        hashes = _hashes(values)

        def amount(wanted: Any) -> Amount:
            return int(wanted.sum()), int(hashes[wanted].sum(dtype=np.uint64))

        amounts = amount(buckets == top), amount(buckets == top - 1), amount(buckets < top - 1)
        known = _NONE if cutoff is None else amount(values < cutoff)
        return cls(path, kind, int(bounded.max()), top, amounts, known)

    def with_(self, other: Seen) -> Seen:
        """What was seen of the rows of both."""
        top = max(self.top, other.top)
        amounts = [_NONE] * 3
        for seen in (self, other):
            for place, amount in enumerate(seen.amounts):
                below = min(2, top - seen.top + place)
                amounts[below] = _sum(amounts[below], amount)
        return self._replace(
            largest=max(self.largest, other.largest),
            top=top,
            amounts=(amounts[0], amounts[1], amounts[2]),
            known=_sum(self.known, other.known),
        )

    def mark(self, step: int) -> Mark:
        """What the next run has to know."""
        return Mark(self.kind, step, (self.top - 1) * step, *self.amounts[2])


class Before(NamedTuple):
    """What runs before the last one have imported of a file, and that one has left out.

    Attributes:
        path: of the file.
        run: the last one.
        read, failed: records.
    """

    path: str
    run: str
    read: int = 0
    failed: int = 0


def before_of(watermarks: Mapping[str, Any]) -> dict[str, Before]:
    """The counts of files with a watermark, by path."""
    found = [Before(*each["before"]) for each in watermarks.values() if "before" in each]
    return {each.path: each for each in found}


def together(parts: Iterable[Any]) -> Seen:
    """What was seen of one file, from what was seen of its parts."""
    every = [Seen(*part) for part in parts]
    return functools.reduce(Seen.with_, every[1:], every[0])


def name_of(path: str, column: str) -> str:
    """The name of a file's watermark, beside those of tables."""
    return f"{path} {column}"


def mark_of(watermarks: Mapping[str, Any], path: str, column: str) -> Mark | None:
    """A file's mark; None if there is none."""
    found = watermarks.get(name_of(path, column))
    return None if found is None or "mark" not in found else Mark(*found["mark"])


def has_others(mark: Mark | None, seen: Seen | None) -> bool:
    """Whether the rows that were left out are not those that an earlier run has seen."""
    if mark is None:
        return False
    return (mark.rows, mark.sum) != (_NONE if seen is None else seen.known)


def move(
    watermarks: dict[str, Any],
    column: str,
    step: int,
    seen: Mapping[str, Seen],
    late: Iterable[str],
    last: Mapping[str, tuple[str, int]],
    run: str,
) -> None:
    """Moves the watermarks of files, with what earlier runs have imported of them.

    Args:
        watermarks: of a checkpoint, which are changed.
        column: that tells which rows are new.
        step: the overlap.
        seen: of complete files.
        late: files that hold rows which came late; they have no watermark any more.
        last: of each file, the run that imported it last, and the failed records of that import.
        run: that has read them.
    """
    for path in late:
        watermarks.pop(name_of(path, column), None)
    earlier_of = before_of(watermarks)
    for path, found in seen.items():
        kind, unit = _STORED.get(found.kind, (found.kind, 1))
        value = kind, found.largest * unit
        mark, before = mark_of(watermarks, path, column), Before(path, run)
        if mark is not None:
            earlier, (by, count) = earlier_of.get(path), last.get(path, ("", 0))
            if earlier is not None and earlier.run == by:  # that one has not read it as a whole
                count += earlier.failed
            # One that failed in the overlap may have failed once more since; it is unknown which.
            before = Before(path, run, mark.rows, min(mark.rows, count))
        name = name_of(path, column)
        watermarks[name] = {"value": value, "mark": [*found.mark(step)], "before": [*before]}


def rename(watermarks: dict[str, Any], moved: Iterable[tuple[str, str]]) -> None:
    """Moves the watermarks of files to their new paths, given as old and new path of each."""
    new_of, found = dict(moved), {}
    for name, each in list(watermarks.items()):
        old, *rest = each.get("before", [""])
        if old in new_of:
            column = name.removeprefix(name_of(old, ""))
            found[name_of(new_of[old], column)] = {**each, "before": [new_of[old], *rest]}
            del watermarks[name]
    watermarks.update(found)


def _sum(one: Amount, other: Amount) -> Amount:
    return one[0] + other[0], (one[1] + other[1]) & _MASK


def _hashes(values: Values) -> Any:
    """SplitMix64: sums of these tell apart what sums of the values would not."""
    mixed = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
