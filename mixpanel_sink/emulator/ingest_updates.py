"""Profile and group updates from bytes to the store. Runs in the writing thread."""

from collections.abc import Mapping
from typing import Any

from mixpanel_sink.emulator import answers, profiles, rules
from mixpanel_sink.emulator.answers import Answer, Refused
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
from mixpanel_sink.emulator.rows import Entry, UpdateRow
from mixpanel_sink.emulator.settings import Project

INVALID_TOKEN = rules.Problem("$token", "Invalid token")


def update_profiles(
    delivery: Delivery, desk: Desk, entry: Entry, tampering: Tampering = NO_TAMPERING
) -> tuple[int, Answer]:
    """Take an /engage or /groups request; return its id in the log and its answer.

    Valid updates are applied in their order. Mixpanel takes wrong ones without a word, unless
    it is asked to be verbose or strict.
    """
    settings = desk.settings
    as_json = answers_json(delivery, settings)
    kind = entry.path.strip("/")
    try:
        if delivery.encoding.strip().lower() not in ("", "identity"):
            raise Refused(400, f"{entry.path} takes no Content-Encoding: send plain JSON")
        batch = read_batch(delivery, settings, entry, tampering)
    except Refused as refusal:
        return refuse_tracked(delivery, desk, entry, refusal, as_json)
    tokens = settings.tokens()
    rows: list[UpdateRow] = []
    failures = Failures(settings)
    for index, (update, text) in enumerate(zip(batch.objects, batch.texts, strict=True)):
        problem = profiles.check(kind, update, len(text)) if text else rules.TOO_DEEP
        project = None if problem else tokens.get(update["$token"])
        if project is None:
            failures.add(index, "", problem or INVALID_TOKEN)
        elif tampering.spares(index, len(batch.objects)):
            rows.append(_row(kind, update, text, project, entry))
    entry.failed = len(batch.objects) - len(rows)
    entry.accepted = len(rows)
    entry.error = failures.first
    if delivery.strict:
        answer = strict_answer(failures, len(rows))
    else:
        answer = answers.tracked(as_json, entry.error if as_json else None)
    answer = as_asked(answer, delivery)
    entry.status = answer.status
    entry.project = only_project(row.project for row in rows)
    detail = failures.detail(delivery, answer)
    return desk.store.writer.record(entry, updates=rows, detail=detail), answer


def _row(
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
