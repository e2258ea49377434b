"""The event's time, as milliseconds since 1970."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import fractions
import math
import re
import zoneinfo
from collections.abc import Mapping
from typing import Any

from mixpanel_sink.api.limits import MAX_FUTURE_MS, MIN_TIME_MS
from mixpanel_sink.api.numbers import MOST_ID_BITS, PER_SECOND, whole_number
from mixpanel_sink.errors import RecordError, kind_of
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.time_formats import MONTHS

_OTHER_ISO_8601 = re.compile(
    r"\s*(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4}-?W[0-9]{2}(?:-?[1-7])?)"
    r"(?:[Tt ](?P<clock>(?:[01][0-9]|2[0-3])(?::?[0-5][0-9](?::?[0-5][0-9](?:[.,][0-9]+)?)?)?)"
    r"\s*(?:(?P<utc>Z|z|UTC|GMT)|(?P<away>[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9]){0,2}))?)?\s*"
)
"""Forms that databases do not write: without separators, with weeks, without seconds, or with
seconds in the offset. Python reads them, but it reads other things as well, in each of its versions
more."""
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_MICROSECOND = datetime.timedelta(microseconds=1)


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
        if column.format is not None:  # such as 20240131
            # Python does not write integers of thousands of digits.
            digits = str(value) if value.bit_length() <= MOST_ID_BITS else ""
            return text_ns(digits, column) // 10**6
        return value * 1000 // _per_second(column)
    if isinstance(value, float):
        return _float_ms(value, column)
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return math.floor(fractions.Fraction(value) * 1000 / _per_second(column))
    if isinstance(value, str):
        return text_ns(value, column) // 10**6
    if hasattr(value, "to_utc_datetime"):  # Beam's Timestamp
        if type(micros := getattr(value, "micros", None)) is not int:
            raise _wrong_type(value, column)
        return micros // 1000
    if hasattr(value, "as_py"):
        return _arrow_ms(value, column)
    if isinstance(value, datetime.datetime):
        if value.utcoffset() is None:
            return _wall_ms(value, column)
        return ((value - _EPOCH) // _MICROSECOND) // 1000
    if isinstance(value, datetime.date):
        return _wall_ms(datetime.datetime(value.year, value.month, value.day), column)
    raise _wrong_type(value, column)


def seconds_or_ms(value: float, latest: int) -> int:
    """A number of seconds or of milliseconds, whichever lies between 1971 and `latest`, in
    milliseconds; if neither does, of milliseconds."""
    ms = 0
    for number in (value * 1000, value):
        ms = number if isinstance(number, int) else math.floor(number + 0.5)
        if MIN_TIME_MS <= ms <= latest:
            break
    return ms


def text_ns(text: str, column: TimeColumn) -> int:
    """A text in nanoseconds since 1970, rounded down.

    Raises:
        RecordError: if it is not of the column's form.
    """
    patterns = column.patterns()
    if not patterns:
        raise RecordError(
            "time_is_text",
            f"time ({column.name}) is text. Set unit: iso8601 if it is ISO 8601, a format such as "
            "'%m/%d/%Y %H:%M', or convert it.",
            column.name,
        )
    for pattern in patterns:
        parts = _parts(text, pattern)
        if parts is None:
            continue
        wall, fraction, zone = parts
        try:
            ms = _wall_ms(wall, column) if zone is None else _zoned_ms(wall, zone)
        except OverflowError:
            raise _out_of_range(column, text) from None
        return ms * 10**6 + int(f"{fraction or ''}000000000"[:9])
    if column.format is None and (found := _OTHER_ISO_8601.fullmatch(text)):
        clock, utc, away = found["clock"] or "00", found["utc"], found["away"]
        with contextlib.suppress(ValueError):
            moment = datetime.datetime.fromisoformat(
                f"{found['date']}T{clock}{'Z' if utc else away or ''}"
            )
            if moment.utcoffset() is None:
                moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(column.timezone))
            return (moment - _EPOCH) // _MICROSECOND * 1000
    form = "ISO 8601, such as 2024-01-15T10:00:00+01:00"
    if column.format is not None:
        form = f"of the form {' or '.join(column.format)}"
    raise RecordError("time_unreadable", f"time ({column.name}) is not {form}.", column.name)


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
    advice = " Fix or exclude the record."
    per_second = PER_SECOND.get(unit or "", 0)
    for other in PER_SECOND if per_second else ():
        if MIN_TIME_MS <= ms * per_second // PER_SECOND[other] <= latest:
            advice = f" Read as {other!r} instead of {unit!r} it would fit: is the unit right?"
            break
    raise RecordError(
        "time_out_of_range",
        f"time ({column_name}) is {when}; Mixpanel takes 1971 until an hour from now.{advice}",
        column_name,
    )


def _parts(text: str, pattern: str) -> tuple[datetime.datetime, str | None, str | None] | None:
    """The wall time of a text, its fraction's digits, and its zone; None if it is not a time."""
    found = re.match(pattern, text)
    if found is None or text.endswith("\n"):  # which $ lets through
        return None
    part = found.groupdict()
    fraction, zone = part.get("fraction"), part.get("zone")
    if date := part.get("date"):
        numbers: list[Any] = [*date.split("-"), *(part["clock"] or "0:0:0").split(":")]
    else:
        numbers = [*_day(part), _hour(part), part.get("minute"), part.get("second")]
    year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
    try:
        return datetime.datetime(year, month, day, hour, minute, second), fraction, zone
    except ValueError:  # such as February 30
        return None


