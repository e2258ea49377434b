"""Every event of a batch is accepted or failed with a reason, whatever the server answers."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import RequestContext
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import AuthenticationError, DestinationError
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.sender import BatchSender
from mixpanel_sink.send.settle import Outcome
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy

FAST = RetryPolicy(transient_seconds=5, first_wait=0.01, longest_wait=0.02)
NOW_MS = int(time.time() * 1000) - 3_600_000
Chunks = Callable[..., EventChunk]


def event(number: int, prefix: str = "id", **more: Any) -> bytes:
    properties = {"n": number, "distinct_id": f"u{number}", "time": NOW_MS, **more}
    properties["$insert_id"] = f"{prefix}-{number}"
    return json.dumps({"event": "E", "properties": properties}, separators=(",", ":")).encode()


def chunk(count: int, bad: tuple[int, ...] = (), prefix: str = "id", first: int = 0) -> EventChunk:
    events = [
        event(n, prefix, **({"distinct_id": "null"} if n in bad else {}))
        for n in range(first, first + count)
    ]
    return EventChunk.of(events, [Run(count, 5_000_000, ("",), "f.parquet", 100 + first)])


class Rig:
    """A sender with its lane, against the emulator."""

    def __init__(
        self, url: str, retry: RetryPolicy = FAST, quota: str = "none", max_in_flight: int = 16
    ) -> None:
        destination = Destination.of(endpoint=url)
        self.lane = Lane(Quota.parse(quota), max_in_flight, retry=retry)
        secret = ResolvedCredentials("s3cr3t-0123456789abcdef", "", kind="API secret")
        self.client = IngestionClient(destination, secret, 2, 2)
        policy = SendPolicy(
            destination.host, RequestContext(destination, "API secret"), retry=retry
        )
        self.sender = BatchSender(self.client, self.lane, policy)

    def send(self, batch: EventChunk) -> Outcome:
        self.sender.gate.start(batch)
        return self.sender.send(batch)


@pytest.fixture
def rig(mixpanel: Emulator) -> Rig:
    return Rig(mixpanel.url)


def accepted(*outcomes: Outcome) -> int:
    return sum(receipt.accepted for outcome in outcomes for receipt, _ in outcome.receipts)


def failed_ids(*outcomes: Outcome) -> list[str]:
    return [
        failure.event["properties"]["$insert_id"]  # type: ignore[index]
        for outcome in outcomes
        for failure, _ in outcome.failed
    ]


def check_accounting(mixpanel: Emulator, sent: int, *outcomes: Outcome, prefix: str = "id") -> None:
    """accepted + failed = sent, and the emulator holds each accepted event once, unaltered."""
    failed = failed_ids(*outcomes)
    assert accepted(*outcomes) + len(failed) == sent
    assert sum(r.failed for o in outcomes for r, _ in o.receipts) == len(failed)
    stored = mixpanel.events(10_000)
    wanted = {f"{prefix}-{n}" for n in range(sent)} - set(failed)
    assert sorted(e["properties"]["$insert_id"] for e in stored) == sorted(wanted)
    for one in stored:
        number = one["properties"]["n"]
        assert json.dumps(one, separators=(",", ":")).encode() == event(number, prefix)
    requests = mixpanel.stats()["requests"]
    assert sum(r.attempts for o in outcomes for r, _ in o.receipts) == requests
    assert sum(sum(o.statuses.values()) for o in outcomes) == requests


@pytest.mark.parametrize("variant", ["page", "reference"])
def test_a_batch_goes_out_in_one_request(mixpanel: Emulator, rig: Rig, variant: str) -> None:
    mixpanel.settings(variant=variant)
    outcome = rig.send(chunk(2000))
    check_accounting(mixpanel, 2000, outcome)
    ((receipt, origin),) = outcome.receipts
    assert (receipt.accepted, receipt.attempts, receipt.status) == (2000, 1, 200)
    assert (origin.timestamp, rig.lane.proven) == (5_000_000, True)


@pytest.mark.parametrize("variant", ["page", "reference"])
@pytest.mark.parametrize("shape", ["objects", "strings"])
def test_one_bad_record_costs_one_record(
    mixpanel: Emulator, rig: Rig, variant: str, shape: str
) -> None:
    mixpanel.settings(variant=variant, failed_records_as=shape)
    outcome = rig.send(chunk(50, bad=(17,)))
    check_accounting(mixpanel, 50, outcome)
    assert mixpanel.stats()["requests"] == 1
    ((failure, origin),) = outcome.failed
    assert (failure.reason, failure.http_status, failure.attempts) == ("refused", 400, 1)
    assert (failure.file, failure.row) == ("f.parquet", 117)
    assert failure.event == json.loads(event(17, distinct_id="null"))
    assert origin.row == 117
    assert "distinct_id" in failure.message


def test_a_token_is_not_in_a_failed_record(mixpanel: Emulator, rig: Rig) -> None:
    one = event(1, distinct_id="null")[:-2] + b',"token":"t0ken-0123456789abcdef"}}'
    outcome = rig.send(EventChunk.of([one], [Run(1, 0, ("",))]))
    ((failure, _),) = outcome.failed
    assert "t0ken" not in repr(failure)
    assert failed_ids(outcome) == ["id-1"]


FAULTS: dict[str, list[dict[str, Any]]] = {
    "429 in seconds": [{"kind": "rate_limit", "retry_after": "1"}],
    "429 as a date": [{"kind": "rate_limit", "retry_after_date": 1}],
    "429 without": [{"kind": "rate_limit", "times": 3}],
    "429 garbage": [{"kind": "rate_limit", "retry_after": x} for x in ("-5", "soon", "nan")],
    "5xx": [{"kind": "status", "status": s} for s in (500, 502, 503, 504)],
    "5xx stored": [{"kind": "status", "status": 500, "stored": True}],
    "reset": [{"kind": "reset"}],
    "reset after the store": [{"kind": "reset", "stored": True, "times": 2}],
    "refused": [{"kind": "refuse", "seconds": 0.3}],
    "truncated": [{"kind": "truncate"}],
    "garbage": [{"kind": "garbage"}],
    "short": [{"kind": "short_count", "drop": 3}],
    "short in the count only": [{"kind": "short_count", "really": False}],
    "short for long": [{"kind": "short_count", "drop": 1, "times": 3}],
    "413": [{"kind": "status", "status": 413}],
    "400 for nobody": [{"kind": "status", "status": 400, "body": {"error": "bad batch"}}],
    "status 0": [{"kind": "status", "status": 200, "body": {"status": 0, "error": "x"}}],
    "slower than the timeout": [{"kind": "slow", "seconds": 2.5}],
    "wrong index": [{"kind": "failed_records", "records": [{"index": 99}]}],
    "repeated index": [{"kind": "failed_records", "records": [{"index": 4}, {"index": 4}]}],
    "wrong count": [
        {"kind": "failed_records", "records": [{"index": 4}], "num_records_imported": 1}
    ],
    "index against id": [
        {"kind": "failed_records", "records": [{"index": 4, "insert_id": "id-7"}]}
    ],
    "index within a string": [{"kind": "failed_records", "records": ["record 99: odd"]}],
    "nobody named, all stored": [{"kind": "failed_records", "records": []}],
    "nothing stored": [{"kind": "failed_records", "records": [{"index": 2}], "stored": False}],
}


@pytest.mark.parametrize("name", FAULTS)
def test_after_a_fault_everything_is_accounted_for(mixpanel: Emulator, rig: Rig, name: str) -> None:
    mixpanel.faults(FAULTS[name])
    outcomes = [rig.send(chunk(10)), rig.send(chunk(10, first=10))]
    assert not mixpanel.remaining_faults()
    failed = failed_ids(*outcomes)
    assert failed == (["id-4"] if name in ("repeated index", "wrong count") else
                      ["id-2"] if name == "nothing stored" else [])  # fmt: skip
    if name == "refused":
        return check_stored(mixpanel, 20)
    check_accounting(mixpanel, 20, *outcomes)


def check_stored(mixpanel: Emulator, sent: int) -> None:
    # The emulator does not see a refused connection, so that requests differ.
    assert sorted(mixpanel.insert_ids()) == sorted(f"id-{n}" for n in range(sent))


def test_retry_after_is_never_undercut(mixpanel: Emulator) -> None:
    rig = Rig(mixpanel.url)
    rig.send(chunk(1))
    mixpanel.faults([{"kind": "rate_limit", "retry_after": "1"}])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(rig.send, [chunk(1, first=n) for n in range(1, 40)]))
    log = mixpanel.requests()
    refused = next(entry for entry in log if entry["status"] == 429)
    # Requests that had left before the answer came may follow at once.
    later = [e["arrived"] for e in log if e["arrived"] > refused["arrived"] + 0.3]
    assert later
    assert min(later) >= refused["arrived"] + 1
    check_stored(mixpanel, 40)


def test_retry_after_0_is_no_leave_to_go_on_at_once(mixpanel: Emulator) -> None:
    rig = Rig(mixpanel.url, RetryPolicy(throttled_seconds=2, first_wait=0.2, longest_wait=0.4))
    mixpanel.faults([{"kind": "rate_limit", "retry_after": "0", "times": 1000}])
    outcome = rig.send(chunk(5))
    assert [failure.reason for failure, _ in outcome.failed] == ["gave_up"] * 5
    assert mixpanel.stats()["requests"] <= 20


def test_a_batch_is_given_up_and_its_events_become_failed_records(mixpanel: Emulator) -> None:
    rig = Rig(mixpanel.url, RetryPolicy(transient_seconds=0.3, first_wait=0.05, longest_wait=0.1))
    mixpanel.faults([{"kind": "status", "status": 503, "times": 1000, "body": "out of order"}])
    outcome = rig.send(chunk(5))
    assert accepted(outcome) == 0
    assert len(outcome.failed) == 5
    failure = outcome.failed[0][0]
    assert (failure.reason, failure.http_status) == ("gave_up", 503)
    assert failure.attempts >= 3
    assert "503: out of order" in failure.message
    assert "same $insert_id is safe" in failure.message
    assert not mixpanel.insert_ids()


def test_the_parts_of_a_batch_share_its_time(mixpanel: Emulator) -> None:
    retry = RetryPolicy(transient_seconds=0.6, first_wait=0.02, longest_wait=0.05, breaker=100)
    rig = Rig(mixpanel.url, retry)
    mixpanel.faults(
        [{"kind": "status", "status": 413, "times": 3}, {"kind": "status", "times": 1000}]
    )
    outcome = rig.send(chunk(8))
    assert len(outcome.failed) == 8
    # The first part uses the time up; each other one, seven at most, is tried once more.
    attempts = max(failure.attempts for failure, _ in outcome.failed)
    assert attempts > 10
    assert outcome.statuses["500"] <= attempts + 7
    assert all(receipt.accepted == 0 for receipt, _ in outcome.receipts)


def test_a_long_pause_that_a_503_asks_for_is_no_reason_to_give_up(mixpanel: Emulator) -> None:
    retry = RetryPolicy(transient_seconds=0.5, first_wait=0.01, longest_wait=0.02)
    rig = Rig(mixpanel.url, retry)
    mixpanel.faults([{"kind": "status", "status": 503, "headers": {"Retry-After": "1"}}])
    check_accounting(mixpanel, 3, rig.send(chunk(3)))


def test_a_503_that_asks_for_pauses_for_ever_is_given_up(mixpanel: Emulator) -> None:
    retry = RetryPolicy(throttled_seconds=1.5, first_wait=0.01, longest_wait=0.02)
    rig = Rig(mixpanel.url, retry)
    fault = {"kind": "status", "status": 503, "headers": {"Retry-After": "1"}, "times": 1000}
    mixpanel.faults([fault])
    outcome = rig.send(chunk(3))
    assert [failure.reason for failure, _ in outcome.failed] == ["gave_up"] * 3
    assert outcome.statuses == {"503": 2}


class TestTLS:
    @pytest.fixture
    def emulator(self) -> Iterator[Emulator]:
        with Emulator(api_secret="s3cr3t-0123456789abcdef", tls=True) as running:
            yield running

    def test_a_server_that_nobody_trusts_stops_the_job_at_once(self, emulator: Emulator) -> None:
        rig = Rig(emulator.url, RetryPolicy())
        with pytest.raises(DestinationError, match=r"not trusted.*REQUESTS_CA_BUNDLE"):
            rig.send(chunk(3))
        assert emulator.stats()["requests"] == 0

    def test_one_that_was_trusted_before_is_asked_again(
        self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rig = Rig(emulator.url, RetryPolicy(transient_seconds=0.1, first_wait=0.02))
        rig.lane.succeeded()
        outcome = rig.send(chunk(3))
        assert [failure.reason for failure, _ in outcome.failed] == ["gave_up"] * 3
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", emulator.certificate)
        check_accounting(emulator, 3, Rig(emulator.url).send(chunk(3)))


def test_the_breaker_stops_the_job_after_three(mixpanel: Emulator) -> None:
    rig = Rig(mixpanel.url, RetryPolicy(transient_seconds=0.05, first_wait=0.05))
    mixpanel.faults([{"kind": "status", "status": 500, "times": 1000}])
    rig.send(chunk(1))
    rig.send(chunk(1))
    with pytest.raises(DestinationError, match=r"none of the last 3 batches") as caught:
        rig.send(chunk(1))
    assert "Run it again" in str(caught.value)
    with pytest.raises(DestinationError):
        rig.sender.gate.start(chunk(1))


def test_waiting_for_the_quota_does_not_use_up_the_time_for_retries(mixpanel: Emulator) -> None:
    retry = RetryPolicy(transient_seconds=0.6, first_wait=0.02, longest_wait=0.02)
    rig = Rig(mixpanel.url, retry, quota="1/0.5s")
    mixpanel.faults([{"kind": "status", "status": 500, "times": 4}])
    outcome = rig.send(chunk(3))
    check_accounting(mixpanel, 3, outcome)


def test_a_retry_after_beyond_the_limit_gives_up_and_then_stops(
    mixpanel: Emulator, rig: Rig
) -> None:
    mixpanel.faults([{"kind": "rate_limit", "retry_after": "999999"}])
    outcome = rig.send(chunk(4))
    assert len(outcome.failed) == 4
    begin = time.monotonic()
    with pytest.raises(DestinationError, match="asks to wait for 99999"):
        rig.sender.gate.start(chunk(4))
    assert time.monotonic() - begin < 5


def test_a_503_with_retry_after_holds_the_whole_lane(mixpanel: Emulator, rig: Rig) -> None:
    mixpanel.faults([{"kind": "status", "status": 503, "headers": {"Retry-After": "1"}}])
    begin = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(rig.send, chunk(5))
        while rig.lane.paused_seconds() == 0:
            time.sleep(0.01)
            assert time.monotonic() - begin < 10
        outcomes = [rig.send(chunk(5, first=5)), first.result()]
    check_accounting(mixpanel, 10, *outcomes)
    log = mixpanel.requests()
    assert min(entry["arrived"] for entry in log[1:]) - log[0]["arrived"] >= 1


def test_401_stops_whoever_waits(mixpanel: Emulator) -> None:
    rig = Rig(mixpanel.url, max_in_flight=1)
    mixpanel.faults([{"kind": "status", "status": 401}])
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(rig.send, chunk(1, first=n)) for n in range(6)]
        assert all(isinstance(future.exception(30), AuthenticationError) for future in futures)
    assert mixpanel.stats()["requests"] == 1


def test_401_in_the_first_request_is_the_only_one(mixpanel: Emulator, rig: Rig) -> None:
    rig.lane.too_large(301)
    mixpanel.faults([{"kind": "status", "status": 401}])
    with pytest.raises(AuthenticationError, match="API secret"):
        rig.send(chunk(10))
    assert mixpanel.stats()["requests"] == 1


def test_after_every_ending_nothing_is_left_open(mixpanel: Emulator) -> None:
    for faults in ([{"kind": "status", "status": 401}], [{"kind": "status", "status": 404}],
                   [{"kind": "reset"}], [{"kind": "garbage"}], []):  # fmt: skip
        rig = Rig(mixpanel.url, RetryPolicy(transient_seconds=0.01, first_wait=0.02))
        mixpanel.faults(faults)
        with contextlib.suppress(DestinationError):
            rig.send(chunk(3))
        assert rig.lane._in_flight == 0
    cancelled = Rig(mixpanel.url, quota="1/hour")
    cancelled.sender.gate.start(chunk(1))
    cancelled.sender.gate.cancel(chunk(1))
    cancelled.sender.gate.start(chunk(1))  # at once: the first one never left


def test_stop_ends_a_long_backoff(mixpanel: Emulator) -> None:
    rig = Rig(mixpanel.url, RetryPolicy(first_wait=500, longest_wait=500))
    mixpanel.faults([{"kind": "status", "status": 500}])
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(rig.send, chunk(1))
        while mixpanel.stats()["requests"] == 0:
            time.sleep(0.01)
        rig.sender.gate.stop(KeyError("bundle failed"))
        assert isinstance(future.exception(10), KeyError)


def test_threads_of_the_sender_can_be_many(mixpanel: Emulator) -> None:
    rig = Rig(mixpanel.url, quota="30/s")
    before = threading.active_count()
    with ThreadPoolExecutor(16) as pool:
        outcomes = list(pool.map(rig.send, [chunk(1, first=n) for n in range(50)]))
    check_accounting(mixpanel, 50, *outcomes)
    assert mixpanel.settings(quota="30/second")
    assert mixpanel.stats()["max_requests_in_window"] <= 30
    assert threading.active_count() <= before + 1
