"""The event's time, as milliseconds since 1970."""

from __future__ import annotations

import datetime
import decimal
import fractions
import math
import zoneinfo
from typing import Any

from mixpanel_sink.api.limits import MAX_FUTURE_MS, MIN_TIME_MS
from mixpanel_sink.api.numbers import PER_SECOND, whole_number
from mixpanel_sink.errors import RecordError
from mixpanel_sink.settings.columns import TimeColumn

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_ISO = datetime.timedelta(microseconds=1)


def to_ms(value: Any, column: TimeColumn) -> int:
    """A column's value in milliseconds, rounded down.

    Raises:
        RecordError: if it cannot be read as a time.
    """
    if isinstance(value, bool):
        raise _wrong_type(value, column)
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # a NumPy scalar
        if value.dtype.kind == "M":
            value = value.astype("datetime64[us]")
        value = value.item()
    if (whole := whole_number(value)) is not None:
        value = whole
    if isinstance(value, int):
        return value * 1000 // _per_second(column)
    if isinstance(value, float):
        return _float_ms(value, column)
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return math.floor(fractions.Fraction(value) * 1000 / _per_second(column))
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
        if type(micros := getattr(value, "micros", None)) is not int:
            raise _wrong_type(value, column)
        return micros // 1000
    if hasattr(value, "as_py"):
        return _arrow_ms(value, column)
    if isinstance(value, datetime.datetime):
        if value.utcoffset() is None:
            return _wall_ms(value, column)
        return ((value - _EPOCH) // _ISO) // 1000
    if isinstance(value, datetime.date):
        return _wall_ms(datetime.datetime(value.year, value.month, value.day), column)
    raise _wrong_type(value, column)


def check_range(
    ms: int,
    now_ms: int,
    column_name: str,
    unit: str | None = None,
    max_age: float | None = None,
) -> None:
    """Refuses times that Mixpanel refuses.

    Args:
        ms: the time in milliseconds.
        now_ms: the clock.
        column_name: for the message.
        unit: as which a number was read, for a hint where another would fit.
        max_age: seconds before now of the oldest event that the endpoint takes, if it minds.

    Raises:
        RecordError: if it is not from 1971 to an hour from now, or too old.
    """
    latest = now_ms + MAX_FUTURE_MS
    if MIN_TIME_MS <= ms <= latest:
        if max_age is not None and ms < now_ms - max_age * 1000:
            raise RecordError(
                "too_old_for_track",
                f"time ({column_name}) is {(now_ms - ms) / 86_400_000:.1f} days ago; /track takes "
                f"the last {max_age / 86_400:g} days only. Send older events to /import "
                '(endpoint_kind="import").',
                column_name,
            )
        return
    try:
        read = datetime.datetime.fromtimestamp(ms / 1000, datetime.timezone.utc)
        when = read.strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        when = "thousands of years away"
    mend = " Mend or exclude the record."
    per_second = PER_SECOND.get(unit or "", 0)
    for other in PER_SECOND if per_second else ():
        if MIN_TIME_MS <= ms * per_second // PER_SECOND[other] <= latest:
            mend = f" Read as {other!r} instead of {unit!r} it would fit: is the unit right?"
            break
    raise RecordError(
        "time_out_of_range",
        f"time ({column_name}) is {when}; Mixpanel takes 1971 until an hour from now.{mend}",
        column_name,
    )


def _per_second(column: TimeColumn) -> int:
    """How many of a number column's units make a second."""
    if column.unit not in PER_SECOND:
        raise RecordError(
            "time_without_unit",
            f"time ({column.name}) is a number and the mapping does not say of what. Set unit: s, "
            "ms, us or ns.",
            column.name,
        )
    return PER_SECOND[column.unit]


def _float_ms(value: float, column: TimeColumn) -> int:
    ms = value * (1000 / _per_second(column))
    if not math.isfinite(ms) or abs(ms) > 1e17:
        raise RecordError(
            "time_out_of_range", f"time ({column.name}) is {value}, no time.", column.name
        )
    return math.floor(ms + 0.5)


def _wall_ms(value: datetime.datetime, column: TimeColumn) -> int:
    aware = value.replace(tzinfo=zoneinfo.ZoneInfo(column.timezone))
    try:
        return ((aware - _EPOCH) // _ISO) // 1000
    except (OverflowError, ValueError):
        raise RecordError(
            "time_out_of_range", f"time ({column.name}) is {value}.", column.name
        ) from None


def _arrow_ms(value: Any, column: TimeColumn) -> int:
    """Of an Arrow scalar: nanoseconds, or what is out of Python's range."""
    from pyarrow import types

    kind = value.type
    if not (types.is_timestamp(kind) or types.is_date(kind)):
        raise _wrong_type(value, column)
    try:
        if types.is_date(kind):
            return _wall_ms(value.as_py(), column)
        ms = value.value * 1000 // PER_SECOND[kind.unit]
        if kind.tz:
            return int(ms)
        return _wall_ms(datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms), column)
    except (OverflowError, ValueError):
        raise RecordError(
            "time_out_of_range",
            f"time ({column.name}) lies thousands of years away; Mixpanel takes 1971 until an hour "
            "from now. Mend or exclude the record.",
            column.name,
        ) from None


def _wrong_type(value: Any, column: TimeColumn) -> RecordError:
    return RecordError(
        "time_wrong_type",
        f"time ({column.name}) is a {type(value).__name__}; it must be a timestamp, a date, a "
        "number with a unit, or ISO 8601 text.",
        column.name,
    )