def _day(part: Mapping[str, str | None]) -> list[Any]:
    year, month = part.get("year"), part.get("month")
    if two := part.get("year2"):
        year = f"{20 if int(two) < 69 else 19}{two}"  # as in POSIX
    if name := part.get("month_name"):
        month = str(MONTHS.index(name[:3].lower()) + 1)
    return [year, month, part["day"]]


def _hour(part: Mapping[str, str | None]) -> str | int | None:
    if half := part.get("half"):
        return int(part["hour12"] or 0) % 12 + 12 * (half.lower() == "pm")
    return part.get("hour")


def _zoned_ms(wall: datetime.datetime, zone: str) -> int:
    digits = zone.lstrip("+-ZzUTCGM").replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    away = datetime.timedelta(minutes=-minutes if zone[0] == "-" else minutes)
    utc = wall.replace(tzinfo=datetime.timezone.utc)
    return (utc - _EPOCH - away) // _MICROSECOND // 1000


def _per_second(column: TimeColumn) -> int:
    """How many of a number column's units make a second."""
    if column.unit not in PER_SECOND:
        raise RecordError(
            "time_without_unit",
            f"time ({column.name}) is a number, and the mapping does not name its unit. Set "
            "unit: s, ms, us or ns.",
            column.name,
        )
    return PER_SECOND[column.unit]


def _float_ms(value: float, column: TimeColumn) -> int:
    ms = value * (1000 / _per_second(column))
    if not math.isfinite(ms) or abs(ms) > 1e17:
        raise RecordError(
            "time_out_of_range",
            f"time ({column.name}) is {value}, which is not a time. Fix the record.",
            column.name,
        )
    return math.floor(ms + 0.5)


def _wall_ms(value: datetime.datetime, column: TimeColumn) -> int:
    # Of a wall time that occurs twice the first is meant: a table's column does not say which.
    aware = value.replace(tzinfo=zoneinfo.ZoneInfo(column.timezone), fold=0)
    try:
        return ((aware - _EPOCH) // _MICROSECOND) // 1000
    except (OverflowError, ValueError):
        raise _out_of_range(column, value) from None


def _out_of_range(column: TimeColumn, value: Any) -> RecordError:
    return RecordError(
        "time_out_of_range",
        f"time ({column.name}) is {value}; Mixpanel takes 1971 until an hour from now. Fix or "
        "exclude the record.",
        column.name,
    )


def _arrow_ms(value: Any, column: TimeColumn) -> int:
    """The time of an Arrow scalar: with nanoseconds, or out of Python's range."""
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
            f"time ({column.name}) is thousands of years away; Mixpanel takes 1971 until an hour "
            "from now. Fix or exclude the record.",
            column.name,
        ) from None


def _wrong_type(value: Any, column: TimeColumn) -> RecordError:
    return RecordError(
        "time_wrong_type",
        f"time ({column.name}) is {kind_of(value)}; it must be a timestamp, a date, a "
        "number with a unit, or ISO 8601 text.",
        column.name,
    )
