"""The column of the event's time, and how its values are read."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from mixpanel_sink.api.limits import MAX_FUTURE_MS, MIN_TIME_MS
from mixpanel_sink.api.numbers import PER_SECOND
from mixpanel_sink.inspect.sampled import Notes, is_text, matching
from mixpanel_sink.settings.time_formats import time_pattern

_TIME = (
    "time", "timestamp", "event_time", "event_timestamp", "occurred_at", "created_at", "ts",
    "datetime", "sent_at", "received_at", "date", "updated_at", "zeitpunkt", "zeitstempel", "datum",
    "zeit", "horodatage", "fecha", "data",
)  # fmt: skip
_CLOCK = ("time", "time_of_day", "clock", "hour", "uhrzeit", "zeit", "heure", "hora")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d",
    "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
_CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
_DIGITS = {8: "%Y%m%d", 10: "%Y%m%d%H", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""By how many there are, also in integers."""
_BETWEEN = (" ", ", ", "T")
_ZONES = ("", " %z", "%z")
_LOOKED_AT = 1000
"""Different texts of a column that are looked at."""
_TOMORROW = 24 * 3600
"""Seconds that a time may be ahead of ours: zones apart."""
_PLANNED = 5 * 365 * 24 * 3600
"""Seconds that it may be ahead and still be a date, such as a delivery's. Mixpanel refuses it, and
`check` says so."""
_MOST = 0.9
"""The share of them that a format must fit: people have a typing error or an "n/a" among dates."""


def time_of(columns: Mapping[str, Any], notes: Notes, day_first: bool) -> tuple[str, Any]:
    """The column of the time and its setting in the mapping.

    Args:
        columns: Arrow columns by name.
        notes: where to say why.
        day_first: whether 03/04/2024 is rather the third of April, where both would fit.
    """
    by_type = [
        name
        for name, column in columns.items()
        if types.is_timestamp(column.type) or types.is_date(column.type)
    ]
    digits = {
        name: form
        for name, column in columns.items()
        if types.is_integer(column.type) and (form := _digits_form(_texts(column)))
    }
    numbers = [
        name
        for name, column in columns.items()
        if name not in digits and (types.is_integer(column.type) or types.is_floating(column.type))
    ]
    units = {name: unit for name in numbers if (unit := _unit(columns[name])) is not None}
    empty = [name for name in numbers if columns[name].null_count == len(columns[name])]
    texts = [name for name in columns if is_text(columns[name].type)]
    forms = {name: form for name in texts if (form := _form(columns[name], day_first)) is not None}
    forms |= digits
    for name in matching([*by_type, *units, *empty, *forms], _TIME):
        notes.sure("time", "when it happened")
        return name, _setting(name, columns[name], units, forms, notes)
    for found, why in (
        (by_type, "is a time; is it the event's?"),
        (forms, "holds times by a format; is it the event's?"),
        (matching(texts, _TIME), "is text, and its form was not recognized: name it by format"),
        (units, "holds numbers that would fit as times"),
    ):
        if name := next(iter(found), ""):
            notes.guess("time", f"{name} {why}")
            return name, _setting(name, columns[name], units, forms, notes)
    notes.guess("time", "no column looks like a time: name one")
    name = next(iter(columns), "time")
    column = columns.get(name)
    return name, name if column is None else _setting(name, column, units, forms, notes)


def with_clock(columns: Mapping[str, Any], day_first: bool) -> tuple[dict[str, Any], list[str]]:
    """Joins the day and the time of day, where these are two columns.

    Returns:
        The columns, of which the day's has both; and the names of the two. The columns as they are
        and no names where there is no such pair.
    """
    texts = [name for name in columns if is_text(columns[name].type)]
    clocks = [name for name in matching(texts, _CLOCK) if _is_clock(columns[name])]
    # Last, and only beside a time of day: to look for the form of each text takes long.
    days = [name for name in texts if clocks and _form(columns[name], day_first) in _DATES]
    if not days:
        return dict(columns), []
    day, clock = next(iter(matching(days, _TIME)), days[0]), clocks[0]
    pairs = zip(columns[day].to_pylist(), columns[clock].to_pylist(), strict=True)
    both = [None if None in pair else " ".join(pair) for pair in pairs]
    return {**columns, day: pa.chunked_array([pa.array(both, pa.string())])}, [day, clock]


def _is_clock(column: Any) -> bool:
    texts = _texts(column)
    return any(
        sum(_is_of(t, form) for t in texts) >= _MOST * len(texts) > 0 for form in _CLOCKS[1:]
    )


