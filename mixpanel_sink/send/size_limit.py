"""How large a request may be: learnt from 413s, and unlearnt when they were mistaken."""

from __future__ import annotations

import sys

FIRST_TRIAL = 8
"""Requests near the limit that must be accepted before a larger one is tried."""
_LAST_TRIAL = 2048
_MORE = 4
"""How many times as many, after a larger one was refused."""


class SizeLimit:
    """The largest body that an endpoint is thought to accept. Not thread-safe.

    A 413 may be a passing fault, or come from one of several servers. So what was accepted
    before is only believed to be too large when it is refused twice, and now and then a request
    of up to twice the limit is tried: at most one in 8, then in 32, in 128, ...
    """

    def __init__(self) -> None:
        self.most = sys.maxsize
        """Bytes of a body."""
        self._accepted = 0
        self._near = 0
        self._trial = FIRST_TRIAL

    def fits(self, size: int) -> bool:
        """Whether a request of so many bytes is worth making."""
        if size <= self.most:
            return True
        if self._near < self._trial or size > 2 * self.most + 1:
            return False
        self._near = 0
        return True

    def refused(self, size: int) -> None:
        """A request of so many bytes was too large."""
        if size > self.most:
            self._trial = min(self._trial * _MORE, _LAST_TRIAL)
        elif size <= self._accepted:
            self._accepted = 0
        else:
            self.most = size - 1
            self._near = 0

    def accepted(self, size: int) -> None:
        """A request of so many bytes was accepted."""
        if size > self.most:
            self.most, self._trial = sys.maxsize, FIRST_TRIAL
        self._accepted = max(self._accepted, size)
        # A chunk that is halved until it fits has at least a quarter of the limit.
        self._near += size >= self.most // 4
