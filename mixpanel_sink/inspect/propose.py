"""A first mapping for a file nobody has described yet: `mixpanel-sink init`.

It goes by the columns' names and types, and by a sample of their values. Whatever is a guess
says so in the mapping's comments, for a person to confirm.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pyarrow import types

from mixpanel_sink.api.limits import MAX_FUTURE_MS, MIN_TIME_MS
from mixpanel_sink.api.numbers import PER_SECOND
from mixpanel_sink.inspect.dialect import csv_settings
from mixpanel_sink.read.csv import CsvRows
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.settings.mapping import EventMapping, written_by_the_sink
from mixpanel_sink.settings.profile_mapping import ProfileMapping

SAMPLE_ROWS = 20_000
"""Rows by which a mapping is proposed."""
_EVENT = ("event_name", "event", "eventname", "action", "event_type", "activity", "name", "type")
_USER = (
    "distinct_id", "user_id", "userid", "uid", "customer_id", "account_id", "member_id",
    "visitor_id", "person_id", "client_id", "user", "customer", "user_pseudo_id", "anonymous_id",
)  # fmt: skip
_DEVICE = (
    "device_id", "anonymous_id", "user_pseudo_id", "anonymousid", "visitor_id", "client_id",
    "cookie_id", "session_id",
)  # fmt: skip
"""Columns that know users before they log in."""
_TIME = (
    "time", "timestamp", "event_time", "event_timestamp", "occurred_at", "created_at", "ts",
    "datetime", "sent_at", "received_at", "date", "updated_at",
)  # fmt: skip
_ID = ("insert_id", "event_id", "message_id", "messageid", "uuid", "guid", "row_id", "id")
_IP = ("ip", "ip_address", "client_ip", "remote_addr", "user_ip", "context_ip")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_PERSONAL = re.compile(r"e.?mail|phone|first.?name|last.?name|full.?name|address|birth|iban|ssn")


@dataclasses.dataclass(frozen=True)
class Proposal:
    """A mapping for a person to confirm.

    Attributes:
        text: YAML with comments.
        mapping: what it says.
        guesses: what should be looked at, one sentence each.
    """

    text: str
    mapping: EventMapping | ProfileMapping
    guesses: tuple[str, ...]


def propose_for(files: FileSource, title: str | None = None, rows: int = SAMPLE_ROWS) -> Proposal:
    """A mapping for files, with the settings to read them where their format does not say.

    Args:
        files: the input.
        title: what to call the events if no column names them; by default the file's name.
        rows: of the sample.

    Raises:
        InputError: if no file can be read.
    """
    path = files.files[0].path
    if title is None:
        stem = pathlib.PurePath(path).name.partition(".")[0]
        title = stem.replace("_", " ").replace("-", " ").title() or "Event"
    settings: dict[str, Any] = {}
    if isinstance(given := files.format, CsvRows):
        settings = csv_settings(path)
        own = {option.name: getattr(given, option.name) for option in given.options}
        settings |= {name: own[name] for name in own if own[name] != getattr(CsvRows(), name)}
        files = FileSource(files.patterns, CsvRows(**settings))
        settings = {"format": "csv", **settings}
    return propose(files.sample(rows), title, settings)


def propose(
    sample: pa.Table, title: str = "Event", source: Mapping[str, Any] | None = None
) -> Proposal:
    """A mapping for tables of this schema.

    Args:
        sample: the first rows of the input, with all its columns; may have no rows.
        title: what to call the events if no column names them, such as the file's name.
        source: settings with which the sample was read, for the mapping to state.
    """
    notes = _Notes()
    columns = {name: sample.column(name) for name in dict.fromkeys(sample.schema.names)}
    time_column = _time(columns, notes)
    event = _event(columns, notes, title)
    user = _user(columns, notes, taken={time_column, event.get("column")})
    insert_id = _insert_id(columns, notes)
    ip = next((name for name in _matching(columns, _IP) if _is_text(columns[name].type)), None)
    lines = [
        "# A proposal. Lines marked GUESS are for you to confirm; a bare name is a column.",
        _line("event", event.get("column", event), notes.why["event"]),
        *(_line(part, name, notes.why[part]) for part, name in user.items()),
        _line("time", _time_setting(time_column, columns, notes), notes.why["time"]),
        _line("insert_id", insert_id, notes.why["insert_id"]),
    ]
    if ip is not None:
        lines.append(_line("ip", ip, "the user's address; null or empty skips geolocation"))
    lines.append(_line("properties", "all", "or a list of columns"))
    personal = [name for name in columns if _PERSONAL.search(name.lower())]
    if personal:
        shown = yaml.safe_dump(personal, default_flow_style=True, width=10_000).strip()
        lines.append(_comment(f" exclude: {shown}   # looks personal; or --hash_properties"))
        notes.guesses.append(f"{', '.join(personal)} may be personal: send it only if you may.")
    clash = written_by_the_sink(EventMapping.from_yaml("\n".join(lines))) & columns.keys()
    clash -= {time_column, event.get("column"), *user.values(), ip}
    clash -= {insert_id} if isinstance(insert_id, str) else set()
    if clash:
        lines.append(_line("exclude", sorted(clash), "the sink itself writes such a property"))
        notes.guesses.append(f"{', '.join(sorted(clash))} is left out; or rename it.")
    if source:
        lines.append(_line("source", dict(source), "GUESS: how the files are written"))
        notes.guesses.append("source: how the files are written is told from a sample.")
    _note_nulls(columns, {"time": time_column, **event}, notes)
    lines += ["#", "# Columns:"]
    lines += [_comment(f"  {name}: {_about(sample, name)}") for name in columns]
    for name, column in columns.items():
        if _is_bytes(column.type) and name not in clash:
            notes.guesses.append(f"{name} holds bytes, which become Base64; or exclude it.")
    text = "\n".join(lines) + "\n"
    return Proposal(text, EventMapping.from_yaml(text), tuple(notes.guesses))


class _Notes:
    """Why each part is as it is, and what is a guess."""

    def __init__(self) -> None:
        self.why: dict[str, str] = {}
        self.guesses: list[str] = []

    def sure(self, part: str, why: str) -> None:
        self.why[part] = why

    def guess(self, part: str, why: str) -> None:
        self.why[part] = f"GUESS: {why}"
        self.guesses.append(f"{part}: {why}")


def _event(columns: dict[str, Any], notes: _Notes, title: str) -> dict[str, str]:
    for name in _matching(columns, _EVENT):
        column = columns[name]
        if not _is_text(column.type):
            continue
        if (kinds := _distinct(column)) is None or kinds <= max(50, len(column) // 20):
            if name in _EVENT[:2]:
                notes.sure("event", "names the event")
            else:
                notes.guess("event", f"{name} looks like the event's name ({kinds} in the sample)")
            return {"column": name}
    notes.guess("event", "no column looks like the event's name, so that all get this one")
    return {"constant": title}


def _user(columns: dict[str, Any], notes: _Notes, taken: set[str | None]) -> dict[str, str]:
    """Columns of the user, by the mapping's part."""
    fit = {n: c for n, c in columns.items() if _is_id(c.type)}
    named = _matching(columns, _USER)
    for name in named[: named.index(best)] if (best := _first(named, fit)) else named:
        notes.guesses.append(
            f"{name} is named like the user's id, but is {columns[name].type}: only text and "
            "whole numbers can be one. Cast it at its source to use it."
        )
    if best is None:
        return {"distinct_id": _any_user(fit, columns, notes, taken)}
    device = _first(_matching(columns, _DEVICE), fit)
    gaps = _nulls(columns[best])
    if gaps and device is not None and device != best:
        notes.guess("user_id", f"{best} is null in {gaps}; those rows count by {device}")
        notes.guess("device_id", "knows users before they log in; ids are merged by Mixpanel")
        if missing := _nulls(columns[device]):
            notes.guesses.append(f"{device} is null in {missing}: without both, a row fails.")
        return {"user_id": best, "device_id": device}
    if gaps:
        why = (
            f"{best} is null in {gaps}, which would fail; {{column: {best}, if_null: …}} sends them"
        )
        notes.guess("distinct_id", why)
    elif best == _first(_matching({best: None}, _USER[:2]), fit):
        notes.sure("distinct_id", "the user")
    else:
        notes.guess("distinct_id", f"{best} looks like the user's id")
    return {"distinct_id": best}


