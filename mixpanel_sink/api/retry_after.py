"""What a Retry-After header asks for."""

from __future__ import annotations

import datetime
import email.utils
from collections.abc import Mapping


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a Retry-After header asks for; None if it says nothing usable.

    Args:
        headers: of the answer, names in lower case.
        now: seconds since 1970, used for a date if the answer carries no Date itself.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        date = _http_date(text)
        if date is None:
            return None
        # Against the server's own clock, so that a skew between the two does not matter.
        sent = _http_date(headers.get("date", ""))
        seconds = date - (sent if sent is not None else now)
    # NaN, negative and infinite values do not say when, and after a refusal neither does 0.
    return seconds if 0 < seconds < 1e9 else None


def _http_date(text: str) -> float | None:
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=datetime.timezone.utc)
    return date.timestamp()
