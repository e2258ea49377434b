"""Work on the next parts of a file while the ones before are sent."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 2
AHEAD = 2
"""Items that are under way or wait while one is used."""

T = TypeVar("T")
R = TypeVar("R")


def worked_ahead(items: Iterator[T], work: Callable[[T], R]) -> Iterator[tuple[T, R]]:
    """Each item with what comes of it, in order. The first, which is mostly the only one, is worked
    on by itself; the others on threads.

    Raises:
        Exception: what `items` raises, after the items before; and what `work` raises.
    """
    for first in items:
        yield first, work(first)
        break
    broken: Exception | None = None
    queue: collections.deque[tuple[T, Future[R]]] = collections.deque()
    with ThreadPoolExecutor(THREADS, "mixpanel-read") as pool:
        try:
            while broken is None:
                try:
                    item = next(items)
                except Exception as error:  # StopIteration, too
                    broken = error
                else:
                    queue.append((item, pool.submit(work, item)))
                while len(queue) > (AHEAD if broken is None else 0):
                    item, done = queue.popleft()
                    yield item, done.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    if not isinstance(broken, StopIteration):
        assert broken is not None
        raise broken
