"""Proposes a mapping for a file that has none yet: `mixpanel-sink init`.

It goes by the columns' names and types, and by a sample of their values. Whatever is a guess
says so in the mapping's comments, for a person to confirm.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import yaml
from pyarrow import types

from mixpanel_sink.errors import InputError
from mixpanel_sink.inspect.dialect import csv_settings
from mixpanel_sink.inspect.presets import proposed_for_raw_events, recognized
from mixpanel_sink.inspect.propose_time import time_of, with_clock
from mixpanel_sink.inspect.sampled import (
    Notes,
    distinct,
    is_bytes,
    is_id,
    is_text,
    keys_of_objects,
    matching,
    nulls,
    plain_name,
)
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.mapping import EventMapping, written_by_the_sink
from mixpanel_sink.settings.names import name_twice
from mixpanel_sink.settings.profile_mapping import ProfileMapping

SAMPLE_ROWS = 20_000
"""Rows by which a mapping is proposed."""
_EVENT = (
    "event_name", "event", "eventname", "action", "event_type", "activity", "name", "type",
    "ereignis", "aktion", "événement", "evenement", "evento",
)  # fmt: skip
_USER = (
    "distinct_id", "user_id", "userid", "uid", "customer_id", "account_id", "member_id",
    "visitor_id", "person_id", "client_id", "user", "customer", "user_pseudo_id", "anonymous_id",
    "kunde", "kundennummer", "kunden_id", "benutzer", "nutzer", "utilisateur", "client", "usuario",
    "cliente", "member", "subscriber_id", "player_id",
)  # fmt: skip
_MAIL = ("email", "e_mail", "email_address", "mail")
_DEVICE = (
    "device_id", "anonymous_id", "user_pseudo_id", "anonymousid", "visitor_id", "client_id",
    "cookie_id", "session_id",
)  # fmt: skip
"""Columns that know users before they log in."""
_ID = (
    "insert_id", "event_id", "message_id", "messageid", "uuid", "guid", "row_id", "id",
    "request_id", "transaction_id", "order_id", "order_number", "payment_id", "invoice_id",
    "invoice_number", "bestellnummer", "bestellnr",
)  # fmt: skip
_OF_EVENTS = re.compile(r"(.*_)?(event|action|activity|hit|interaction)_(name|type)|name|type")
"""Names that end in "name" or "type", and name events: others name products, devices, ..."""
_CONTAINERS = (
    "properties", "props", "event_properties", "event_params", "params", "payload", "data",
    "attributes",
)  # fmt: skip
"""Columns of objects that hold an event's properties."""
_IP = ("ip", "ip_address", "client_ip", "remote_addr", "user_ip", "context_ip")
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


def propose_for(files: FileSource, title: str | None = None) -> Proposal:
    """A mapping for files, with the settings to read them where their format does not say.

    Args:
        files: the input.
        title: what to call the events if no column names them; by default the file's name.

    Raises:
        InputError: if no file can be read, or nothing tells its types.
    """
    path = files.files[0].path
    if title is None:
        stem = pathlib.PurePath(path).name.partition(".")[0]
        title = stem.replace("_", " ").replace("-", " ").title() or "Event"
    settings: dict[str, Any] = {}
    if files.format.name == "CSV":
        from mixpanel_sink.read.csv import CsvRows  # which imports Polars

        plain, settings = CsvRows(), csv_settings(path)
        own = {each.name: getattr(files.format, each.name) for each in plain.options}
        settings |= {name: own[name] for name in own if own[name] != getattr(plain, name)}
        files = FileSource(files.patterns, CsvRows(**settings))
        settings = {"format": "csv", **settings}
    sample = files.sample(SAMPLE_ROWS)
    if not len(sample) and all(types.is_null(field.type) for field in sample.schema):
        raise InputError(
            f"{path} has no records, so no mapping can be proposed.{_first_failure(files)}"
        )
    tool = recognized(sample.schema)
    if tool == "mixpanel":
        said = "these are Mixpanel's events already, and the mapping is that of --from mixpanel."
        text = proposed_for_raw_events(files)
        return Proposal(text, EventMapping.from_yaml(text), (said,))
    proposal = propose(sample, title, settings)
    hints = []
    if tool is not None:
        hints.append(f"it looks like an export of {tool}: --from {tool} has its whole mapping.")
    if settings and any(map(_is_value, sample.schema.names)):
        hints.append(
            f"the first line of {path} looks like a record and not like the names of columns: if "
            "there are no names, put a line of them in front."
        )
    return dataclasses.replace(proposal, guesses=(*hints, *proposal.guesses))


