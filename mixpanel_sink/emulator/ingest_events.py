"""Events from bytes to the store: parse, check, dedupe, record, answer.

These functions run in the emulator's one writing thread. Each fills in the request's log entry
and writes it together with the records, so that whoever has the answer finds both.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mixpanel_sink.emulator import answers, identity, ordinary, rules
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.body import Batch, Broken
from mixpanel_sink.emulator.delivery import (
    NO_TAMPERING,
    Delivery,
    Desk,
    Failures,
    Tampering,
    answers_json,
    as_asked,
    only_project,
    read_batch,
    refuse_tracked,
    strict_answer,
)
from mixpanel_sink.emulator.rows import Detail, Entry, EventRow, Events, dedupe_keys
from mixpanel_sink.emulator.settings import Project, Settings

TRACK_DAYS = 5
INVALID_TOKEN = rules.Problem("properties.token", "Invalid token")


def import_events(
    delivery: Delivery, desk: Desk, entry: Entry, tampering: Tampering = NO_TAMPERING
) -> tuple[int, Answer]:
    """Take an /import request; return its id in the log and its answer."""
    settings, project = desk.settings, delivery.project
    assert project is not None, "an /import request is authenticated first"
    strict = delivery.strict if delivery.strict is not None else not delivery.legacy
    # The page knows no strict requests, and calls the time a number.
    whole = strict and (settings.variant == "reference" or delivery.strict is not None)
    checks = _import_rules(settings, project, strict, whole_time=whole)
    rows: list[EventRow] = []
    events: Sequence[EventRow] | Events = rows
    failures = Failures(settings)
    try:
        batch = read_batch(delivery, settings, entry, tampering)
        found = ordinary.columns(batch.texts, checks)
        if found and tampering is NO_TAMPERING and _of(project, found.tokens, settings):
            events = _events(found, batch.texts, project, by_id=settings.dedupe_rule == "page")
        else:
            if settings.variant == "page":
                _same_token(batch.objects, project)
            taking = _Taking(desk, entry, rows, by_id=settings.dedupe_rule == "page")
            _one_by_one(batch, project, checks, taking, failures, tampering)
    except Refused as refusal:
        return _refuse(delivery, desk, entry, refusal)
    entry.failed = len(failures.logged)
    entry.accepted = len(events) + entry.dropped
    if failures.logged and strict:
        answer = answers.partly_failed(settings, failures.answered, entry.accepted)
        entry.error = answers.SOME_FAILED
    elif delivery.legacy:
        answer = answers.tracked(delivery.verbose, None if entry.accepted else failures.first)
        entry.error = failures.first
    else:
        answer = answers.imported(settings.variant, entry.accepted)
    return _record(desk, entry, answer, events, failures.detail(delivery, answer)), answer


def _one_by_one(
    batch: Batch,
    project: Project,
    checks: rules.Rules,
    taking: "_Taking",
    failures: Failures,
    tampering: Tampering,
) -> None:
    """Check each event by all the rules; take it, or note why it fails."""
    settings, path = taking.desk.settings, taking.entry.path
    records = zip(batch.objects, batch.texts, rules.plain(batch.texts), strict=True)
    for index, (event, text, plain) in enumerate(records):
        found = _check(event, text, plain, checks, path, project, settings)
        if not isinstance(found, int):
            failures.add(index, _insert_id(event), found)
        elif tampering is NO_TAMPERING or tampering.spares(index, len(batch.objects)):
            _take(event, text, found, project, taking)


def _of(project: Project, tokens: frozenset[Any], settings: Settings) -> bool:
    return settings.variant != "page" or project.token is None or tokens <= {None, project.token}


def _events(
    found: ordinary.Columns, texts: Sequence[bytes], project: Project, *, by_id: bool
) -> Events:
    """What is stored of events that are all taken as they are."""
    names, users, ids, times, _ = found
    keys = _keys(project.id, ids, None if by_id else (names, times, users))
    return Events([project.id] * len(texts), keys, names, users, ids, times, texts)


def _keys(project: int, ids: Iterable[str], beside: Sequence[Iterable[Any]] | None) -> list[int]:
    """The keys of events with these ``$insert_id``; `beside`: names, times and users tell too."""
    if beside is None:
        return dedupe_keys(f"page\0{project}\0", ids)
    rests = zip(*beside, ids, strict=True)
    return dedupe_keys(
        f"{project}\0", (f"{name}\0{time}\0{user}\0{id}" for name, time, user, id in rests)
    )


def track_events(
    delivery: Delivery, desk: Desk, entry: Entry, tampering: Tampering = NO_TAMPERING
) -> tuple[int, Answer]:
    """Take a /track request; return its id in the log and its answer.

    Records that break a rule are dropped. The answer is an error when none is left, or (in
    JSON) when a token is wrong; a bare ``1`` hides a wrong token, as Mixpanel's does. With
    ``strict=1`` it names each record that failed.
    """
    settings = desk.settings
    as_json = answers_json(delivery, settings)
    try:
        batch = read_batch(delivery, settings, entry, tampering)
    except Refused as refusal:
        return refuse_tracked(delivery, desk, entry, refusal, as_json)
    tokens, checks = settings.tokens(), _track_rules(settings, bool(delivery.strict))
    rows: list[EventRow] = []
    by_id = settings.dedupe_rule == "page"
    taking = _Taking(desk, entry, rows, by_id=by_id, now=checks.now)
    failures = Failures(settings)
    valid, token_error = 0, None
    records = zip(batch.objects, batch.texts, rules.plain(batch.texts), strict=True)
    for index, (event, text, plain) in enumerate(records):
        project = tokens.get(_property(event, "token"))
        found = _check(event, text, plain, checks, entry.path, project, settings)
        if isinstance(found, int):
            valid += 1
            if project is not None:
                if tampering.spares(index, len(batch.objects)):
                    _take(event, text, found, project, taking)
                continue
            found = INVALID_TOKEN
            token_error = found.message
        failures.add(index, _insert_id(event), found)
    entry.accepted = len(rows) + entry.dropped
    entry.failed = len(batch.objects) - entry.accepted
    entry.error = token_error or failures.first
    if delivery.strict:
        answer = strict_answer(failures, entry.accepted)
    else:
        told = (token_error if as_json else None) or (None if valid else failures.first)
        answer = answers.tracked(as_json, told)
    answer = as_asked(answer, delivery)
    return _record(desk, entry, answer, rows, failures.detail(delivery, answer)), answer


def _import_rules(
    settings: Settings, project: Project, strict: bool, *, whole_time: bool
) -> rules.Rules:
    reference = settings.variant == "reference"
    return rules.Rules(
        now=time.time(),
        max_event_bytes=settings.event_limit,
        needs_insert_id=reference and strict,
        underscores=not reference,
        device_is_enough=project.identity_mode == "simplified",
        whole_time=whole_time,
    )


def _track_rules(settings: Settings, strict: bool) -> rules.Rules:
    now = time.time()
    return rules.Rules(
        now=now,
        max_event_bytes=settings.event_limit,
        needs_time=False,
        needs_distinct_id=settings.variant == "page",
        needs_insert_id=False,
        underscores=settings.variant == "page",
        device_is_enough=True,
        oldest=now - TRACK_DAYS * 86400,
        whole_time=strict,
        future_is_now=True,
    )


def _same_token(events: Sequence[Any], project: Project) -> None:
    # The page answers HTTP 200 and status 0 here: its own example reads the error from a 200.
    if project.token is None:
        return
    for event in events:
        token = _property(event, "token")
        if token is not None and token != project.token:
            raise Refused(200, "Invalid token")


def _check(
    event: Any,
    text: bytes,
    plain: bool,
    checks: rules.Rules,
    path: str,
    project: Project | None,
    settings: Settings,
) -> rules.Problem | int:
    if type(event) is Broken:
        return rules.Problem("", event.message)
    name = event.get("event") if type(event) is dict else None
    if type(name) is not str or name not in identity.EVENTS:
        return rules.check(event, len(text), checks, plain=plain)
    found = rules.check(event, len(text), checks.for_identity())
    if type(found) is not int or project is None:
        return found
    return identity.check(event, path, project, settings) or found


@dataclass(frozen=True, slots=True)
class _Taking:
    """Where the valid events of a request go.

    `by_id`: the ``$insert_id`` alone says what a duplicate is. With `now`, in epoch seconds, a
    later time is overwritten with it.
    """

    desk: Desk
    entry: Entry
    rows: list[EventRow]
    by_id: bool
    now: float | None = None


def _take(
    event: dict[str, Any], text: bytes, long_strings: int, project: Project, taking: _Taking
) -> None:
    """Add the event's row, unless it is one that Mixpanel takes and silently drops."""
    entry, now, properties = taking.entry, taking.now, event["properties"]
    if properties.get("$ignore"):
        entry.dropped += 1
        return
    if "bucket" in properties or "$bucket" in properties:
        entry.hidden += 1
    if long_strings:
        entry.truncated_strings += long_strings
        event = rules.shorten(event)
        properties = event["properties"]
        text = orjson.dumps(event)
    time = properties.get("time")
    if now is not None and time is not None and rules.epoch_ms(time) > now * 1000:
        properties["time"] = time = int(now)
        text = orjson.dumps(event)
    moment = rules.epoch_ms(time) if time is not None else int(entry.arrived * 1000)
    name, insert_id = event["event"], properties.get("$insert_id")
    distinct_id = _user_of(name, event, project, taking.desk)
    key: int | None = None
    if insert_id is None:
        entry.without_insert_id += 1
    else:
        beside = None if taking.by_id else ((name,), (moment,), (distinct_id,))
        (key,) = _keys(project.id, (insert_id,), beside)
    taking.rows.append(EventRow(project.id, key, name, distinct_id, insert_id, moment, text))


