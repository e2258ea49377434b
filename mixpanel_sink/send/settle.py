"""Receipts and failed records: what a chunk's records have become."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Container, Mapping

from mixpanel_sink.api import identity
from mixpanel_sink.api.failed_records import Refusal
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run, singles
from mixpanel_sink.results import AcceptedRecord, FailedRecord, Receipt
from mixpanel_sink.send.part import Part
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.tally import (
    Tally,
    counts_of_failure,
    counts_of_receipt,
    counts_of_requests,
    tally,
)

_INSERT_ID = re.compile(rb'"\$insert_id":"([A-Za-z0-9-]{1,36})"(?:,"token":"[^"]*")?\}\}\Z')
_TOKEN = re.compile(rb',"\$?token":"[^"]*"(?=\}\}?\Z)')


@dataclasses.dataclass
class Outcome:
    """What became of a chunk, with the origin of each result."""

    receipts: list[tuple[Receipt, Run]] = dataclasses.field(default_factory=list)
    failed: list[tuple[FailedRecord, Run]] = dataclasses.field(default_factory=list)
    accepted_records: list[tuple[AcceptedRecord, Run]] = dataclasses.field(default_factory=list)
    """Only where the user asked for them."""
    statuses: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    seconds: list[float] = dataclasses.field(default_factory=list)
    """How long each single request took."""
    tally: Tally = dataclasses.field(default_factory=tally)
    """The process's, which counts everything at once."""

    @property
    def accepted(self) -> int:
        """Records that Mixpanel holds."""
        return sum(receipt.accepted for receipt, _ in self.receipts)

    def count_request(self, status: int, seconds: float) -> None:
        """Counts a request by the status of its response."""
        name = str(status) if status else "none"
        self.statuses[name] += 1
        self.seconds.append(seconds)
        self.tally.add(counts_of_requests({name: 1}))

    def settled(self, receipt: Receipt, origin: Run) -> None:
        """Adds a receipt."""
        self.receipts.append((receipt, origin))
        self.tally.add(counts_of_receipt(receipt))

    def fail(self, failure: FailedRecord, origin: Run) -> None:
        """Adds a failed record."""
        self.failed.append((failure, origin))
        self.tally.add(counts_of_failure(failure))


def settle(
    outcome: Outcome,
    part: Part,
    policy: SendPolicy,
    now: float,
    refused: Mapping[int, Refusal],
    reason: str = "refused",
    only_these: bool = False,
) -> None:
    """Adds a receipt, and a failed record for each refusal. All others count as accepted; with
    `only_these` they are still to be sent."""
    settled = len(refused) if only_these else part.chunk.count
    receipt = Receipt(
        destination=policy.name,
        lane=policy.lane,
        accepted=settled - len(refused),
        failed=len(refused),
        raw_bytes=part.chunk.raw_bytes,
        sent_bytes=len(part.chunk.payload) if policy.endpoint.gzip else part.chunk.raw_bytes,
        attempts=part.unreceipted,
        status=part.status,
        started=part.started,
        seconds=now - part.started,
    )
    if part.unreceipted or receipt.accepted:
        outcome.settled(receipt, _latest(part.chunk))
        if receipt.accepted and outcome.tally.breaks_down and not policy.endpoint.identity:
            numbered = enumerate(part.chunk.events())
            outcome.tally.add_events(event for index, event in numbered if index not in refused)
    if policy.lists_accepted and receipt.accepted:
        outcome.accepted_records += _accepted_records(part.chunk, policy, refused)
    if refused:
        events = part.chunk.events()
        for index, refusal in sorted(refused.items()):
            failure = _failed(part, events[index], index, refusal, reason, policy)
            outcome.fail(failure, part.chunk.origin(index))


def fail_all(
    outcome: Outcome, part: Part, policy: SendPolicy, now: float, message: str, reason: str
) -> None:
    """Adds all records of a part as failed."""
    refused = dict.fromkeys(range(part.chunk.count), Refusal(None, message))
    settle(outcome, part, policy, now, refused, reason)


def settle_known(
    outcome: Outcome,
    known: EventChunk,
    accepted: int,
    failed: tuple[FailedRecord, ...],
    policy: SendPolicy,
    now: float,
) -> None:
    """Adds records that a checkpoint knows to be settled; no request was made for them."""
    receipt = Receipt(
        destination=policy.name,
        lane=policy.lane,
        accepted=accepted,
        failed=len(failed),
        raw_bytes=known.raw_bytes,
        sent_bytes=0,
        attempts=0,
        status=200,
        started=now,
        seconds=0.0,
    )
    outcome.settled(receipt, _latest(known))
    for each in failed:
        outcome.fail(each, _origin_of(known, each))
    if policy.lists_accepted and accepted:
        texts = {each.event_json for each in failed}
        events = enumerate(known.events())
        refused = {n for n, event in events if without_token(event) in texts}
        outcome.accepted_records += _accepted_records(known, policy, refused)


def insert_id_of(event: bytes) -> str:
    """The `$insert_id` at the end of an event's JSON; "" if there is none."""
    match = _INSERT_ID.search(event)
    return match[1].decode() if match else ""


def _accepted_records(
    chunk: EventChunk, policy: SendPolicy, refused: Container[int]
) -> list[tuple[AcceptedRecord, Run]]:
    records = []
    for number, (event, origin) in enumerate(zip(chunk.events(), singles(chunk.runs), strict=True)):
        if number in refused:
            continue
        file, row = origin.place
        record = AcceptedRecord(
            destination=policy.name,
            event_json=without_token(event),
            insert_id=insert_id_of(event) or None,
            file=file,
            row=row,
        )
        records.append((record, origin))
    return records


def without_token(event: bytes) -> str:
    """An event or update as failed records hold it."""
    return _TOKEN.sub(b"", event).decode()


def _failed(
    part: Part, event: bytes, index: int, refusal: Refusal, reason: str, policy: SendPolicy
) -> FailedRecord:
    origin = part.chunk.origin(index)
    file, row = origin.place
    return FailedRecord(
        reason=refusal.reason or reason,
        message=refusal.message + identity.explain(event),
        field=refusal.field,
        destination=policy.name,
        event_json=without_token(event),
        file=file,
        row=row,
        http_status=part.status or None,
        attempts=part.attempts,
        insert_id=insert_id_of(event) or None,
    )


def _latest(chunk: EventChunk) -> Run:
    return max(chunk.runs, key=lambda run: run.timestamp)


def _origin_of(chunk: EventChunk, failure: FailedRecord) -> Run:
    """The run that a failure of an earlier try belongs to, as far as its file and row tell."""
    for run in chunk.runs:
        if (
            failure.row is not None
            and run.file == (failure.file or "")
            and run.row <= failure.row < run.row + run.count
        ):
            return run
    return chunk.runs[0]
