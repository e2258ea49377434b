"""Random schedules of faults against the sending side, each repeatable by its seed.

    python -m tests.fault_schedules --seeds 2000
    python -m tests.fault_schedules --seed 1234        # one of them again, with its log

`test_fault_schedules.py` runs 200. A schedule is a few batches, bad records among them, and an
emulator that meets each request with some probability by a fault. A third of the schedules has
faults that pass, a third refuses events, a third lies about what is stored. Where a fault stops
the job (a 401, a Retry-After of an hour) the job is run again, as people would, with a checkpoint
or without. In the end:

- accepted + failed = read, and no event is in both,
- the emulator's distinct events are exactly the accepted ones (where answers lie: at least),
- no event is altered,
- nothing was sent before the Retry-After that an answer asked for was over,
- every run ended.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import random
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import RequestContext
from mixpanel_sink.api.retry_after import retry_after
from mixpanel_sink.api.transport import Response
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.checkpoint.events import EventLog
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.send.dispatch import Dispatcher
from mixpanel_sink.send.lane import Lane, steady_clock
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.sender import BatchSender
from mixpanel_sink.send.settle import Outcome
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.quota import Quota
from mixpanel_sink.settings.retry import RetryPolicy
from tests.send.test_sender import accepted, chunk, event, failed_ids

SECRET = "s3cr3t-0123456789abcdef"
READ_TIMEOUT = 0.4
PASSING: list[dict[str, Any]] = [
    {"kind": "rate_limit", "retry_after": "0.3"},
    {"kind": "rate_limit", "retry_after": "0.3", "times": 2},
    {"kind": "rate_limit", "retry_after": "-3600"},
    {"kind": "rate_limit", "retry_after": "a while"},
    {"kind": "rate_limit"},
    *({"kind": "status", "status": status} for status in (500, 502, 503, 504)),
    {"kind": "status", "status": 503, "headers": {"Retry-After": "0.3"}},
    {"kind": "status", "status": 500, "stored": True},
    {"kind": "status", "status": 504, "stored": True},
    {"kind": "reset"},
    {"kind": "reset", "stored": True},
    {"kind": "refuse", "seconds": 0.05},
    {"kind": "truncate"},
    {"kind": "truncate", "stored": False},
    {"kind": "garbage"},
    {"kind": "garbage", "stored": False},
    {"kind": "deep", "size": 20_000},
    {"kind": "quota", "quota": "20/0.5s"},
    {"kind": "quota", "quota": "none"},
]
"""Tried again, whatever was stored."""
SLOW: list[dict[str, Any]] = [
    {"kind": "rate_limit", "retry_after_date": 1},
    {"kind": "slow", "seconds": 0.6},
    {"kind": "drip", "seconds": 0.2},
    {"kind": "huge", "size": 9_000_000},
    {"kind": "huge", "size": 0},
]
"""The same, but they take their time: few schedules have them."""
FATAL: list[dict[str, Any]] = [
    {"kind": "status", "status": 401},
    {"kind": "redirect"},
    {"kind": "rate_limit", "retry_after": "3600"},
]
"""They stop the job."""
REFUSING: list[dict[str, Any]] = [
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "rate_limit", "retry_after": "0.3"},
    {"kind": "status", "status": 413},
    {"kind": "too_large", "size": 1500},
    {"kind": "status", "status": 400},
    {"kind": "failed_records", "records": [{"index": 0}]},
    {"kind": "failed_records", "records": [{"index": 0}, {"index": 0}, {"index": 1000}]},
    {"kind": "failed_records", "records": [{"insert_id": "nobody"}], "stored": False},
    {"kind": "failed_records", "records": ["something", None, 5], "stored": False},
    {"kind": "failed_records", "records": ["record 0: odd"], "stored": False},
    {"kind": "failed_records", "indexes": "wrong", "stored": False},
    {"kind": "failed_records", "indexes": "repeated"},
    {"kind": "failed_records", "indexes": "none", "stored": False},
    {"kind": "failed_records", "indexes": "absent", "stored": False},
]
"""What they refuse is not stored."""
LYING: list[dict[str, Any]] = [
    {"kind": "status", "status": 400, "stored": True},
    {"kind": "status", "status": 413, "stored": True},
    {"kind": "short_count", "drop": 1},
    {"kind": "short_count", "drop": 5},
    {"kind": "short_count", "really": False},
    {"kind": "failed_records", "records": [{"index": 3}]},
    # A count that no batch here has: one that fits what is named is believed, as it must be.
    {"kind": "failed_records", "records": [{"index": 0}], "num_records_imported": 1999},
    {"kind": "failed_records", "records": [{"index": 1, "insert_id": "id-2"}]},
    {"kind": "failed_records", "indexes": "wrong"},
    {"kind": "failed_records", "indexes": "none"},
]
"""Events are called refused that may be in: no client can know. But none may be lost."""


@dataclasses.dataclass
class Post:
    """A request, as the client saw it: when it went out, and when what came back."""

    client: int
    sent: float
    answered: float
    asked: float | None


class Watched(IngestionClient):
    """A client that remembers when it sent, and what Retry-After it was given."""

    def watch(self, posts: list[Post]) -> Watched:
        self._posts = posts
        return self

    def post(self, body: bytes) -> Response:
        sent = steady_clock()
        answer = super().post(body)
        now = steady_clock()
        throttled = answer.status == 429 or answer.status >= 500
        self._posts.append(
            Post(id(self), sent, now, retry_after(answer.headers, now) if throttled else None)
        )
        return answer


@dataclasses.dataclass(frozen=True)
class Schedule:
    """What a seed stands for."""

    seed: int
    settings: dict[str, Any]
    faults: dict[str, Any]
    chunks: list[EventChunk]
    bad: frozenset[int]
    total: int
    lies: bool
    max_in_flight: int
    quota: str
    checkpoint: bool

    @classmethod
    def of(cls, seed: int) -> Schedule:
        """The same for the same seed."""
        rng = random.Random(seed)
        batches, size = rng.randint(2, 6), rng.randint(2, 30)
        total = batches * size
        likely = rng.choice([0, 0, 0.02, 0.1])
        bad = {n for n in range(total) if rng.random() < likely}
        kind = seed % 3
        if kind == 0:
            kinds = PASSING * 2 + FATAL * rng.choice([0, 4]) + SLOW * rng.choice([0, 0, 0, 1])
        elif kind == 1:
            kinds, bad = REFUSING, set()  # the fault's answer does not name them
        else:
            kinds = PASSING + REFUSING + LYING * 2
        return cls(
            seed=seed,
            settings={
                "variant": rng.choice(["page", "reference"]),
                "failed_records_as": rng.choice(["objects", "strings"]),
                "quota": rng.choice(["none", "none", "30/0.5s"]),
            },
            faults={"seed": seed, "rate": rng.choice([0.1, 0.3, 0.5]), "kinds": kinds},
            chunks=[chunk(size, bad=tuple(bad), first=n * size) for n in range(batches)],
            bad=frozenset(bad),
            total=total,
            lies=kind == 2,
            max_in_flight=rng.choice([1, 1, 4, 8]),
            quota=rng.choice(["none", "none", "20/0.5s"]),
            checkpoint=rng.random() < 0.5,
        )


@dataclasses.dataclass
class Ran:
    """What came of a schedule."""

    runs: int
    requests: int
    posts: list[Post]


def run_schedule(mixpanel: Emulator, seed: int) -> Ran:
    """Runs one, and checks everything that must hold.

    Raises:
        AssertionError: what does not, with the seed.
    """
    schedule = Schedule.of(seed)
    mixpanel.reset(**schedule.settings)
    mixpanel.faults(schedule.faults)
    posts: list[Post] = []
    outcomes: list[Outcome] | None = None
    runs = 0
    with tempfile.TemporaryDirectory() as folder:
        while outcomes is None:
            runs += 1
            assert runs < 30, f"seed {seed}: it never ends"
            if runs == 15:
                _wait_until_reachable(mixpanel)
                mixpanel.faults([])
            outcomes = _one_run(mixpanel, schedule, posts, folder if schedule.checkpoint else None)
    _wait_until_reachable(mixpanel)
    _check(mixpanel, schedule, outcomes)
    _check_pauses(schedule, posts)
    requests = mixpanel.stats()["requests"]
    assert requests <= len(posts), f"seed {seed}"
    return Ran(runs, requests, posts)


def _one_run(
    mixpanel: Emulator, schedule: Schedule, posts: list[Post], folder: str | None
) -> list[Outcome] | None:
    """One run of the job; None if it was stopped, or gave a batch up."""
    retry = RetryPolicy(
        transient_seconds=5,
        throttled_seconds=60,
        first_wait=0.005,
        longest_wait=0.01,
        connect_timeout=2,
        read_timeout=READ_TIMEOUT,
        breaker=1000,
    )
    destination = Destination.of(endpoint=mixpanel.url)
    client = Watched(
        destination, ResolvedCredentials(SECRET, ""), retry.connect_timeout, retry.read_timeout
    ).watch(posts)
    lane = Lane(Quota.parse(schedule.quota), schedule.max_in_flight, retry=retry)
    policy = SendPolicy(destination.host, RequestContext(destination, "API secret"), retry=retry)
    log = EventLog(Checkpoint(folder), Owner("", "", "import", "")) if folder else None
    sender = BatchSender(client, lane, policy, log=log)
    dispatcher = Dispatcher(schedule.max_in_flight)
    outcomes, futures = [], []
    try:
        for one in schedule.chunks:
            known, rest = sender.lookup(one)
            if known is not None:
                outcomes.append(known)
            if rest is not None:
                futures.append(dispatcher.put(rest, lane, sender))
        outcomes += [future.result(120) for future in futures]
    except DestinationError:
        for future in futures:  # what is under way is waited for: its posts must not be mixed up
            with contextlib.suppress(DestinationError):
                future.result(120)
        return None
    finally:
        dispatcher.close()
        client.close()
    if log is not None:
        log.flush()
    assert lane._in_flight == 0, f"seed {schedule.seed}"
    if any(failure.reason == "gave_up" for one in outcomes for failure, _ in one.failed):
        return None  # Mixpanel may hold them: they are sent again
    return outcomes


def _wait_until_reachable(mixpanel: Emulator) -> None:
    """A schedule may end while the emulator still takes no connections."""
    end = time.monotonic() + 20
    while True:
        try:
            mixpanel.stats()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _check(mixpanel: Emulator, schedule: Schedule, outcomes: list[Outcome]) -> None:
    seed, failed = schedule.seed, failed_ids(*outcomes)
    assert accepted(*outcomes) + len(failed) == schedule.total, f"seed {seed}"
    assert len(failed) == len(set(failed)), f"seed {seed}"
    stored = mixpanel.insert_ids()
    succeeded = {f"id-{n}" for n in range(schedule.total)} - set(failed)
    assert len(stored) == len(set(stored)), f"seed {seed}"
    lost = succeeded - set(stored)
    assert not lost, f"seed {seed}: counted as accepted, but lost: {sorted(lost)[:5]}"
    if not schedule.lies:
        more = set(stored) - succeeded
        assert not more, f"seed {seed}: stored, but counted as failed: {sorted(more)[:5]}"
    assert {f"id-{n}" for n in schedule.bad} <= set(failed), f"seed {seed}"
    for one in mixpanel.events(10_000):
        text = json.dumps(one, separators=(",", ":")).encode()
        assert text == event(one["properties"]["n"]), f"seed {seed}: altered"


def _check_pauses(schedule: Schedule, posts: list[Post]) -> None:
    """Nothing goes out in a pause. Where one request goes at a time there is no doubt about the
    order; else a request may have been let go just before the answer came in."""
    just_then = 0.0 if schedule.max_in_flight == 1 else 0.25
    for one in posts:
        if not one.asked or one.asked > 60:
            continue
        for other in posts:
            if other.client != one.client:
                continue  # of a run that was started later, and knows nothing of the pause
            after = other.sent - one.answered
            assert not just_then < after < one.asked - 0.005, (
                f"seed {schedule.seed}: sent {after:.3f} s after an answer that asked to wait for "
                f"{one.asked} s"
            )


def main() -> int:
    """Many schedules; the seeds of those that fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault_schedules", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this one alone, with its log")
    own = parser.parse_args()
    seeds = range(own.first_seed, own.first_seed + own.seeds)
    logging.basicConfig(level=logging.ERROR if own.seed is None else logging.INFO)
    if own.seed is not None:
        seeds = range(own.seed, own.seed + 1)
    failing: list[int] = []
    workers = min(os.cpu_count() or 1, len(seeds))
    shares = [seeds[number::workers] for number in range(workers)]

    def run(share: range) -> list[Ran]:
        done = []
        with Emulator(api_secret=SECRET) as mixpanel:
            for seed in share:
                try:
                    done.append(run_schedule(mixpanel, seed))
                except Exception:
                    failing.append(seed)
                    print(f"seed {seed} fails:", flush=True)
                    traceback.print_exc()
        return done

    started = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        ran = [one for share in pool.map(run, shares) for one in share]
    print(
        f"{len(seeds):,} schedules, {sum(one.requests for one in ran):,} requests, "
        f"{sum(one.runs - 1 for one in ran):,} runs that were stopped and started again, "
        f"{time.monotonic() - started:.0f} s: {len(failing)} failed."
    )
    if failing:
        print("Failed seeds:", *sorted(failing))
        print("Again: python -m tests.fault_schedules --seed", sorted(failing)[0])
    else:
        print("Nothing lost, nothing doubled, nothing altered, no Retry-After undercut.")
    return int(bool(failing))


if __name__ == "__main__":
    sys.exit(main())
