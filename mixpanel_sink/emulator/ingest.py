"""One request's records from bytes to the store: parse, check, dedupe, record, answer.

These functions run in the emulator's one writing thread. Each fills in the request's log entry
and writes it together with the records, so that whoever has the answer finds both.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mixpanel_sink.emulator import answers, body, profiles, rules
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.store import Entry, EventRow, Store, UpdateRow, dedupe_key

TRACK_DAYS = 5


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a request brought, apart from credentials. `project` is known for /import only."""

    body: bytes
    encoding: str = ""
    content_type: str = "application/json"
    accept: str = ""
    strict: bool = True
    verbose: bool = False
    project: Project | None = None


@dataclass(frozen=True, slots=True)
class Tampering:
    """Which records a fault loses: the `drop` last ones and those at `lost` indexes."""

    drop: int = 0
    lost: frozenset[int] = frozenset()


NO_TAMPERING = Tampering()


def import_events(
    delivery: Delivery,
    settings: Settings,
    store: Store,
    entry: Entry,
    tampering: Tampering = NO_TAMPERING,
) -> tuple[int, Answer]:
    """Take an /import request; return its id in the log and its answer."""
    project = delivery.project
    assert project is not None, "an /import request is authenticated first"
    try:
        batch = _batch(delivery, settings, entry)
        if settings.variant == "page":
            _same_token(batch.objects, project)
    except Refused as refusal:
        return _refuse(settings, store, entry, refusal)
    reference = settings.variant == "reference"
    checks = rules.Rules(
        now=time.time(),
        max_event_bytes=settings.event_limit,
        needs_insert_id=reference and delivery.strict,
    )
    rows: list[EventRow] = []
    failed: list[Any] = []
    kept = len(batch.objects) - tampering.drop
    for index, (event, text) in enumerate(zip(batch.objects, batch.texts, strict=True)):
        found = rules.check(event, len(text), checks)
        if type(found) is int:
            if index < kept and index not in tampering.lost:
                rows.append(_row(event, text, found, project, settings, entry))
        else:
            assert isinstance(found, rules.Problem)
            insert_id = _insert_id(event)
            failed.append(answers.failed_record(settings, index, insert_id, *found))
    entry.failed = len(failed)
    entry.accepted = len(rows)
    if failed and delivery.strict:
        answer = answers.partly_failed(settings, failed, len(rows))
        entry.error = answers.SOME_FAILED
    else:
        answer = answers.imported(settings.variant, len(rows))
    return _record(settings, store, entry, answer, rows), answer


def track_events(
    delivery: Delivery,
    settings: Settings,
    store: Store,
    entry: Entry,
    tampering: Tampering = NO_TAMPERING,
) -> tuple[int, Answer]:
    """Take a /track request; return its id in the log and its answer.

    Records that break a rule are dropped. The answer is an error when none is left, or (in
    JSON) when a token is wrong; a bare ``1`` hides a wrong token, as Mixpanel's does.
    """
    as_json = _answers_json(delivery, settings)
    try:
        batch = _batch(delivery, settings, entry)
    except Refused as refusal:
        return _refuse_tracked(store, entry, refusal, as_json)
    now = time.time()
    checks = rules.Rules(
        now=now,
        max_event_bytes=settings.event_limit,
        needs_time=False,
        needs_distinct_id=settings.variant == "page",
        needs_insert_id=False,
        oldest=now - TRACK_DAYS * 86400,
    )
    rows: list[EventRow] = []
    valid = 0
    error = token_error = None
    kept = len(batch.objects) - tampering.drop
    for index, (event, text) in enumerate(zip(batch.objects, batch.texts, strict=True)):
        found = rules.check(event, len(text), checks)
        if type(found) is not int:
            assert isinstance(found, rules.Problem)
            error = error or found.message
            continue
        valid += 1
        project = settings.project_by_token(event["properties"].get("token"))
        if project is None or not isinstance(event["properties"].get("token"), str):
            token_error = "Invalid token"
        elif index < kept and index not in tampering.lost:
            rows.append(_row(event, text, found, project, settings, entry))
    entry.failed = len(batch.objects) - len(rows)
    entry.accepted = len(rows)
    told = (token_error if as_json else None) or (None if valid else error)
    entry.error = token_error or error
    answer = answers.tracked(as_json, told)
    return _record(settings, store, entry, answer, rows), answer


