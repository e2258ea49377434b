"""Every fault that the sink must survive, through a whole pipeline, against the emulator.

`test_sender.py` runs hundreds of random schedules on the sending side alone; here each
fault is met once by name, and random ones meet whole pipelines. Whatever happens, records read
= accepted + failed, the emulator holds exactly the accepted events, and none is altered.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from typing import Any

import pytest

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.retry import RetryPolicy
from tests.running import Ran, failing, run
from tests.write.test_write import record, write

FAST = RetryPolicy(
    transient_seconds=3, first_wait=0.01, longest_wait=0.05, read_timeout=1.0, breaker=100
)
SMALL = Limits(batch_events=10)
COUNT = 60
SEEDS = int(os.environ.get("MIXPANEL_SINK_PIPELINE_SCHEDULES", "12"))


def records(count: int = COUNT) -> list[dict[str, Any]]:
    return [record(number, note=f"n{number}") for number in range(count)]


def check(mixpanel: Emulator, ran: Ran, count: int = COUNT) -> list[dict[str, Any]]:
    """The accounting balances, and what is stored is what was accepted, unaltered."""
    totals = ran.totals[0][0]
    assert totals.read == count
    assert totals.accepted + totals.failed == count == totals.accepted + len(ran.failed)
    refused = {value.event["properties"]["$insert_id"] for value, _, _ in ran.failed}
    assert len(refused) == len(ran.failed)
    stored = mixpanel.events(10_000)
    ids = [event["properties"]["$insert_id"] for event in stored]
    assert len(ids) == len(set(ids))
    accepted = {f"id-{number}" for number in range(count)} - refused
    assert set(ids) == accepted, {f.reason: f.message for f, _, _ in ran.failed}
    for event in stored:
        number = int(event["properties"]["$insert_id"].removeprefix("id-"))
        assert event["properties"]["note"] == f"n{number}"
        assert event["properties"]["distinct_id"] == f"u{number}"
    return stored


PASSING: dict[str, dict[str, Any]] = {
    "429, seconds": {"kind": "rate_limit", "retry_after": "1"},
    "429, a date": {"kind": "rate_limit", "retry_after_date": 1},
    "429, absent": {"kind": "rate_limit"},
    "429, negative": {"kind": "rate_limit", "retry_after": "-7"},
    "429, garbage": {"kind": "rate_limit", "retry_after": "next week"},
    "500": {"kind": "status", "status": 500, "times": 2},
    "502": {"kind": "status", "status": 502, "body": "<html>bad gateway</html>"},
    "503": {"kind": "status", "status": 503, "headers": {"Retry-After": "1"}},
    "504, stored": {"kind": "status", "status": 504, "stored": True},
    "refused for a while": {"kind": "refuse", "seconds": 0.3},
    "reset before the request is read": {"kind": "reset"},
    "reset after the batch was stored": {"kind": "reset", "stored": True},
    "truncated": {"kind": "truncate"},
    "no JSON": {"kind": "garbage"},
    "200 with a smaller count": {"kind": "short_count", "drop": 3},
    "200 with a smaller count, though all are in": {"kind": "short_count", "really": False},
    "400, wrong indexes": {"kind": "failed_records", "indexes": "wrong"},
    "400, a repeated index": {"kind": "failed_records", "indexes": "repeated"},
    "400, no failed_records": {"kind": "failed_records", "indexes": "absent", "stored": False},
    "400, an empty list": {"kind": "failed_records", "indexes": "none", "stored": False},
    "slower than the timeout": {"kind": "slow", "seconds": 1.5},
    "a huge answer": {"kind": "huge", "size": 20_000_000},
    "an endless answer": {"kind": "huge", "size": 0},
    "a deep answer": {"kind": "deep", "size": 100_000},
    "an answer that drips": {"kind": "drip", "seconds": 0.05},
}


_NEITHER = {"429, absent", "429, negative", "429, garbage", "500", "502", "refused for a while",
            "reset before the request is read"}  # fmt: skip
REFUSES = _NEITHER | {"400, a repeated index", "400, no failed_records", "400, an empty list"}
STORES = _NEITHER | {"504, stored", "reset after the batch was stored", "truncated", "no JSON",
                     "a huge answer", "a deep answer"}  # fmt: skip
assert PASSING.keys() >= REFUSES | STORES


# In turn the page's and the reference's answers; the random schedules mix both.
@pytest.mark.parametrize(
    ("name", "variant"), list(zip(PASSING, itertools.cycle(["page", "reference"]), strict=False))
)
def test_what_passes_costs_nothing(mixpanel: Emulator, name: str, variant: str) -> None:
    mixpanel.settings(variant=variant)
    mixpanel.faults([{**PASSING[name], "skip": 1}])
    ran = run(records(), write(mixpanel, retry=FAST, limits=SMALL))
    stored = check(mixpanel, ran)
    # An answer that names events as refused is taken at its word; all others lose none.
    named = {"400, a repeated index"}
    assert len(stored) == COUNT or name in named
    assert mixpanel.remaining_faults() == []


def test_413_at_an_unknown_size(mixpanel: Emulator) -> None:
    mixpanel.faults([{"kind": "too_large", "size": 900, "times": 1000}])
    ran = run(records(), write(mixpanel, retry=FAST, limits=Limits(batch_events=40)))
    assert len(check(mixpanel, ran)) == COUNT
    largest = [r["body_bytes"] for r in mixpanel.requests() if r["status"] == 200]
    assert max(largest) <= 900


def test_a_quota_that_shrinks_while_the_job_runs(mixpanel: Emulator) -> None:
    mixpanel.settings(quota="50/second")
    mixpanel.faults([{"kind": "quota", "quota": "2/second", "skip": 2}])
    ran = run(records(), write(mixpanel, retry=FAST, limits=SMALL, quota="50/second"))
    assert len(check(mixpanel, ran)) == COUNT
    assert mixpanel.stats()["requests_by_endpoint"]["/import"].get("429", 0) > 0


def test_401_in_the_middle_stops_the_job_and_the_next_run_ends_it(mixpanel: Emulator) -> None:
    sink = write(mixpanel, retry=FAST, limits=SMALL, max_in_flight=1)
    mixpanel.faults([{"kind": "status", "status": 401, "skip": 3}])
    said = failing(records(), sink)
    assert "does not accept the API secret (401" in said
    before = mixpanel.stats()["events_distinct"]
    assert 0 < before < COUNT
    forget()
    ran = run(records(), sink)
    assert len(check(mixpanel, ran)) == COUNT
    assert mixpanel.stats()["duplicates"] == before


def test_a_redirect_is_never_followed(mixpanel: Emulator, wire: Any) -> None:
    elsewhere = wire(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    mixpanel.faults([{"kind": "redirect", "location": elsewhere.url}])
    assert "redirect" in failing(records(), write(mixpanel, retry=FAST))
    assert elsewhere.requests == []


def test_a_server_that_nobody_trusts(mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(tls=True) as other:
        monkeypatch.setenv("TEST_OTHER", other.api_secret)
        sink = write(mixpanel, endpoint=other.url, credentials=ApiSecret("env:TEST_OTHER"))
        said = failing(records(), sink)
        assert other.stats()["requests"] == 0
    assert "TLS failed: the certificate is not trusted" in said
    assert "Nothing was sent" in said


def test_retry_after_an_hour_stops_the_job_and_says_so(mixpanel: Emulator) -> None:
    mixpanel.faults([{"kind": "rate_limit", "retry_after": "3600", "skip": 1}])
    retry = RetryPolicy(first_wait=0.01, throttled_seconds=60)
    said = failing(records(), write(mixpanel, retry=retry, limits=SMALL, max_in_flight=1))
    assert "asks to wait for" in said
    assert "Run it again" in said


def test_what_is_given_up_becomes_failed_records(mixpanel: Emulator) -> None:
    mixpanel.faults([{"kind": "status", "status": 503, "times": 1_000_000, "skip": 2}])
    retry = RetryPolicy(transient_seconds=0.1, first_wait=0.01, longest_wait=0.02, breaker=100)
    ran = run(records(), write(mixpanel, retry=retry, limits=SMALL, max_in_flight=1))
    check(mixpanel, ran)
    assert {value.reason for value, _, _ in ran.failed} == {"gave_up"}
    assert all("503" in value.message and value.attempts > 1 for value, _, _ in ran.failed)


def test_no_request_comes_before_the_retry_after(mixpanel: Emulator) -> None:
    mixpanel.faults(
        [{"kind": "rate_limit", "retry_after": "1", "skip": 2}, {"kind": "rate_limit"},
         {"kind": "rate_limit", "retry_after": "2", "skip": 1}]
    )  # fmt: skip
    ran = run(records(), write(mixpanel, retry=FAST, limits=SMALL, max_in_flight=2))
    assert len(check(mixpanel, ran)) == COUNT
    log = mixpanel.requests()
    for number, one in enumerate(log):
        if one["fault"] != "rate_limit":
            continue
        asked = {0: 1.0, 1: 0.0, 2: 2.0}[sum(r["fault"] == "rate_limit" for r in log[:number])]
        # Those that were under way already have arrived by the time of the answer.
        later = [r["arrived"] for r in log if r["arrived"] > one["finished"] + 0.05]
        assert all(arrived >= one["finished"] + asked - 0.01 for arrived in later), number


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_faults_meet_a_whole_pipeline(mixpanel: Emulator, seed: int) -> None:
    rng = random.Random(seed)
    print("seed", seed)
    mixpanel.settings(variant=rng.choice(["page", "reference"]))
    rate = rng.choice([0.05, 0.2, 0.3])
    # Quick ones. A seed's answers either refuse events or store them before they fail: of an
    # event that is in and then called refused, no client can know both. (A count that is too small
    # calls events refused, and a second one of an event that an unread answer had stored is a lie.)
    kinds = [
        {**fault, "times": 1, **({"seconds": 0.05} if fault["kind"] == "refuse" else {})}
        for name, fault in PASSING.items()
        if name in (REFUSES if seed % 2 else STORES)
    ]
    mixpanel.faults({"seed": seed, "rate": rate, "kinds": kinds})
    count = rng.randrange(1, 200)
    limits = Limits(batch_events=rng.choice([1, 7, 50]))
    # Long enough that nothing is given up, of which Mixpanel may hold some.
    retry = RetryPolicy(transient_seconds=60, first_wait=0.01, longest_wait=0.05, breaker=100)
    sink = write(mixpanel, retry=retry, limits=limits, lanes=rng.choice([1, 3]), max_in_flight=8)
    check(mixpanel, run(records(count), sink), count)


class TestBundlesThatAreRunAgain:
    """Runners run a failed bundle again, from its beginning and with its old state."""

    def test_the_events_are_exact(self, mixpanel: Emulator) -> None:
        count = 400  # three blocks of five requests are under way before the first one is sent
        failures = Failures(3, after=390)
        for _ in range(3):  # the DirectRunner itself gives up: the job is what is run again
            with pytest.raises(Exception, match="poisoned"):
                run(records(count), write(mixpanel, limits=SMALL), failures)
        check(mixpanel, run(records(count), write(mixpanel, limits=SMALL), failures), count)
        assert mixpanel.stats()["events_received"] > count

    def test_with_a_checkpoint_nothing_is_sent_twice(
        self, mixpanel: Emulator, tmp_path: Any
    ) -> None:
        failures = Failures(1, after=1100)
        sink = write(mixpanel, limits=Limits(batch_events=2), checkpoint=str(tmp_path))
        with pytest.raises(Exception, match="poisoned"):
            run(records(1200), sink, failures)
        sent = mixpanel.stats()["requests"]
        assert sent >= 50
        forget()
        ran = run(records(1200), sink, failures)
        check(mixpanel, ran, 1200)
        # What was accepted is known; what was under way when the bundle failed may go again.
        assert mixpanel.stats()["requests"] <= 600 + 64


class Failures:
    """A step that fails its bundle some times, counted in this process."""

    left: dict[str, int] = {}  # noqa: RUF012
    _lock = threading.Lock()

    def __init__(self, times: int, after: int = 30) -> None:
        self.name = f"{time.monotonic_ns()}"
        self.after = after
        self.left[self.name] = times

    def __rrshift__(self, label: str) -> Any:
        import apache_beam as beam

        name, after, left, lock = self.name, self.after, self.left, self._lock

        def step(element: dict[str, Any]) -> dict[str, Any]:
            if element["id"] == f"id-{after}":
                with lock:
                    Failures.left[name] -= 1
                    if Failures.left[name] >= 0:
                        time.sleep(0.5)
                        raise RuntimeError("poisoned")
            return element

        del left
        return label >> beam.Map(step)