def _first_failure(files: FileSource) -> str:
    for element in files.spread(1):
        if isinstance(element, FailedRecord):
            return f" {element.message}"
    return ""


def _is_value(name: str) -> bool:
    """Whether a name is rather a number or a date."""
    return bool(re.fullmatch(r"[+-]?\d+([.,]\d+)?|\d{4}-\d\d-\d\d.*", name.strip()))


def propose(
    sample: pa.Table, title: str = "Event", source: Mapping[str, Any] | None = None
) -> Proposal:
    """A mapping for tables of this schema.

    Args:
        sample: the first rows of the input, with all its columns; may have no rows.
        title: what to call the events if no column names them, such as the file's name.
        source: settings with which the sample was read, for the mapping to state.

    Raises:
        InputError: if two columns have one name.
    """
    notes = Notes()
    names = sample.schema.names
    if (twice := name_twice(names)) is not None:
        raise InputError(
            f"The input has two columns named {twice!r}; rename one of them at its source."
        )
    columns = {name: sample.column(name) for name in names}
    day_first = (source or {}).get("decimal") == ","
    with_both, joined = with_clock(columns, day_first)
    time_column, time_setting = time_of(with_both, notes, day_first)
    event = _event(columns, notes, title)
    user = _user(columns, notes, taken={time_column, event.get("column")})
    insert_id = _insert_id(columns, notes)
    ip = next((name for name in matching(columns, _IP) if is_text(columns[name].type)), None)
    lines = [
        "# A proposal. Lines marked GUESS are for you to confirm; a bare name is a column.",
        _line("event", event.get("column", event), notes.why["event"]),
        *(_line(part, name, notes.why[part]) for part, name in user.items()),
        _line("time", time_setting, notes.why["time"]),
        _line("insert_id", insert_id, notes.why["insert_id"]),
    ]
    if time_column in joined:
        why = f"GUESS: {joined[0]} has the day, and {joined[1]} the time of day"
        lines.append(_line("shape", {"join": {time_column: joined}}, why))
    lines += _about_objects(columns, notes)
    if ip is not None:
        lines.append(_line("ip", ip, "the user's address; null or empty skips geolocation"))
    lines.append(_line("properties", "all", "or a list of columns"))
    personal = [name for name in columns if _PERSONAL.search(name.lower())]
    if personal:
        shown = yaml.safe_dump(personal, default_flow_style=True, width=10_000).strip()
        lines.append(_comment(f" exclude: {shown}   # looks personal; or --hash-properties"))
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
        if is_bytes(column.type) and name not in clash:
            notes.guesses.append(f"{name} holds bytes, which become Base64; or exclude it.")
    text = "\n".join(lines) + "\n"
    return Proposal(text, EventMapping.from_yaml(text), tuple(notes.guesses))


