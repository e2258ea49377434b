"""How long to try, and how long to wait between tries."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator

from mixpanel_sink.api.plain import make_plain
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.kinds import is_positive

_JITTER = 0.5
"""The share of a wait that chance may take away, so that workers do not retry in step."""


@dataclasses.dataclass(frozen=True)
class RetryPolicy:
    """When a batch is given up. Its events then become failed records.

    Args:
        transient_seconds: how long server errors, timeouts and broken connections are
            retried for a batch, all its parts together. Time spent waiting for the quota
            does not count, nor do pauses that the server asks for beyond `longest_wait`.
        throttled_seconds: how long 429 answers are obeyed without one success between, and
            other pauses that the server asks for. A Retry-After that is longer stops the job.
        connect_timeout: seconds until there is a connection.
        read_timeout: seconds until the answer is complete, once the body has left; and for each
            quarter of a megabyte of the body to leave.
        breaker: stop the job after this many batches in a row were given up.
        first_wait: seconds before the first retry, where the server names none; each
            further wait is twice as long, with jitter ...
        longest_wait: ... up to so many seconds.

    >>> RetryPolicy(transient_seconds=60).breaker
    3
    """

    transient_seconds: float = 900.0
    throttled_seconds: float = 6 * 3600.0
    connect_timeout: float = 10.0
    read_timeout: float = 90.0
    breaker: int = 3
    first_wait: float = 2.0
    longest_wait: float = 60.0

    def __post_init__(self) -> None:
        make_plain(self)
        for name, value in dataclasses.asdict(self).items():
            if not is_positive(value):
                raise SettingError(
                    f"RetryPolicy.{name} is {value!r}; it must be a positive number."
                )

    def waits(self) -> Iterator[float]:
        """Seconds to wait: `first_wait` doubling to `longest_wait`, with jitter, without end."""
        wait = min(self.first_wait, self.longest_wait)
        while True:
            yield wait * (1 - _JITTER * random.random())
            wait = min(2 * wait, self.longest_wait)
