"""When an event happened, in milliseconds since 1970, from the exact value of its time column."""

from __future__ import annotations

import datetime
import decimal
import fractions
import functools
import math
import re
import zoneinfo
from typing import Any

import polars as pl

from mixpanel_sink.inspect.verify.exact import Moment, Unfit
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.settings.columns import TimeColumn

_MILLISECONDS = {
    "s": fractions.Fraction(1000),
    "ms": fractions.Fraction(1),
    "us": fractions.Fraction(1, 1000),
    "ns": fractions.Fraction(1, 10**6),
}
"""Milliseconds in one of each unit."""
_SHORT = {"T": "%H:%M:%S", "F": "%Y-%m-%d", "R": "%H:%M", "D": "%m/%d/%y", "e": "%d"}
_TWO_DIGITS = "mdHIMS"
_NUMBERS = frozenset(f"%{letter}" for letter in "YymdHIMSf")
_MONTH_NAMES = (
    "January|February|March|April|May|June|July|August|September|October|November|December"
)
_DAY_NAMES = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_MONTHS = [name[:3].lower() for name in _MONTH_NAMES.split("|")]
_MONTH, _DAY = (
    "|".join([names, *(name[:3] for name in names.split("|"))])
    for names in (_MONTH_NAMES, _DAY_NAMES)
)
_LETTERS = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d\d)",
    "f": r"(?P<f>\d+)",
    "b": f"(?P<b>(?i:{_MONTH}))",
    "B": f"(?P<b>(?i:{_MONTH}))",
    "a": f"(?i:{_DAY})",
    "A": f"(?i:{_DAY})",
    "p": r"(?P<p>(?i:am|pm))",
    "z": r"(?P<z>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)",
    "%": "%",
}
_FIRST = 365 * 86_400_000
_AHEAD = 3_600_000
_EPOCH = datetime.datetime(1970, 1, 1)
_MS = datetime.timedelta(milliseconds=1)
_ISO = re.compile(
    r"(?P<y>\d{4})(?:-?(?P<m>\d\d)-?(?P<d>\d\d)|-?W(?P<week>\d\d)(?:-?(?P<weekday>\d))?)"
    r"(?:[Tt ](?P<H>\d\d)(?::?(?P<M>\d\d)(?::?(?P<S>\d\d)(?:[.,](?P<f>\d+))?)?)?"
    r"\s*(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?)?",
    re.ASCII,
)


def event_time(value: Any, column: TimeColumn, now: int, max_age: float | None = None) -> int:
    """The time of an event.

    Args:
        value: exact.
        column: says how it is to be read.
        now: the clock, in milliseconds since 1970.
        max_age: seconds that the endpoint looks back, if it is limited.

    Raises:
        Refused: if it cannot be read, or is not between 1971 and an hour from now.
    """
    milliseconds = milliseconds_of(value, column)
    if not _FIRST <= milliseconds <= now + _AHEAD:
        raise Refused(
            "time_out_of_range",
            f"time ({column.name}) is not between 1971 and an hour from now.",
            column.name,
        )
    if max_age is not None and milliseconds < now - max_age * 1000:
        raise Refused("too_old_for_track", f"time ({column.name}) is too old.", column.name)
    return milliseconds


def is_time(milliseconds: float, now: int) -> bool:
    """Whether a number is between 1971 and an hour from now, rounded to milliseconds."""
    return _FIRST - 0.5 <= milliseconds < now + _AHEAD + 0.5


def is_possible(times: pl.Series, now: int, max_age: float | None = None) -> pl.Series:
    """Whether `event_time` takes each of these times, in milliseconds since 1970."""
    first = _FIRST if max_age is None else max(_FIRST, math.ceil(now - max_age * 1000))
    return times.is_between(first, now + _AHEAD)


def milliseconds_of(value: Any, column: TimeColumn) -> int:
    """A value as a time, whether Mixpanel takes that or not.

    Raises:
        Refused: if it cannot be read.
    """
    if isinstance(value, Moment):
        milliseconds = value.nanoseconds // 10**6
        return milliseconds if value.zoned else from_wall(milliseconds, column)
    if isinstance(value, datetime.date):
        return from_wall(
            (datetime.datetime.combine(value, datetime.time()) - _EPOCH) // _MS, column
        )
    if isinstance(value, str):
        return _from_text(value, column)
    if isinstance(value, Unfit):
        raise Refused("time_out_of_range", f"time ({column.name}) is {value.message}.", column.name)
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        raise Refused(
            "time_wrong_type", f"time ({column.name}) is a {type(value).__name__}.", column.name
        )
    if column.format is not None and (digits := _digits(value)) is not None:
        return _from_text(digits, column)
    if column.unit not in _MILLISECONDS:
        raise Refused("time_without_unit", f"time ({column.name}) has no unit.", column.name)
    if isinstance(value, int):
        unit = _MILLISECONDS[column.unit]
        return value * unit.numerator // unit.denominator
    if not math.isfinite(value) or abs(float(value)) > 1e20:
        raise Refused("time_out_of_range", f"time ({column.name}) is {value}.", column.name)
    if isinstance(value, decimal.Decimal):
        return math.floor(fractions.Fraction(value) * _MILLISECONDS[column.unit])
    # Floats are rounded to the nearest millisecond, since few of them hit one. The product is a
    # float, too, or halves would be rounded otherwise than in the import.
    return math.floor(value * float(_MILLISECONDS[column.unit]) + 0.5)