def _any_user(
    fit: dict[str, Any], columns: dict[str, Any], notes: _Notes, taken: set[str | None]
) -> str:
    rest = [n for n in fit if n not in taken and _is_text(fit[n].type)] or list(fit)
    if not rest:
        notes.guess("distinct_id", "no column could be a user's id: name one of text or integers")
        return next(iter(columns), "user_id")
    best = max(rest, key=lambda name: _distinct(fit[name]) or 0)
    notes.guess("distinct_id", "no column looks like a user's id; this one has the most values")
    return best


def _first(names: Sequence[str], fit: Collection[str]) -> str | None:
    return next((name for name in names if name in fit), None)


def _nulls(column: Any) -> str:
    """How many rows have nothing there, for people; nothing if none has."""
    if not column.null_count:
        return ""
    return f"{column.null_count:,} of {len(column):,} rows of the sample"


def _note_nulls(columns: dict[str, Any], parts: dict[str, str], notes: _Notes) -> None:
    for part, name in parts.items():
        if name in columns and part in ("time", "column") and (gaps := _nulls(columns[name])):
            notes.guesses.append(f"{name} is null in {gaps}: those rows would fail.")


def _about(sample: pa.Table, name: str) -> str:
    """A column's type and how often it is null."""
    column, field = sample.column(name), sample.schema.field(name)
    mixed = (field.metadata or {}).get(b"mixed")
    kind = f"of several types ({mixed.decode()})" if mixed else str(column.type)
    return kind + (f", null in {_nulls(column)}" if column.null_count else "")


