"""Refusals that do not say which records they are about, and records that are too large."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.send.sender import BatchSender
from tests.send.test_sender import (
    Rig,
    accepted,
    check_accounting,
    chunk,
    event,
    failed_ids,
    rig,  # noqa: F401
)


def test_413_is_split_and_the_size_is_learnt(mixpanel: Emulator, rig: Rig) -> None:
    size = chunk(100).raw_bytes
    mixpanel.settings(max_body_bytes=size // 2 + 500)
    first = rig.send(chunk(100))
    assert first.statuses == {"413": 1, "200": 2}
    check_accounting(mixpanel, 100, first)
    second = rig.send(chunk(101, first=100))
    assert second.statuses == {"200": 2}
    assert not rig.lane.fits(size)


def test_one_event_that_is_too_large_costs_one_record(mixpanel: Emulator, rig: Rig) -> None:
    rig.send(chunk(1))
    mixpanel.settings(max_body_bytes=3000)
    events = [event(1), event(2, pad="x" * 4000), event(3)]
    outcome = rig.send(EventChunk.of(events, [Run(3, 0, ("",))]))
    assert failed_ids(outcome) == ["id-2"]
    assert outcome.failed[0][0].reason == "event_too_large"
    assert sorted(mixpanel.insert_ids()) == ["id-0", "id-1", "id-3"]
    # One event says nothing about batches: small ones still go together.
    assert rig.send(chunk(10, first=4)).statuses == {"200": 1}


def test_an_endpoint_that_finds_all_too_large_stops_the_job(mixpanel: Emulator, rig: Rig) -> None:
    mixpanel.settings(max_body_bytes=10)
    with pytest.raises(DestinationError, match="calls even a request of"):
        rig.send(chunk(2000))
    assert mixpanel.stats()["requests"] <= 16


@pytest.mark.parametrize("bad", [(), (3,), (0, 63)])
def test_a_400_that_names_nobody_is_bisected(
    mixpanel: Emulator, rig: Rig, wire: Any, bad: tuple[int, ...]
) -> None:
    failing = Rejecting(mixpanel, {f"id-{n}".encode() for n in bad})
    rig.client.post = failing.post(rig.client.post)  # type: ignore[method-assign]
    outcome = rig.send(chunk(64))
    assert failed_ids(outcome) == [f"id-{n}" for n in bad]
    assert accepted(outcome) == 64 - len(bad)
    assert sorted(mixpanel.insert_ids()) == sorted(f"id-{n}" for n in range(64) if n not in bad)
    assert failing.posts <= 1 + 2 * 6 * len(bad)


def test_bisecting_ends_within_its_budget(mixpanel: Emulator, rig: Rig) -> None:
    failing = Rejecting(mixpanel, {f"id-{n}".encode() for n in range(0, 2000, 7)})
    rig.client.post = failing.post(rig.client.post)  # type: ignore[method-assign]
    outcome = rig.send(chunk(2000))
    assert failing.posts <= 49
    failed = failed_ids(outcome)
    assert accepted(outcome) + len(failed) == 2000
    assert sorted(mixpanel.insert_ids()) == sorted({f"id-{n}" for n in range(2000)} - set(failed))
    assert all("bad batch" in failure.message for failure, _ in outcome.failed)


def test_an_endpoint_that_refuses_all_and_says_nothing_stops_the_job(
    mixpanel: Emulator, rig: Rig
) -> None:
    body = {"error": "Events will be rejected"}
    mixpanel.faults([{"kind": "status", "status": 400, "body": body, "times": 1000}])
    with pytest.raises(
        DestinationError, match=r"has accepted nothing yet.*Events will be rejected"
    ):
        rig.send(chunk(2000))
    assert mixpanel.stats()["requests"] <= 30


def test_an_endpoint_that_begins_to_refuse_all_stops_the_job(mixpanel: Emulator, rig: Rig) -> None:
    assert accepted(rig.send(chunk(2000))) == 2000
    body = {"error": "some trouble"}
    mixpanel.faults([{"kind": "status", "status": 400, "body": body, "times": 1000}])
    for number in (1, 2):
        outcome = rig.send(chunk(2000, first=2000 * number))
        assert accepted(outcome) == 0
        assert len(outcome.failed) == 2000
    with pytest.raises(DestinationError, match=r"none of the last 3 batches.*some trouble"):
        rig.send(chunk(2000, first=6000))


def test_of_several_projects_one_that_refuses_all_fails_each_record_once(
    mixpanel: Emulator, rig: Rig
) -> None:
    policy = dataclasses.replace(rig.sender._policy, stops_job=False)
    rig.sender = BatchSender(rig.client, rig.lane, policy)
    assert accepted(rig.send(chunk(2000))) == 2000
    body = {"error": "some trouble"}
    mixpanel.faults([{"kind": "status", "status": 400, "body": body, "times": 1000}])
    for number in (1, 2, 3):
        outcome = rig.send(chunk(2000, first=2000 * number))
        assert len(outcome.failed) == len(set(failed_ids(outcome))) == 2000
        assert sum(receipt.failed for receipt, _ in outcome.receipts) == 2000
    with pytest.raises(DestinationError, match="none of the last 3 batches"):
        rig.sender.gate.check()


def test_what_is_not_looked_at_singly_was_given_up_and_not_refused(
    mixpanel: Emulator, rig: Rig
) -> None:
    failing = Rejecting(mixpanel, {f"id-{n}".encode() for n in range(0, 2000, 7)})
    rig.client.post = failing.post(rig.client.post)  # type: ignore[method-assign]
    outcome = rig.send(chunk(2000))
    reasons = collections.Counter(failure.reason for failure, _ in outcome.failed)
    assert reasons["refused"] <= 24
    assert reasons["gave_up"] > 1000
    assert all(
        "same $insert_id is safe" in failure.message
        for failure, _ in outcome.failed
        if failure.reason == "gave_up"
    )


def test_one_large_event_does_not_make_later_batches_small(mixpanel: Emulator, rig: Rig) -> None:
    mixpanel.settings(max_body_bytes=9000)
    events = [event(n, pad="x" * (10_000 if n == 5 else 10)) for n in range(40)]
    outcome = rig.send(EventChunk.of(events, [Run(40, 0, ("",))]))
    assert [failure.reason for failure, _ in outcome.failed] == ["event_too_large"]
    assert outcome.statuses["413"] <= 7
    size = chunk(60, first=100).raw_bytes
    assert 4000 < size < 9000
    assert rig.send(chunk(60, first=100)).statuses == {"200": 1}


def test_words_about_credentials_in_one_refusal_do_not_stop_the_job(
    mixpanel: Emulator, rig: Rig
) -> None:
    rig.send(chunk(3))
    failing = Rejecting(mixpanel, {b"id-12"}, "event Permission Granted is invalid")
    rig.client.post = failing.post(rig.client.post)  # type: ignore[method-assign]
    outcome = rig.send(chunk(8, first=10))
    assert failed_ids(outcome) == ["id-12"]
    assert accepted(outcome) == 7


class Rejecting:
    """The emulator behind a door that refuses whole batches for a bad event, naming none."""

    def __init__(self, mixpanel: Emulator, bad: set[bytes], says: str = "bad batch") -> None:
        self.bad = bad
        self.says = says
        self.posts = 0

    def post(self, forward: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
        from isal import igzip

        from mixpanel_sink.api.transport import Response

        def post(body: bytes) -> Any:
            self.posts += 1
            ids = {
                e["properties"]["$insert_id"].encode() for e in json.loads(igzip.decompress(body))
            }
            if ids & self.bad:
                return Response(400, {}, json.dumps({"code": 400, "error": self.says}).encode())
            return forward(body)

        return post
