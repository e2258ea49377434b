"""What a run's events have in common: ids that repeat, and users with too many events in a day.

Both are lost silently: Mixpanel keeps one of several events with one `$insert_id`, user and
day, and hides a user's events beyond 200,000 a day. A `KeySample` finds them in bounded memory:

- It keeps the keys whose hashes are smallest, each with its number of events. What is so of them is
  so of all in proportion. As long as every key is kept, the number is exact.
- A few keys with very many events would mostly be missed so. Every 61st event is therefore counted
  by its key and by its user and day, and the most frequent ones are kept.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import Any, TypeAlias

import numpy as np

Hashes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint64]]"
Counts: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"

MOST_KEYS = 8192
"""Keys that are kept: with every hundredth event repeated, the error is about a tenth."""
MOST_FREQUENT = 512
STRIDE = 61
"""A prime, so that no period of the input hides a user."""
HOT_EVENTS = 200_000
"""Events of one user and day; Mixpanel renames those beyond to `$hotshard_events`."""
_SURELY_FREQUENT = 32
"""Sampled events of a key, from which on their number is known better so."""
_WAITING = 4 * MOST_KEYS
_DAY_MS = 86_400_000
_ALL = 1 << 64


@dataclasses.dataclass(frozen=True)
class Keys:
    """What events are compared by, in their order.

    Attributes:
        keys: hashes of id, user and day; None where no two events share an id.
        users: hashes of user and day.
    """

    keys: Hashes | None
    users: Hashes

    @classmethod
    def of(cls, ids: Hashes | None, users: Hashes, times: Counts) -> Keys:
        """By hashes of ids and users, and times in milliseconds since 1970."""
        days = (times // _DAY_MS).view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        users = _mixed(users ^ days)
        return cls(None if ids is None else _mixed(ids ^ users), users)


def _mixed(hashes: Hashes) -> Hashes:
    hashes = hashes * np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(32)
    hashes *= np.uint64(0xD6E8FEB86659FD93)
    hashes ^= hashes >> np.uint64(29)
    return hashes


class HashCounts:
    """Counts of hashes; of many, the most frequent ones or those below a limit are kept."""

    def __init__(self) -> None:
        self._hashes: list[Hashes] = []
        self._counts: list[Counts] = []
        self._waiting = 0
        self._unsorted = False

    def add(self, hashes: Hashes, counts: Counts | None = None) -> bool:
        """Adds hashes; returns whether so many wait that they should be merged."""
        self._hashes.append(hashes)
        self._counts.append(np.ones(len(hashes), np.int64) if counts is None else counts)
        self._waiting += len(hashes)
        self._unsorted = True
        return self._waiting > _WAITING

    def together(self) -> tuple[Hashes, Counts]:
        """Each hash once, in ascending order, with its count."""
        if not self._hashes:
            return np.zeros(0, np.uint64), np.zeros(0, np.int64)
        hashes, counts = np.concatenate(self._hashes), np.concatenate(self._counts)
        if self._unsorted:
            order = np.argsort(hashes)
            hashes = hashes[order]
            starts = np.flatnonzero(np.diff(hashes, prepend=~hashes[:1]))
            counts = np.add.reduceat(counts[order], starts) if len(starts) else counts
            hashes = hashes[starts]
        self.keep(hashes, counts)
        return hashes, counts

    def keep(self, hashes: Hashes, counts: Counts) -> None:
        """Keeps these and forgets all others."""
        self._hashes, self._counts, self._waiting, self._unsorted = [hashes], [counts], 0, False

    def keep_most(self, most: int) -> tuple[Hashes, Counts]:
        """The most frequent hashes, with their counts; forgets the others."""
        hashes, counts = self.together()
        if len(hashes) > most:
            chosen = np.sort(np.argpartition(counts, len(counts) - most)[-most:])
            hashes, counts = hashes[chosen], counts[chosen]
            self.keep(hashes, counts)
        return hashes, counts


class KeySample:
    """The sample of some events; those of other events can be merged into it."""

    def __init__(self) -> None:
        self._limit = _ALL
        self._smallest = HashCounts()
        self._frequent = HashCounts()
        self._users = HashCounts()
        self._events = 0

    def add(self, keys: Keys, salt: int = 0) -> None:
        """Adds events; `salt` keeps the events of different projects apart."""
        first = -self._events % STRIDE
        self._events += len(keys.users)
        mixed = np.uint64(salt)
        if self._users.add(keys.users[first::STRIDE] ^ mixed):
            self._users.keep_most(MOST_FREQUENT)
        if keys.keys is None:
            return
        hashes = keys.keys ^ mixed
        if self._frequent.add(hashes[first::STRIDE]):
            self._frequent.keep_most(MOST_FREQUENT)
        if self._limit < _ALL:
            hashes = hashes[hashes < np.uint64(self._limit)]
        if self._smallest.add(hashes):
            self._shrink()

    def merge(self, other: KeySample) -> None:
        """Adds the events of another sample."""
        if not other._events:  # most of many small files bring none
            return
        self._limit = min(self._limit, other._limit)
        self._events += other._events
        for mine, its in zip(self._tallies(), other._tallies(), strict=True):
            mine.add(*its.together())
        self._shrink()
        self._frequent.keep_most(MOST_FREQUENT)
        self._users.keep_most(MOST_FREQUENT)

    @property
    def exact(self) -> bool:
        """Whether every key was kept."""
        self._shrink()
        return self._limit == _ALL

    def repeated(self) -> int:
        """Events that share id, user and day with one before; about so many unless `exact`."""
        hashes, counts = self._shrink()
        if self._limit == _ALL:
            return int(counts.sum()) - len(counts)
        frequent, sampled = self._frequent.keep_most(MOST_FREQUENT)
        sure = sampled >= _SURELY_FREQUENT
        frequent, sampled = frequent[sure], sampled[sure]
        others = counts[~np.isin(hashes, frequent)]
        share = _ALL / max(1, self._limit)
        return round((int(others.sum()) - len(others)) * share) + int((sampled * STRIDE - 1).sum())

    def hot(self) -> int:
        """Events beyond 200,000 of one user and day, about."""
        _, sampled = self._users.keep_most(MOST_FREQUENT)
        return int(np.maximum(0, sampled * STRIDE - HOT_EVENTS).sum())

    def to_text(self) -> str:
        """The sample as ASCII for `from_text`; "" if it is empty."""
        if not self._events:
            return ""
        tallies = [
            self._shrink(),
            self._frequent.keep_most(MOST_FREQUENT),
            self._users.keep_most(MOST_FREQUENT),
        ]
        head = [self._limit % _ALL, self._events, *(len(hashes) for hashes, _ in tallies)]
        parts = [np.array(head, np.uint64).tobytes()]
        for hashes, counts in tallies:
            parts += [hashes.tobytes(), np.minimum(counts, 2**32 - 1).astype(np.uint32).tobytes()]
        return base64.b64encode(b"".join(parts)).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> KeySample:
        """The reverse of `to_text`."""
        sample = cls()
        if not text:
            return sample
        packed = base64.b64decode(text)
        limit, sample._events, *lengths = map(int, np.frombuffer(packed, np.uint64, 5))
        sample._limit, at = limit or _ALL, 40
        for tally, length in zip(sample._tallies(), lengths, strict=True):
            hashes = np.frombuffer(packed, np.uint64, length, at)
            counts = np.frombuffer(packed, np.uint32, length, at + 8 * length)
            tally.keep(hashes, counts.astype(np.int64))
            at += 12 * length
        return sample

    def _tallies(self) -> tuple[HashCounts, HashCounts, HashCounts]:
        return self._smallest, self._frequent, self._users

    def _shrink(self) -> tuple[Hashes, Counts]:
        """Keeps the smallest keys, all of whose events are counted."""
        hashes, counts = self._smallest.together()
        if len(hashes) > MOST_KEYS:
            self._limit = min(self._limit, int(hashes[MOST_KEYS]))
        if self._limit < _ALL:
            end = int(np.searchsorted(hashes, np.uint64(self._limit)))
            hashes, counts = hashes[:end], counts[:end]
            self._smallest.keep(hashes, counts)
        return hashes, counts
