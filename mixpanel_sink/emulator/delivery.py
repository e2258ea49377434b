"""One request on its way to the store: what it brought, and what every endpoint does with it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from mixpanel_sink.emulator import answers, body
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.identity import Identities
from mixpanel_sink.emulator.rows import Detail, Entry
from mixpanel_sink.emulator.rules import Problem
from mixpanel_sink.emulator.settings import Project, Settings
from mixpanel_sink.emulator.store import Store


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a request brought, apart from credentials. `project` is known for /import only.

    `legacy` marks the old way of sending: a field ``data`` in the query or in a form. It is
    answered in the old way: JSON when `verbose`, else a bare ``1`` or ``0``. `strict` None: the
    request does not say. `pixel` asks for an image as the answer, `callback` for a call of this
    JavaScript function.
    """

    body: bytes
    encoding: str = ""
    content_type: str = "application/json"
    accept: str = ""
    strict: bool | None = None
    verbose: bool = False
    legacy: bool = False
    pixel: bool = False
    callback: str = ""
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

    def spares(self, index: int, total: int) -> bool:
        """Whether the record at this index, of `total`, is stored."""
        return index < total - self.drop and index not in self.lost


NO_TAMPERING = Tampering()


@dataclass(slots=True)
class Failures:
    """The records of a request that failed: for the answer and for the log."""

    settings: Settings
    answered: list[Any] = field(default_factory=list)
    logged: list[dict[str, Any]] = field(default_factory=list)
    first: str | None = None

    def add(self, index: int, insert_id: object, problem: Problem) -> None:
        """Note that the record at this index failed."""
        self.first = self.first or problem.message
        record = answers.failed_record(self.settings, index, insert_id, *problem)
        self.answered.append(record)
        self.logged.append(
            {"index": index, "insert_id": insert_id, "field": problem[0], "message": problem[1]}
        )

    def detail(self, delivery: Delivery, answer: Answer) -> Detail:
        """What the log keeps of the request besides its row."""
        return Detail(delivery.body, answer.body, orjson.dumps(self.logged))


def read_batch(
    delivery: Delivery, settings: Settings, entry: Entry, tampering: Tampering
) -> body.Batch:
    """The records of the request, within the limits of a request.

    Raises:
        Refused: 413 for too many bytes or records, 400 for a body that cannot be read.
    """
    raw = body.decode(delivery.body, delivery.encoding, settings.max_body_bytes)
    entry.body_bytes = len(raw)
    if tampering.max_bytes is not None and len(raw) > tampering.max_bytes:
        raise Refused(413, "Request Entity Too Large")
    batch = body.parse(raw, delivery.content_type)
    entry.events = len(batch.texts)
    if entry.events > settings.max_batch:
        raise Refused(
            413,
            f"the batch is too large: {entry.events} records, "
            f"the limit is {settings.max_batch} per request",
        )
    return batch


def strict_answer(failures: Failures, good: int) -> Answer:
    """The answer of a strict /track, /engage or /groups request."""
    settings = failures.settings
    if failures.answered:
        return answers.partly_failed(
            settings, failures.answered, good, count_name=settings.strict_count
        )
    return answers.all_good(settings, good)


def refuse_tracked(
    delivery: Delivery, desk: Desk, entry: Entry, refusal: Refused, as_json: bool
) -> tuple[int, Answer]:
    """Record and answer a /track, /engage or /groups request that is refused as a whole.

    Where nothing in the body is valid, the reference's answer is 200 and ``0``.
    """
    status = 200 if isinstance(refusal, body.Unreadable) else refusal.status
    told = answers.tracked(as_json, refusal.error)
    answer = as_asked(Answer(status, told.body, told.content_type), delivery)
    entry.status, entry.error, entry.failed = status, refusal.error, entry.events
    detail = Detail(delivery.body, answer.body)
    return desk.store.writer.record(entry, detail=detail), answer


def as_asked(answer: Answer, delivery: Delivery) -> Answer:
    """The answer of a /track, /engage or /groups request in the form that it asks for."""
    if delivery.pixel:
        return answers.pixel(answer)
    return answers.call(delivery.callback, answer) if delivery.callback else answer


def answers_json(delivery: Delivery, settings: Settings) -> bool:
    """Whether /track and its like answer in JSON.

    With ``verbose=1`` always. The page also shows JSON for a plain request, and beside it
    requests with ``accept: text/plain``: so there a client that asks for text gets text.
    """
    return delivery.verbose or (
        settings.variant == "page"
        and not delivery.legacy
        and "text/plain" not in delivery.accept.lower()
    )


def only_project(projects: Iterable[int]) -> int | None:
    """The one that they all are, if there is one."""
    different = set(projects)
    return different.pop() if len(different) == 1 else None