def _time(columns: dict[str, Any], notes: _Notes) -> str:
    by_type = [
        name
        for name, column in columns.items()
        if types.is_timestamp(column.type) or types.is_date(column.type)
    ]
    whole = [name for name, column in columns.items() if types.is_integer(column.type)]
    numbers = [name for name in whole if _unit(columns[name]) is not None]
    empty = [name for name in whole if columns[name].null_count == len(columns[name])]
    for name in _matching([*by_type, *numbers, *empty], _TIME):
        notes.sure("time", "when it happened")
        return name
    if by_type:
        notes.guess("time", f"{by_type[0]} is a time; is it the event's?")
        return by_type[0]
    texts = [n for n in _matching(columns, _TIME) if _is_text(columns[n].type)]
    texts += [name for name in columns if _looks_iso(columns[name])]
    if texts:
        notes.guess("time", f"{texts[0]} is text; ISO 8601?")
        return texts[0]
    if numbers:
        notes.guess("time", f"{numbers[0]} holds numbers that would fit as times")
        return numbers[0]
    notes.guess("time", "no column looks like a time: name one")
    return next(iter(columns), "time")


def _looks_iso(column: Any) -> bool:
    if not _is_text(column.type):
        return False
    some = column.drop_null().slice(0, 20).to_pylist()
    return bool(some) and all(_ISO.match(text) for text in some)


def _time_setting(name: str, columns: dict[str, Any], notes: _Notes) -> Any:
    column = columns.get(name)
    if column is None:
        return name
    if types.is_timestamp(column.type) and column.type.tz is None:
        notes.guess("time", f"{name} has no time zone; is it UTC?")
        return {"column": name, "timezone": "UTC"}
    if types.is_integer(column.type) or types.is_floating(column.type):
        unit = _unit(column) or "ms"
        notes.guess("time", f"numbers, read as {unit} since 1970 because that gives sane dates")
        return {"column": name, "unit": unit}
    if _is_text(column.type):
        return {"column": name, "unit": "iso8601"}
    return name


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


def _insert_id(columns: dict[str, Any], notes: _Notes) -> Any:
    for name in _matching(columns, _ID):
        column = columns[name]
        if not (_is_text(column.type) or types.is_integer(column.type)) or not len(column):
            continue
        given = len(column) - column.null_count
        if given >= 0.99 * len(column) and _distinct(column) == given:
            also = (
                f", null in {column.null_count} rows, which would fail" if column.null_count else ""
            )
            notes.guess("insert_id", f"{name} is unique in the sample{also}; is it in all rows?")
            return name
    notes.sure("insert_id", "file and row: every row is an event of its own")
    return {"from": "position"}


def _matching(columns: Iterable[str], words: Sequence[str]) -> list[str]:
    """Columns of such names, best first: the very word, then one that ends in it."""
    plain = {
        name: re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("$") for name in columns
    }
    exact = [name for word in words for name, text in plain.items() if text == word]
    ends = [n for w in words if len(w) > 2 for n, text in plain.items() if text.endswith("_" + w)]
    return list(dict.fromkeys([*exact, *ends]))


def _is_text(kind: pa.DataType) -> bool:
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind)


def _is_whole(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or (types.is_decimal(kind) and kind.scale == 0)


def _is_id(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_whole(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def _distinct(column: Any) -> int | None:
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return pc.count_distinct(column, mode="only_valid").as_py() if len(column) else None


def _line(key: str, value: Any, why: str) -> str:
    text = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, sort_keys=False, allow_unicode=True
    ).strip()
    text = text.removesuffix("...").strip()
    return f"{key}: {text}".ljust(44) + f"  {_comment(' ' + why)}"


def _comment(text: str) -> str:
    return "#" + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
