"""One request's records from bytes to the store: parse, check, dedupe, record, answer.

These functions run in the emulator's one writing thread. Each fills in the request's log entry
and writes it together with the records, so that whoever has the answer finds both.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mixpanel_sink.emulator import answers, body, identity, profiles, rules
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.identity import Identities
from mixpanel_sink.emulator.rows import Entry, EventRow, UpdateRow, dedupe_key
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.store import Store

TRACK_DAYS = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a request brought, apart from credentials. `project` is known for /import only.

    `legacy` marks the old way of sending: a field ``data`` in the query or in a form. It is
    answered in the old way: JSON when `verbose`, else a bare ``1`` or ``0``. `strict` None: the
    request does not say.
    """

    body: bytes
    encoding: str = ""
    content_type: str = "application/json"
    accept: str = ""
    strict: bool | None = None
    verbose: bool = False
    legacy: bool = False
    project: Project | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """What the writing thread works with."""

    settings: Settings
    store: Store
    identities: Identities


@dataclass(frozen=True, slots=True)
class Tampering:
    """Which records a fault loses: the `drop` last ones and those at `lost` indexes.

    `max_bytes`: a larger body, uncompressed, is refused without a word on how large it may be.
    """

    drop: int = 0
    lost: frozenset[int] = frozenset()
    max_bytes: int | None = None


NO_TAMPERING = Tampering()


def import_events(
    delivery: Delivery, desk: Desk, entry: Entry, tampering: Tampering = NO_TAMPERING
) -> tuple[int, Answer]:
    """Take an /import request; return its id in the log and its answer."""
    settings, project = desk.settings, delivery.project
    assert project is not None, "an /import request is authenticated first"
    strict = delivery.strict if delivery.strict is not None else not delivery.legacy
    try:
        batch = _batch(delivery, settings, entry, tampering)
        if settings.variant == "page":
            _same_token(batch.objects, project)
    except Refused as refusal:
        return _refuse(delivery, desk, entry, refusal)
    reference = settings.variant == "reference"
    checks = rules.Rules(
        now=time.time(),
        max_event_bytes=settings.event_limit,
        needs_insert_id=reference and strict,
        underscores=not reference,
        device_is_enough=project.identity_mode == "simplified",
    )
    rows: list[EventRow] = []
    failed: list[Any] = []
    kept = len(batch.objects) - tampering.drop
    error: str | None = None
    for index, (event, text) in enumerate(zip(batch.objects, batch.texts, strict=True)):
        found = _check(event, len(text), checks, entry.path, project, settings)
        if type(found) is int:
            if index < kept and index not in tampering.lost:
                rows.append(_row(event, text, found, project, desk, entry))
        else:
            assert isinstance(found, rules.Problem)
            error = error or found.message
            insert_id = _insert_id(event)
            failed.append(answers.failed_record(settings, index, insert_id, *found))
    entry.failed = len(failed)
    entry.accepted = len(rows)
    if failed and strict:
        answer = answers.partly_failed(settings, failed, len(rows))
        entry.error = answers.SOME_FAILED
    elif delivery.legacy:
        answer = answers.tracked(delivery.verbose, None if rows else error)
        entry.error = error
    else:
        answer = answers.imported(settings.variant, len(rows))
    return _record(desk, entry, answer, rows), answer


