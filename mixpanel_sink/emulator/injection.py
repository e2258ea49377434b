"""What an injected fault makes of a request and of its answer."""

import asyncio
from collections.abc import Iterator
from email.utils import formatdate
from time import time
from typing import Any

import orjson
from starlette.responses import Response

from mixpanel_sink.emulator import answers
from mixpanel_sink.emulator.answers import Answer, Refused
from mixpanel_sink.emulator.delivery import NO_TAMPERING, Tampering
from mixpanel_sink.emulator.exchange import response_of
from mixpanel_sink.emulator.faults import Fault
from mixpanel_sink.emulator.protocol import Cut, CutShort, Paced
from mixpanel_sink.emulator.rows import Detail, Entry
from mixpanel_sink.emulator.settings import Settings
from mixpanel_sink.emulator.state import State

_STREAM_PART = b"x" * 65536


async def inject(
    state: State, entry: Entry, fault: Fault, number: int | None, answer: Answer
) -> Response:
    """The response that the fault makes of the answer; the log gets what is really sent."""
    response: Response | None = None
    if fault.kind in ("reset", "refuse"):
        response = Cut()
        if fault.kind == "refuse" and state.refuse is not None:
            await state.refuse(fault.seconds)
    elif fault.kind == "truncate":
        response = CutShort(answer)
    elif fault.kind == "drip":
        drops = (answer.body[n : n + 1] for n in range(len(answer.body)))
        response = Paced(drops, answer.status, answer.content_type, fault.seconds)
    elif fault.kind == "huge":
        answer = Answer(200, b"")
        response = Paced(_much(fault.amount), 200, "application/json", 0)
    else:
        answer = _disguise(state.settings, entry, fault, answer)
    entry.status = None if isinstance(response, Cut) else answer.status
    if number is None:
        detail = Detail(answer=b"" if isinstance(response, Cut) else answer.body)
        await state.write(state.store.writer.record, entry, detail=detail)
    else:
        sent = b"" if isinstance(response, Cut) else answer.body
        await state.write(state.store.writer.amend, number, entry, sent)
    if fault.kind == "slow":
        await asyncio.sleep(fault.seconds)
    return response or response_of(answer)


def _much(size: int) -> Iterator[bytes]:
    """A JSON object of about `size` bytes, or, for 0, one that never ends."""
    yield b'{"code":200,"status":"OK","error":"'
    sent = 0
    while not size or sent < size:
        part = _STREAM_PART if not size else _STREAM_PART[: size - sent]
        sent += len(part)
        yield part
    yield b'"}'


def _disguise(settings: Settings, entry: Entry, fault: Fault, answer: Answer) -> Answer:
    """The answer of a fault that leaves the connection alone."""
    if fault.kind == "status":
        if isinstance(fault.body, str):
            return Answer(fault.status, fault.body.encode(), "text/plain", fault.headers)
        return Answer(fault.status, orjson.dumps(fault.body), headers=fault.headers)
    if fault.kind == "redirect":
        status = fault.status if 300 <= fault.status <= 399 else 307
        return Answer(status, b"", "text/plain", {**fault.headers, "Location": fault.location})
    if fault.kind == "rate_limit":
        headers = {}
        if fault.retry_after_date is not None:
            headers["Retry-After"] = formatdate(time() + fault.retry_after_date, usegmt=True)
        elif fault.retry_after is not None:
            headers["Retry-After"] = fault.retry_after
        refusal = Refused(429, "Project exceeded rate limits (injected)", headers)
        return answers.refused(settings.variant, refusal)
    if fault.kind == "garbage":
        return Answer(200, b"<html><body>OK, probably</body></html>", "text/html")
    if fault.kind == "deep":
        return Answer(200, b"[" * fault.amount + b"]" * fault.amount)
    if fault.kind == "short_count" and answer.status == 200:
        # The page's shape has no count to be short of.
        count = entry.accepted if fault.really else max(0, entry.accepted - fault.drop)
        return answers.imported("reference", count)
    if fault.kind == "failed_records":
        count = entry.accepted if fault.stores else 0
        if fault.num_records_imported is not None:
            count = fault.num_records_imported
        answer = answers.partly_failed(settings, _named(fault, entry), count)
        if fault.indexes == "absent":
            content = orjson.loads(answer.body)
            del content["failed_records"]
            answer = answers.json_answer(content, 400)
    return answer


def _named(fault: Fault, entry: Entry) -> list[Any]:
    """The ``failed_records`` of a fault."""
    records = list(fault.records)
    made: list[Any] = []
    if fault.indexes == "wrong":
        made = [entry.events + 7, -1, "0", None]
    elif fault.indexes == "repeated":
        made = [0, 0]
    return records + [{"index": i, "field": "event", "message": "injected"} for i in made]


def tampering(fault: Fault | None) -> Tampering:
    """Which records the fault loses."""
    if fault is None:
        return NO_TAMPERING
    if fault.kind == "too_large":
        return Tampering(max_bytes=fault.amount)
    if fault.kind == "short_count" and fault.really:
        return Tampering(drop=fault.drop)
    if fault.kind == "failed_records":
        named = (r.get("index") for r in fault.records if isinstance(r, dict))
        lost = {i for i in named if type(i) is int}
        if fault.indexes == "repeated":
            lost.add(0)
        return Tampering(lost=frozenset(lost))
    return NO_TAMPERING
