"""Request quotas over an exact rolling window."""

import math
import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_SHORT_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_FORM = re.compile(r"(\d+)\s*/\s*(?:(second|minute|hour)s?|(\d+(?:\.\d+)?)(s|m|h))\Z")


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `requests` in any `seconds` seconds.

    >>> str(Quota.parse("60/hour")), str(Quota.parse("5/30s"))
    ('60/hour', '5/30s')
    """

    requests: int
    seconds: float

    @classmethod
    def parse(cls, text: str) -> "Quota | None":
        """Read ``N/second``, ``N/minute``, ``N/hour``, ``N/30s`` or ``none``.

        Raises:
            ValueError: the text has none of these forms, or names nothing (0 requests, 0 s).
        """
        if text.strip().lower() in ("none", "off"):
            return None
        match = _FORM.match(text.strip().lower())
        if match:
            number, unit, amount, short = match.groups()
            seconds = _UNITS[unit] if unit else float(amount) * _SHORT_UNITS[short]
            if int(number) > 0 and seconds > 0:
                return cls(int(number), seconds)
        raise ValueError(
            f"the quota {text!r} is not understood: write for example 60/hour, 600/minute, "
            "10/second, 5/30s or none"
        )

    def __str__(self) -> str:
        for unit, seconds in _UNITS.items():
            if seconds == self.seconds:
                return f"{self.requests}/{unit}"
        return f"{self.requests}/{self.seconds:g}s"


class RollingWindow:
    """The stamps of the requests that count against one project's quota.

    A request that arrives at `t` is let in when fewer than `quota.requests` were let in during
    ``(t - quota.seconds, t]``. A request that is refused leaves no trace here.
    """

    def __init__(self) -> None:
        self._stamps: deque[float] = deque()

    def admit(self, stamp: float, quota: Quota) -> float | None:
        """Let the request in and return None, or refuse it and return the seconds to wait.

        `stamp` is in seconds; stamps older than the last one (pipelined requests are looked at
        late) are moved up to it. If the quota's window has grown since the last call, requests
        that had already left the old window are not remembered.
        """
        stamps = self._stamps
        if stamps and stamp < stamps[-1]:
            stamp = stamps[-1]
        while stamps and stamp - stamps[0] >= quota.seconds:
            stamps.popleft()
        if len(stamps) < quota.requests:
            stamps.append(stamp)
            return None
        # More than one may have to leave: the quota can have been lowered at run time.
        return quota.seconds - (stamp - stamps[len(stamps) - quota.requests])

    def used(self, stamp: float, quota: Quota) -> tuple[int, float]:
        """How many requests the window holds at `stamp`, and the seconds until a slot is free."""
        inside = [s for s in self._stamps if stamp - s < quota.seconds]
        if len(inside) < quota.requests:
            return len(inside), 0.0
        return len(inside), quota.seconds - (stamp - inside[len(inside) - quota.requests])


def retry_after(seconds: float) -> int:
    """Whole seconds for a Retry-After header: rounded up, at least 1."""
    return max(1, math.ceil(seconds))


def busiest_window(stamps: Iterable[float], seconds: float) -> int:
    """The most stamps that any half-open window of `seconds` seconds holds; stamps ascend."""
    window: deque[float] = deque()
    most = 0
    for stamp in stamps:
        window.append(stamp)
        while stamp - window[0] >= seconds:
            window.popleft()
        most = max(most, len(window))
    return most