def track_events(
    delivery: Delivery, desk: Desk, entry: Entry, tampering: Tampering = NO_TAMPERING
) -> tuple[int, Answer]:
    """Take a /track request; return its id in the log and its answer.

    Records that break a rule are dropped. The answer is an error when none is left, or (in
    JSON) when a token is wrong; a bare ``1`` hides a wrong token, as Mixpanel's does. With
    ``strict=1`` it names each record that failed.
    """
    settings = desk.settings
    as_json = _answers_json(delivery, settings)
    try:
        batch = _batch(delivery, settings, entry, tampering)
    except Refused as refusal:
        return _refuse_tracked(desk, entry, refusal, as_json)
    now = time.time()
    tokens = settings.tokens()
    checks = rules.Rules(
        now=now,
        max_event_bytes=settings.event_limit,
        needs_time=False,
        needs_distinct_id=settings.variant == "page",
        needs_insert_id=False,
        underscores=settings.variant == "page",
        device_is_enough=True,
        oldest=now - TRACK_DAYS * 86400,
    )
    rows: list[EventRow] = []
    failed: list[Any] = []
    valid = 0
    error = token_error = None
    kept = len(batch.objects) - tampering.drop
    for index, (event, text) in enumerate(zip(batch.objects, batch.texts, strict=True)):
        project = tokens.get(_property(event, "token"))
        found = _check(event, len(text), checks, entry.path, project, settings)
        if type(found) is int:
            valid += 1
            if project is not None:
                if index < kept and index not in tampering.lost:
                    rows.append(_row(event, text, found, project, desk, entry))
                continue
            token_error = "Invalid token"
            found = rules.Problem("properties.token", token_error)
        assert isinstance(found, rules.Problem)
        error = error or found.message
        failed.append(answers.failed_record(settings, index, _insert_id(event), *found))
    entry.failed = len(batch.objects) - len(rows)
    entry.accepted = len(rows)
    entry.error = token_error or error
    if delivery.strict:
        answer = _strict(settings, failed, len(rows))
    else:
        told = (token_error if as_json else None) or (None if valid else error)
        answer = answers.tracked(as_json, told)
    return _record(desk, entry, answer, rows), answer


def update_profiles(
    delivery: Delivery, desk: Desk, entry: Entry, tampering: Tampering = NO_TAMPERING
) -> tuple[int, Answer]:
    """Take an /engage or /groups request; return its id in the log and its answer.

    Valid updates are applied in their order. Mixpanel takes wrong ones without a word, unless
    it is asked to be verbose or strict.
    """
    settings = desk.settings
    as_json = _answers_json(delivery, settings)
    kind = entry.path.strip("/")
    try:
        if delivery.encoding.strip().lower() not in ("", "identity"):
            raise Refused(415, f"{entry.path} takes no Content-Encoding: send plain JSON")
        batch = _batch(delivery, settings, entry, tampering)
    except Refused as refusal:
        return _refuse_tracked(desk, entry, refusal, as_json)
    tokens = settings.tokens()
    rows: list[UpdateRow] = []
    failed: list[Any] = []
    kept = len(batch.objects) - tampering.drop
    for index, (update, text) in enumerate(zip(batch.objects, batch.texts, strict=True)):
        problem = profiles.check(kind, update) if text else rules.Problem("", "nested too deeply")
        project = None if problem else tokens.get(update["$token"])
        if project is None:
            problem = problem or rules.Problem("$token", "Invalid token")
            entry.error = entry.error or problem.message
            failed.append(answers.failed_record(settings, index, "", *problem))
        elif index < kept and index not in tampering.lost:
            rows.append(_update_row(kind, update, text, project, entry))
    entry.failed = len(batch.objects) - len(rows)
    entry.accepted = len(rows)
    if delivery.strict:
        answer = _strict(settings, failed, len(rows))
    else:
        answer = answers.tracked(as_json, entry.error if as_json else None)
    entry.status = answer.status
    entry.project = _only(rows)
    return desk.store.writer.record(entry, updates=rows), answer


def _strict(settings: Settings, failed: Sequence[Any], good: int) -> Answer:
    if failed:
        return answers.partly_failed(settings, failed, good, count_name=settings.strict_count)
    return answers.all_good(settings, good)


def _batch(
    delivery: Delivery, settings: Settings, entry: Entry, tampering: Tampering
) -> body.Batch:
    raw = body.decode(delivery.body, delivery.encoding, settings.max_body_bytes)
    entry.body_bytes = len(raw)
    if tampering.max_bytes is not None and len(raw) > tampering.max_bytes:
        raise Refused(413, "Request Entity Too Large")
    batch = body.parse(raw, delivery.content_type)
    entry.events = len(batch.objects)
    if len(batch.objects) > settings.max_batch:
        raise Refused(
            400,
            f"the batch is too large: {len(batch.objects)} records, "
            f"the limit is {settings.max_batch} a request",
        )
    return batch


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
    size: int,
    checks: rules.Rules,
    path: str,
    project: Project | None,
    settings: Settings,
) -> rules.Problem | int:
    name = event.get("event") if type(event) is dict else None
    if type(name) is not str or name not in identity.EVENTS:
        return rules.check(event, size, checks)
    found = rules.check(event, size, checks.for_identity())
    if type(found) is not int or project is None:
        return found
    return identity.check(event, path, project, settings) or found