def _digits(value: float | decimal.Decimal) -> str | None:
    """Those of an integer, which some databases have as a decimal; None for other numbers."""
    if isinstance(value, decimal.Decimal) and value.is_finite() and value.adjusted() < 20:
        value = value if value % 1 else int(value)
    if not isinstance(value, int):
        return None
    return str(value) if abs(value) < 2**64 else ""  # Python does not write thousands of them


def _from_text(text: str, column: TimeColumn) -> int:
    if column.unit != "iso8601" and column.format is None:
        raise Refused("time_is_text", f"time ({column.name}) is text.", column.name)
    for form in column.format or (None,):
        try:
            if form is not None:
                return _formatted(text, form, column)
            nanoseconds, zone = _iso(text)
            away = None if zone is None else _offset(zone)
        except ValueError:
            continue
        milliseconds = nanoseconds // 10**6
        return from_wall(milliseconds, column) if away is None else milliseconds - away
    raise Refused("time_unreadable", f"time ({column.name}) cannot be read.", column.name)


def _formatted(text: str, form: str, column: TimeColumn) -> int:
    """Text of one of the mapping's formats.

    Raises:
        ValueError: if it has another form.
    """
    found = _expression(form).fullmatch(text)
    if found is None:
        raise ValueError(text)
    part = found.groupdict()
    year = int(part["Y"] if part.get("Y") else part["y"])
    if not part.get("Y"):
        year += 2000 if year < 69 else 1900
    month = int(part["m"]) if part.get("m") else _MONTHS.index(part["b"][:3].lower()) + 1
    hour = int(part.get("H") or 0)
    if part.get("p"):
        hour = int(part["I"]) % 12 + 12 * (part["p"].lower() == "pm")
    minute, second = int(part.get("M") or 0), int(part.get("S") or 0)
    wall = datetime.datetime(year, month, int(part["d"]), hour, minute, second)
    milliseconds = (wall - _EPOCH) // _MS + int((part.get("f") or "").ljust(3, "0")[:3])
    if zone := part.get("z"):
        return milliseconds - _offset(zone)
    return from_wall(milliseconds, column)


@functools.cache
def _expression(form: str) -> re.Pattern[str]:
    """What texts of a format look like, with a group for each letter."""
    for letter, meaning in _SHORT.items():
        form = re.sub(rf"(?<!%)((?:%%)*)%{letter}", rf"\1{meaning}", form)
    tokens = re.findall(r"%.| +|.", form, re.DOTALL)
    made = []
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        if token[0] == "%" and token[1] in _TWO_DIGITS:
            crowded = {before, after} & _NUMBERS
            made.append(rf"(?P<{token[1]}>\d{{{2 if crowded else '1,2'}}})")
        elif token[0] == "%":
            made.append(_LETTERS[token[1]])
        else:
            made.append(" +" if token[0] == " " else re.escape(token))
    return re.compile(f" *{''.join(made)} *", re.ASCII)


def instant(text: str) -> int:
    """Nanoseconds since 1970 of ISO 8601 text, in UTC if it has no zone.

    Raises:
        ValueError: if it is something else.
    """
    nanoseconds, zone = _iso(text)
    return nanoseconds - (0 if zone is None else _offset(zone) * 10**6)


def _iso(text: str) -> tuple[int, str | None]:
    """What a clock shows, in nanoseconds since 1970, and its zone."""
    found = _ISO.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(found[name] or 0) for name in "ymdHMS")
    if found["week"]:
        weekday = int(found["weekday"] or 1)
        year, month, day = datetime.date.fromisocalendar(
            year, int(found["week"]), weekday
        ).timetuple()[:3]
    wall = datetime.datetime(year, month, day, hour, minute, second)
    fraction = int((found["f"] or "").ljust(9, "0")[:9])
    return (wall - _EPOCH) // datetime.timedelta(seconds=1) * 10**9 + fraction, found["zone"]


def _offset(zone: str) -> int:
    if zone[0] not in "+-":
        return 0
    digits = zone[1:].replace(":", "").ljust(6, "0")
    away = datetime.time(int(digits[:2]), int(digits[2:4]), int(digits[4:]))  # refuses 24 hours
    seconds = (away.hour * 60 + away.minute) * 60 + away.second
    return (-seconds if zone[0] == "-" else seconds) * 1000


def from_wall(milliseconds: int, column: TimeColumn) -> int:
    """What a clock on the wall of the column's time zone shows, as an instant.

    Raises:
        Refused: if the year is beyond 1 to 9999.
    """
    if column.timezone == "UTC":
        return milliseconds
    try:
        wall = _EPOCH + datetime.timedelta(milliseconds=milliseconds)
        offset = wall.replace(tzinfo=zoneinfo.ZoneInfo(column.timezone)).utcoffset()
    except OverflowError:
        raise Refused(
            "time_out_of_range", f"time ({column.name}) is thousands of years away.", column.name
        ) from None
    assert offset is not None
    return milliseconds - offset // _MS