def _event(columns: dict[str, Any], notes: Notes, title: str) -> dict[str, str]:
    for name in matching(columns, _EVENT):
        column = columns[name]
        if not is_text(column.type) or not _names_events(name):
            continue
        if (kinds := distinct(column)) is None or kinds <= max(50, len(column) // 20):
            if name in _EVENT[:2]:
                notes.sure("event", "names the event")
            else:
                notes.guess("event", f"{name} looks like the event's name ({kinds} in the sample)")
            return {"column": name}
    notes.guess("event", "no column looks like the event's name, so that all get this one")
    return {"constant": title}


def _names_events(name: str) -> bool:
    word = plain_name(name)
    return not word.endswith(("name", "type")) or _OF_EVENTS.fullmatch(word) is not None


def _user(columns: dict[str, Any], notes: Notes, taken: set[str | None]) -> dict[str, str]:
    """Columns of the user, by the mapping's part."""
    fit = {n: c for n, c in columns.items() if is_id(c.type)}
    named = matching(columns, _USER)
    for name in named[: named.index(best)] if (best := _first(named, fit)) else named:
        if types.is_null(columns[name].type):
            notes.guesses.append(f"{name} is named like the user's id, but is null in the sample.")
            continue
        is_object = types.is_nested(columns[name].type)
        notes.guesses.append(
            f"{name} is named like the user's id, but is {columns[name].type}: only text and "
            f"whole numbers can be one. {'Flatten' if is_object else 'Cast'} it "
            f"{'with shape' if is_object else 'at its source'} to use it."
        )
    if best is None:
        return {"distinct_id": _any_user(fit, columns, notes, taken)}
    device = _first(matching(columns, _DEVICE), fit)
    gaps = nulls(columns[best])
    if gaps and device is not None and device != best:
        notes.guess("user_id", f"{best} is null in {gaps}; those rows count by {device}")
        notes.guess("device_id", "knows users before they log in; ids are merged by Mixpanel")
        if missing := nulls(columns[device]):
            notes.guesses.append(f"{device} is null in {missing}: without both, a row fails.")
        return {"user_id": best, "device_id": device}
    if gaps:
        why = (
            f"{best} is null in {gaps}, which would fail; {{column: {best}, if_null: …}} sends them"
        )
        notes.guess("distinct_id", why)
    elif best == _first(matching({best: None}, _USER[:2]), fit):
        notes.sure("distinct_id", "the user")
    else:
        notes.guess("distinct_id", f"{best} looks like the user's id")
    return {"distinct_id": best}


def _any_user(
    fit: dict[str, Any], columns: dict[str, Any], notes: Notes, taken: set[str | None]
) -> str:
    mail = next((n for n in matching(columns, _MAIL) if n in fit and distinct(fit[n])), None)
    if mail is not None:
        notes.guess("distinct_id", f"no column looks like a user's id; {mail} may stand for one")
        return mail
    rest = [n for n in fit if n not in taken and is_text(fit[n].type)]
    rest = rest or [n for n in fit if n not in taken] or list(fit)
    if not rest:
        notes.guess("distinct_id", "no column could be a user's id: name one of text or integers")
        return next(iter(columns), "user_id")
    # A column that is different in every row is no user's.
    repeated = [name for name in rest if (distinct(fit[name]) or 0) < len(fit[name])]
    best = max(repeated or rest, key=lambda name: distinct(fit[name]) or 0)
    notes.guess("distinct_id", "no column looks like a user's id; this one has the most values")
    return best


def _about_objects(columns: dict[str, Any], notes: Notes) -> list[str]:
    """Lines that say how the keys of objects become properties."""
    steps: dict[str, dict[str, str]] = {}
    for name, column in columns.items():
        if (keys := keys_of_objects(column)) is None:
            continue
        plain = plain_name(name) in _CONTAINERS and columns.keys().isdisjoint(keys)
        step = "json" if is_text(column.type) else "flatten"
        steps.setdefault(step, {})[name] = "" if plain else f"{name}_"
    if not steps:
        return []
    shown = _yaml(steps, allow_unicode=True)
    named = ", ".join(name for step in steps.values() for name in step)
    notes.guesses.append(f"{named}: shape can make properties of the keys; see the mapping.")
    return [_comment(f" shape: {shown}   # makes properties of their keys")]


def _first(names: Sequence[str], fit: Collection[str]) -> str | None:
    return next((name for name in names if name in fit), None)


def _note_nulls(columns: dict[str, Any], parts: dict[str, str], notes: Notes) -> None:
    for part, name in parts.items():
        if name in columns and part in ("time", "column") and (gaps := nulls(columns[name])):
            notes.guesses.append(f"{name} is null in {gaps}: those rows would fail.")


def _about(sample: pa.Table, name: str) -> str:
    """A column's type and how often it is null."""
    column, field = sample.column(name), sample.schema.field(name)
    mixed = (field.metadata or {}).get(b"mixed")
    kind = f"of several types ({mixed.decode()})" if mixed else str(column.type)
    return kind + (f", null in {nulls(column)}" if column.null_count else "")


def _insert_id(columns: dict[str, Any], notes: Notes) -> Any:
    for name in matching(columns, _ID):
        column = columns[name]
        if not (is_text(column.type) or types.is_integer(column.type)) or not len(column):
            continue
        given = len(column) - column.null_count
        if given >= 0.99 * len(column) and distinct(column) == given:
            gaps = nulls(column)
            also = f", null in {gaps}, which would fail" if gaps else ""
            notes.guess("insert_id", f"{name} is unique in the sample{also}; is it in all rows?")
            return name
    notes.sure("insert_id", "file and row: every row is an event of its own")
    return {"from": "position"}


def _line(key: str, value: Any, why: str) -> str:
    text = _yaml(value, allow_unicode=True)
    if yaml.safe_load(text) != value:  # PyYAML folds lines at U+0085, and reads a space there
        text = _yaml(value, allow_unicode=False)
    return f"{key}: {text}".ljust(44) + f"  {_comment(' ' + why)}"


def _yaml(value: Any, allow_unicode: bool) -> str:
    text = yaml.safe_dump(
        value,
        default_flow_style=True,
        width=10_000,
        sort_keys=False,
        allow_unicode=allow_unicode,
    )
    return text.strip().removesuffix("...").strip()


def _comment(text: str) -> str:
    return "#" + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