def _row(
    event: dict[str, Any],
    text: bytes,
    long_strings: int,
    project: Project,
    desk: Desk,
    entry: Entry,
) -> EventRow:
    settings, name, properties = desk.settings, event["event"], event["properties"]
    if long_strings:
        entry.truncated_strings += long_strings
        event["properties"] = properties = rules.shorten(properties)
        text = orjson.dumps(event)
    insert_id = properties.get("$insert_id")
    distinct_id = properties.get("distinct_id")
    if name in identity.EVENTS:
        desk.identities.take(event, project, settings)
        distinct_id = identity.named_by(event)
    elif project.identity_mode == "simplified" and (
        "$device_id" in properties or "$user_id" in properties
    ):
        user, device = properties.get("$user_id"), properties.get("$device_id")
        desk.identities.pair(device, user, project)
        distinct_id = identity.user_of(user, device) or distinct_id
    given = properties.get("time")
    moment = rules.epoch_ms(given) if given is not None else int(entry.arrived * 1000)
    key: int | None = None
    if insert_id is None:
        entry.without_insert_id += 1
    elif settings.dedupe_rule == "page":
        key = dedupe_key("page", project.id, insert_id)
    else:
        key = dedupe_key(project.id, name, moment, distinct_id, insert_id)
    return EventRow(project.id, key, name, distinct_id, insert_id, moment, text)


def _update_row(
    kind: str, update: Mapping[str, Any], text: bytes, project: Project, entry: Entry
) -> UpdateRow:
    given = update.get("$time")
    seen: int | None = rules.epoch_ms(given) if given is not None else int(entry.arrived * 1000)
    if update.get("$ignore_time") in (True, 1, "true", "1"):
        seen = None
    geo = update.get("$ip", entry.geo)
    if geo in (0, "0", ""):
        geo = None
    return UpdateRow(project.id, kind, profiles.key(kind, update), seen, geo, update, text)


def _property(event: Any, name: str) -> Any:
    properties = event.get("properties") if isinstance(event, dict) else None
    return properties.get(name) if isinstance(properties, dict) else None


def _insert_id(event: Any) -> Any:
    return _property(event, "$insert_id")


def _record(desk: Desk, entry: Entry, answer: Answer, rows: Sequence[EventRow]) -> int:
    settings = desk.settings
    entry.status = answer.status
    entry.project = entry.project or _only(rows)
    links, canonical = desk.identities.changes()
    return desk.store.writer.record(
        entry,
        rows,
        dedupe_window=settings.dedupe_window if settings.dedupe_rule == "page" else None,
        keep_duplicates=settings.keep_duplicates,
        links=links,
        canonical=canonical,
    )


def _only(rows: Sequence[EventRow | UpdateRow]) -> int | None:
    """The project of all the rows, if they have one in common."""
    projects = {row.project for row in rows}
    return projects.pop() if len(projects) == 1 else None


def _refuse(delivery: Delivery, desk: Desk, entry: Entry, refusal: Refused) -> tuple[int, Answer]:
    answer = answers.refused(desk.settings.variant, refusal)
    if delivery.legacy:
        told = answers.tracked(delivery.verbose, refusal.error)
        answer = Answer(refusal.status, told.body, told.content_type)
    entry.status, entry.error, entry.failed = answer.status, refusal.error, entry.events
    return desk.store.writer.record(entry), answer


def _refuse_tracked(
    desk: Desk, entry: Entry, refusal: Refused, as_json: bool
) -> tuple[int, Answer]:
    told = answers.tracked(as_json, refusal.error)
    answer = Answer(refusal.status, told.body, told.content_type)
    entry.status, entry.error, entry.failed = answer.status, refusal.error, entry.events
    return desk.store.writer.record(entry), answer


def _answers_json(delivery: Delivery, settings: Settings) -> bool:
    """Whether /track and its like answer in JSON.

    With ``verbose=1`` always. The page also shows JSON for a plain request, and beside it
    requests with ``accept: text/plain``: so there a client that asks for text gets text.
    """
    return delivery.verbose or (
        settings.variant == "page"
        and not delivery.legacy
        and "text/plain" not in delivery.accept.lower()
    )
