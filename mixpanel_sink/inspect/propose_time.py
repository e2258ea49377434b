"""The column of the event's time, and how its values are read."""

from __future__ import annotations

import datetime
import itertools
import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

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
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%d.%m.%y", "%m/%d/%Y", "%d/%m/%Y", "%m/%d/%y", "%d/%m/%y", "%Y/%m/%d",
    "%d-%m-%Y", "%m-%d-%Y", "%Y%m%d", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
_CLOCKS = ("", "%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
_BETWEEN = (" ", ", ", "T")
_ZONES = ("", " %z", "%z")
_LOOKED_AT = 1000
"""Different texts of a column that a format must fit."""


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
    numbers = [
        name
        for name, column in columns.items()
        if types.is_integer(column.type) or types.is_floating(column.type)
    ]
    units = {name: unit for name in numbers if (unit := _unit(columns[name])) is not None}
    empty = [name for name in numbers if columns[name].null_count == len(columns[name])]
    texts = [name for name in columns if is_text(columns[name].type)]
    forms = {name: form for name in texts if (form := _form(columns[name], day_first)) is not None}
    for name in matching([*by_type, *units, *empty, *forms], _TIME):
        notes.sure("time", "when it happened")
        return name, _setting(name, columns[name], units, forms, notes)
    for found, why in (
        (by_type, "is a time; is it the event's?"),
        (forms, "holds times as text; is it the event's?"),
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


def _setting(
    name: str, column: Any, units: Mapping[str, str], forms: Mapping[str, str], notes: Notes
) -> Any:
    if types.is_timestamp(column.type) and column.type.tz is None:
        notes.guess("time", f"{name} has no time zone; is it UTC?")
        return {"column": name, "timezone": "UTC"}
    if name in units:
        unit = units[name]
        notes.guess("time", f"numbers, read as {unit} since 1970 because that gives sane dates")
        return {"column": name, "unit": unit}
    if types.is_integer(column.type) or types.is_floating(column.type):
        return {"column": name, "unit": _unit(column) or "ms"}
    form = forms.get(name)
    if form:
        _say_form(name, form, column, notes)
        zone = {} if "%z" in form else {"time_zone": "UTC"}
        return {"column": name, "format": form, **zone}
    if is_text(column.type):
        return {"column": name, "unit": "iso8601"}
    return name


def _say_form(name: str, form: str, column: Any, notes: Notes) -> None:
    example = str(next(iter(_texts(column))))
    read = _parsed(example, form)
    assert read is not None
    zone = "" if "%z" in form else "; is it UTC? (time_zone: Europe/Berlin, for example)"
    notes.guess("time", f"{example} is read as {read:%Y-%m-%d %H:%M:%S}{zone}")
    other = _swapped(form)
    if other is not None and _fits(_texts(column), other):
        notes.guesses.append(
            f"time: day and month of {name} could be the other way round, {other}: no day of the "
            "sample is after the 12th."
        )


def _form(column: Any, day_first: bool) -> str | None:
    """The format of texts; "" for ISO 8601; None if no known one fits all of them."""
    texts = _texts(column)
    if not texts:
        return None
    if all(map(_ISO.match, texts)):
        return ""
    if not any(character.isdigit() for character in texts[0]):
        return None
    forms = _formats(texts[0])
    found = [form for form in forms if _parsed(texts[0], form) and _fits(texts, form)]
    swapped = [form for form in found if day_first and form.startswith("%d")]
    return next(iter([*swapped, *found]), None)


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


def _fits(texts: Iterable[str], form: str) -> bool:
    return all(_parsed(text, form) for text in texts)


def _parsed(text: str, form: str) -> datetime.datetime | None:
    """The moment, if the format fits and Mixpanel takes such a time."""
    try:
        moment = datetime.datetime.strptime(text, form)
        stamp = (
            moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)
        ).timestamp()
    except (ValueError, OverflowError):
        return None
    day = 24 * 3600  # time zones apart
    return moment if MIN_TIME_MS / 1000 <= stamp <= time.time() + day else None


def _texts(column: Any) -> list[str]:
    """Different texts of the column, in the order of the sample."""
    texts: list[str] = pc.unique(column.drop_null()).slice(0, _LOOKED_AT).to_pylist()
    return [text for text in texts if text.strip()]


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
