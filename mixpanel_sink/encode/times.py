"""The event's time, as milliseconds since 1970."""

from __future__ import annotations

import datetime
import math
import zoneinfo
from typing import Any

from mixpanel_sink.errors import RecordError
from mixpanel_sink.limits import MAX_FUTURE_MS, MIN_TIME_MS
from mixpanel_sink.mapping import TimeColumn

PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_ISO = datetime.timedelta(microseconds=1)


def to_ms(value: Any, column: TimeColumn) -> int:
    """A column's value in milliseconds, rounded down.

    Raises:
        RecordError: if it cannot be read as a time.
    """
    if isinstance(value, bool):
        raise _wrong_type(value, column)
    if hasattr(value, "dtype") and hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    if isinstance(value, int):
        if column.unit is None or column.unit == "iso8601":
            raise RecordError(
                "time_without_unit",
                f"time ({column.name}) is a number and the mapping does not say of what. Set "
                "unit: s, ms, us or ns.",
                column.name,
            )
        return value * 1000 // PER_SECOND[column.unit]
    if isinstance(value, float):
        return _float_ms(value, column)
    if isinstance(value, str):
        if column.unit != "iso8601":
            raise RecordError(
                "time_is_text",
                f"time ({column.name}) is text. Set unit: iso8601 if it is such, or convert it.",
                column.name,
            )
        try:
            value = datetime.datetime.fromisoformat(value.replace("Z", "+00:00").strip())
        except ValueError:
            raise RecordError(
                "time_unreadable",
                f"time ({column.name}) is not ISO 8601, such as 2024-01-15T10:00:00+01:00.",
                column.name,
            ) from None
    if hasattr(value, "to_utc_datetime"):  # Beam's Timestamp
        return int(value.micros // 1000)
    if hasattr(value, "as_py") and getattr(value, "value", None) is not None:  # Arrow, nanoseconds
        return (
            int(value.value // 1_000_000)
            if value.type.tz
            else _wall_ms(
                datetime.datetime(1970, 1, 1)
                + datetime.timedelta(microseconds=value.value // 1000),
                column,
            )
        )
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return _wall_ms(value, column)
        return ((value - _EPOCH) // _ISO) // 1000
    if isinstance(value, datetime.date):
        return _wall_ms(datetime.datetime(value.year, value.month, value.day), column)
    raise _wrong_type(value, column)


def check_range(ms: int, now_ms: int, column_name: str) -> None:
    """Refuses times that Mixpanel refuses.

    Raises:
        RecordError: with a hint where another unit would fit.
    """
    if MIN_TIME_MS <= ms <= now_ms + MAX_FUTURE_MS:
        return
    hints = [
        unit
        for unit, as_ms in (("s", ms * 1000), ("us", ms // 1000), ("ns", ms // 1_000_000))
        if MIN_TIME_MS <= as_ms <= now_ms + MAX_FUTURE_MS
    ]
    try:
        read = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
        when = read.strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        when = f"{ms} ms"
    mend = (
        f" If the column's unit is not what the mapping says, it may be {hints[0]!r} "
        "where you wrote milliseconds."
        if hints
        else " Mend or exclude the record."
    )
    raise RecordError(
        "time_out_of_range",
        f"time ({column_name}) is {when} UTC; Mixpanel takes 1971 until an hour from now." + mend,
        column_name,
    )


def _float_ms(value: float, column: TimeColumn) -> int:
    if column.unit is None or column.unit == "iso8601":
        raise RecordError(
            "time_without_unit",
            f"time ({column.name}) is a number and the mapping does not say of what. Set unit: s, "
            "ms, us or ns.",
            column.name,
        )
    ms = value * (1000 / PER_SECOND[column.unit])
    if not math.isfinite(ms) or abs(ms) > 1e17:
        raise RecordError(
            "time_out_of_range", f"time ({column.name}) is {value}, no time.", column.name
        )
    return math.floor(ms + 0.5)


def _wall_ms(value: datetime.datetime, column: TimeColumn) -> int:
    aware = value.replace(tzinfo=zoneinfo.ZoneInfo(column.timezone))
    try:
        return ((aware - _EPOCH) // _ISO) // 1000
    except OverflowError:
        raise RecordError(
            "time_out_of_range", f"time ({column.name}) is {value}.", column.name
        ) from None


def _wrong_type(value: Any, column: TimeColumn) -> RecordError:
    return RecordError(
        "time_wrong_type",
        f"time ({column.name}) is a {type(value).__name__}; it must be a timestamp, a date, a "
        "number with a unit, or ISO 8601 text.",
        column.name,
    )