def _user_of(name: str, event: dict[str, Any], project: Project, desk: Desk) -> str | None:
    """The event's user; what it says of ids that belong together is noted."""
    properties = event["properties"]
    if name in identity.EVENTS:
        desk.identities.take(event, project, desk.settings)
        return identity.named_by(event)
    distinct_id: str | None = properties.get("distinct_id")
    if project.identity_mode == "simplified" and (
        "$device_id" in properties or "$user_id" in properties
    ):
        user, device = properties.get("$user_id"), properties.get("$device_id")
        desk.identities.pair(device, user, project)
        return identity.user_of(user, device) or distinct_id
    return distinct_id


def _property(event: Any, name: str) -> Any:
    properties = event.get("properties") if isinstance(event, dict) else None
    return properties.get(name) if isinstance(properties, dict) else None


def _insert_id(event: Any) -> Any:
    return _property(event, "$insert_id")


def _record(
    desk: Desk,
    entry: Entry,
    answer: Answer,
    given: Sequence[EventRow] | Events,
    detail: Detail,
) -> int:
    settings, events = desk.settings, Events.of(given)
    entry.status = answer.status
    entry.project = entry.project or only_project(events.projects)
    links, canonical = desk.identities.changes()
    return desk.store.writer.record(
        entry,
        events,
        dedupe_window=settings.dedupe_window if settings.dedupe_rule == "page" else None,
        keep_duplicates=settings.keep_duplicates,
        links=links,
        canonical=canonical,
        detail=detail,
    )


def _refuse(delivery: Delivery, desk: Desk, entry: Entry, refusal: Refused) -> tuple[int, Answer]:
    answer = answers.refused(desk.settings.variant, refusal)
    if delivery.legacy:
        told = answers.tracked(delivery.verbose, refusal.error)
        answer = Answer(refusal.status, told.body, told.content_type)
    entry.status, entry.error, entry.failed = answer.status, refusal.error, entry.events
    detail = Detail(delivery.body, answer.body)
    return desk.store.writer.record(entry, detail=detail), answer