def update_profiles(
    delivery: Delivery,
    settings: Settings,
    store: Store,
    entry: Entry,
    tampering: Tampering = NO_TAMPERING,
) -> tuple[int, Answer]:
    """Take an /engage or /groups request; return its id in the log and its answer."""
    as_json = _answers_json(delivery, settings)
    kind = entry.path.strip("/")
    try:
        batch = _batch(delivery, settings, entry)
    except Refused as refusal:
        return _refuse_tracked(store, entry, refusal, as_json)
    rows: list[UpdateRow] = []
    kept = len(batch.objects) - tampering.drop
    for index, (update, text) in enumerate(zip(batch.objects, batch.texts, strict=True)):
        problem = profiles.check(kind, update) if text else "nested too deeply"
        project = None if problem else settings.project_by_token(update["$token"])
        if project is None:
            entry.error = entry.error or problem or "Invalid token"
        elif index < kept and index not in tampering.lost:
            rows.append(UpdateRow(project.id, kind, text))
    entry.failed = len(batch.objects) - len(rows)
    entry.accepted = len(rows)
    # Mixpanel takes bad updates without a word unless it is asked to be verbose.
    answer = answers.tracked(as_json, entry.error if as_json else None)
    entry.status = answer.status
    return store.record(entry, updates=rows), answer


def _batch(delivery: Delivery, settings: Settings, entry: Entry) -> body.Batch:
    raw = body.decode(delivery.body, delivery.encoding, settings.max_body_bytes)
    entry.body_bytes = len(raw)
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
        properties = event.get("properties") if isinstance(event, dict) else None
        token = properties.get("token") if isinstance(properties, dict) else None
        if token is not None and token != project.token:
            raise Refused(200, "Invalid token")


def _row(
    event: dict[str, Any],
    text: bytes,
    long_strings: int,
    project: Project,
    settings: Settings,
    entry: Entry,
) -> EventRow:
    properties = event["properties"]
    if long_strings:
        entry.truncated_strings += long_strings
        event["properties"] = properties = rules.shorten(properties)
        text = orjson.dumps(event)
    insert_id = properties.get("$insert_id")
    distinct_id = properties.get("distinct_id")
    given = properties.get("time")
    moment = rules.epoch_ms(given) if given is not None else int(entry.arrived * 1000)
    key: int | None = None
    if insert_id is None:
        entry.without_insert_id += 1
    elif settings.dedupe_rule == "page":
        key = dedupe_key("page", project.id, insert_id)
    else:
        key = dedupe_key(project.id, event["event"], moment, distinct_id, insert_id)
    return EventRow(project.id, key, event["event"], distinct_id, insert_id, moment, text)


def _insert_id(event: Any) -> Any:
    properties = event.get("properties") if isinstance(event, dict) else None
    return properties.get("$insert_id") if isinstance(properties, dict) else None


def _record(
    settings: Settings, store: Store, entry: Entry, answer: Answer, rows: Sequence[EventRow]
) -> int:
    entry.status = answer.status
    window = settings.dedupe_window if settings.dedupe_rule == "page" else None
    return store.record(entry, rows, dedupe_window=window)


def _refuse(settings: Settings, store: Store, entry: Entry, refusal: Refused) -> tuple[int, Answer]:
    answer = answers.refused(settings.variant, refusal)
    entry.status, entry.error, entry.failed = answer.status, refusal.error, entry.events
    return store.record(entry), answer


def _refuse_tracked(
    store: Store, entry: Entry, refusal: Refused, as_json: bool
) -> tuple[int, Answer]:
    told = answers.tracked(as_json, refusal.error)
    answer = Answer(refusal.status, told.body, told.content_type)
    entry.status, entry.error, entry.failed = answer.status, refusal.error, entry.events
    return store.record(entry), answer


def _answers_json(delivery: Delivery, settings: Settings) -> bool:
    """Whether /track and its like answer in JSON.

    With ``verbose=1`` always. The page also shows JSON for a plain request, and beside it
    requests with ``accept: text/plain``: so there a client that asks for text gets text.
    """
    return delivery.verbose or (
        settings.variant == "page" and "text/plain" not in delivery.accept.lower()
    )
