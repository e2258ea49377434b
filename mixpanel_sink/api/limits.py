"""Mixpanel's limits, in one place.

Source: the HTTP API page (batch of 2000 events, events up to 2 MB) and the API
reference (10 MB a request, fewer than 255 properties, lists and keys, nesting of
3, times from 1971 until an hour from now, reserved distinct_ids).
"""

from __future__ import annotations

import dataclasses
import numbers
import re
import time

from mixpanel_sink.api.plain import make_plain
from mixpanel_sink.errors import SettingError


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one request and one event may hold. Sizes are uncompressed JSON bytes.

    `max_age_seconds`: older events fail; None takes them from 1971 on. /track sets five days.

    >>> Limits(batch_events=500).batch_events
    500
    """

    batch_events: int = 2000
    batch_bytes: int = 10_000_000
    event_bytes: int = 2_000_000
    max_age_seconds: float | None = None

    def __post_init__(self) -> None:
        make_plain(self)
        for name in ("batch_events", "batch_bytes", "event_bytes"):
            if not isinstance(value := getattr(self, name), numbers.Integral):
                raise SettingError(f"{name} is {value!r}; give a whole number.")
        if not 1 <= self.batch_events <= 2000:
            raise SettingError(
                f"batch_events is {self.batch_events}; Mixpanel takes 1 to 2000 events a request."
            )
        if self.event_bytes < 1 or self.batch_bytes < self.event_bytes + 4:
            raise SettingError(
                "batch_bytes must be larger than event_bytes, and both positive: "
                f"got {self.batch_bytes} and {self.event_bytes}."
            )
        age = self.max_age_seconds
        if age is not None and not (isinstance(age, numbers.Real) and age > 0):
            raise SettingError(f"max_age_seconds is {age!r}; it must be positive, or None.")


MAX_PROPERTIES = 254
MAX_LIST_ITEMS = 254
MAX_NESTED_BYTES = 8192
"""JSON of one property of an event that is a list or an object."""
MAX_NESTED_KEYS = 254
MAX_PROFILE_PROPERTIES = 2000
MAX_PROFILE_LIST_BYTES = 256_000
"""Bytes of JSON in a list of a profile; the number of its elements does not matter there."""
MAX_UPDATE_BYTES = 1_000_000
"""Bytes of JSON in an update of a profile."""
MAX_DEPTH = 3
"""Levels of objects, properties among them, and of lists directly in lists: a property may be an
object that holds an object, or a list of lists of lists."""
MAX_ID_BYTES = 255
"""Longer event names and distinct_ids would be cut by Mixpanel, and cut ids merge users."""
LONG_STRING_BYTES = 255
"""Longer property values are cut by Mixpanel; the sink sends them and counts them."""

MIN_TIME_MS = 31_536_000_000
"""1971-01-01T00:00:00Z in milliseconds since 1970."""
RETENTION_MS = 2 * 365 * 86_400_000
"""Mixpanel deletes events two years after their date ..."""
OLD_RETENTION_MS = 5 * 365 * 86_400_000
"""... or five, in older projects."""
MAX_FUTURE_MS = 3_600_000
"""Events may lie this far ahead of the clock."""

INSERT_ID = re.compile(r"[A-Za-z0-9-]{1,36}", re.ASCII)

RESERVED_DISTINCT_IDS = frozenset(
    {
        "anonymous",
        "nil",
        "none",
        "null",
        "undefined",
        "unknown",
        "0",
        "-1",
        "true",
        "false",
        "[]",
        "{}",
        "<nil>",
        "n/a",
        "na",
        "anon",
        "00000000-0000-0000-0000-000000000000",
    }
)
"""Lower case; compared without case. Mixpanel takes none of them as a `$insert_id` either."""

IGNORE = "$ignore"
"""Mixpanel drops an event in which this property is true, after a 200."""
RESERVED_PROPERTIES = frozenset({"bucket", "$bucket", "$distinct_id", "$time", "$event_name"})
"""Mixpanel has a meaning of its own for these, hides them or hides other events by them. The sink
sends them and counts them."""


def now_ms() -> int:
    """The time now, in milliseconds since 1970."""
    return int(time.time() * 1000)