def _is_of(text: str, form: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(datetime.datetime.strptime(text, form))
    return False


def _setting(
    name: str, column: Any, units: Mapping[str, str], forms: Mapping[str, str], notes: Notes
) -> Any:
    if types.is_timestamp(column.type) and column.type.tz is None:
        notes.guess("time", f"{name} has no time zone; is it UTC?")
        return {"column": name, "timezone": "UTC"}
    if name in units:
        unit = units[name]
        notes.guess("time", f"numbers, read as {unit} since 1970, which gives plausible dates")
        return {"column": name, "unit": unit}
    form = forms.get(name)
    if form:
        _say_form(name, form, column, notes)
        zone = {} if "%z" in form else {"time_zone": "UTC"}
        return {"column": name, "format": form, **zone}
    if types.is_integer(column.type) or types.is_floating(column.type):
        return {"column": name, "unit": _unit(column) or "ms"}
    if is_text(column.type):
        if form is not None:
            texts = _texts(column)
            _say_misfits(name, texts, [text for text in texts if not _ISO.match(text)], notes)
        return {"column": name, "unit": "iso8601"}
    return name


def _say_form(name: str, form: str, column: Any, notes: Notes) -> None:
    texts = _texts(column)
    misfits = [text for text in texts if not _parsed(text, form)]
    example = next(text for text in texts if text not in misfits)
    read = _parsed(example, form)
    zone = "" if "%z" in form else "; is it UTC? (time_zone: Europe/Berlin, for example)"
    notes.guess("time", f"{example} is read as {read:%Y-%m-%d %H:%M:%S}{zone}")
    _say_misfits(name, texts, misfits, notes)
    other = _swapped(form)
    if other is not None and _fitting(texts, other) >= len(texts) - len(misfits):
        notes.guesses.append(
            f"time: day and month of {name} could be the other way round, {other}: no day of the "
            "sample is after the 12th."
        )


def _say_misfits(name: str, texts: list[str], misfits: list[str], notes: Notes) -> None:
    if misfits:
        notes.guesses.append(
            f"time: {len(misfits)} of {len(texts)} different texts of {name} do not fit, such as "
            f"{misfits[0]!r}; records with them fail."
        )


def _form(column: Any, day_first: bool) -> str | None:
    """The format of texts; "" for ISO 8601; None if no known one fits nearly all of them."""
    texts = _texts(column)
    least = _MOST * len(texts)
    if not texts:
        return None
    if sum(map(bool, map(_ISO.match, texts))) >= least:
        return ""
    if (digits := _digits_form(texts)) is not None:
        return digits
    forms = next(filter(None, map(_formats_of, texts[:20])), [])
    if day_first:
        forms.sort(key=lambda form: not form.startswith("%d"))
    forms = [form for form in forms if _fitting(texts, form) >= least]
    # Of 01/12 the first of December is less likely while it is in the future.
    return max(forms, key=lambda form: _fitting(texts, form, _TOMORROW), default=None)


def _formats_of(text: str) -> list[str]:
    if not any(character.isdigit() for character in text):
        return []
    return [form for form in _formats(text) if _parsed(text, form)]


def _digits_form(texts: list[str]) -> str | None:
    """The format of texts that are nothing but digits, such as 20240131."""
    form = _DIGITS.get(len(texts[0])) if texts and texts[0].isdecimal() else None
    return form if form is not None and _fitting(texts, form) >= _MOST * len(texts) else None


def _formats(text: str) -> Iterable[str]:
    """Formats whose date the text begins with. (Each one that `strptime` tries costs a
    millisecond.)"""
    dates = [date for date in _DATES if re.match(time_pattern(date).removesuffix(" *$"), text)]
    for date, clock in itertools.product(dates, _CLOCKS):
        if not clock:
            yield date
            continue
        for between, zone in itertools.product(_BETWEEN, _ZONES):
            yield f"{date}{between}{clock}{zone}"


def _swapped(form: str) -> str | None:
    """The format with day and month the other way round, where people write both."""
    if not form.startswith(("%m/%d", "%d/%m", "%m-%d", "%d-%m")):
        return None
    return form[3:5] + form[2] + form[:2] + form[5:]


def _fitting(texts: Iterable[str], form: str, until: int = _PLANNED) -> int:
    """How many of the texts a format fits."""
    return sum(_parsed(text, form, until) is not None for text in texts)


def _parsed(text: str, form: str, until: int = _PLANNED) -> datetime.datetime | None:
    """The moment, if the format fits, and if it is no more than so many seconds from now."""
    try:
        moment = datetime.datetime.strptime(text, form)
        stamp = (
            moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
        ).timestamp()
    except (ValueError, OverflowError):
        return None
    return moment if MIN_TIME_MS / 1000 <= stamp <= time.time() + until else None


def _texts(column: Any) -> list[str]:
    """Different texts of the column, or integers as text, in the order of the sample."""
    values = pc.unique(column.drop_null()).slice(0, _LOOKED_AT).to_pylist()
    return [text for text in map(str, values) if text.strip()]


def _unit(column: Any) -> str | None:
    """The unit in which nearly every number of the sample is a time that Mixpanel takes."""
    low, high = pc.quantile(column, [0.02, 0.98], interpolation="nearest").to_pylist()
    if low is None:
        return None
    latest = int(time.time() * 1000) + MAX_FUTURE_MS
    for unit, per_second in PER_SECOND.items():
        if low * 1000 // per_second >= MIN_TIME_MS and high * 1000 // per_second <= latest:
            return unit
    return None
