"""The dispatcher: order, errors, cancellation, and no thread left behind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait
from typing import Any

import orjson
import pytest

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.responses import RequestContext
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import AuthenticationError, MixpanelSinkError
from mixpanel_sink.send.dispatch import IDLE_SECONDS, Dispatcher
from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.sender import BatchSender
from mixpanel_sink.send.settle import Outcome
from mixpanel_sink.settings.quota import Quota
from tests.conftest import SECRET
from tests.running import FAST

NOW_MS = int(time.time() * 1000) - 3_600_000


def chunk(number: int) -> EventChunk:
    event = {
        "event": "E",
        "properties": {"distinct_id": "u", "time": NOW_MS, "$insert_id": f"id-{number}"},
    }
    return EventChunk.of([orjson.dumps(event)], [Run(1, number, ("",))])


class Rig:
    """A dispatcher with its lane and sender, against the emulator."""

    def __init__(
        self, url: str, threads: int = 8, quota: str = "none", room: int = 0, several: bool = False,
        secret: str = SECRET,
    ) -> None:  # fmt: skip
        destination = Destination.of(endpoint=url)
        self.lane = Lane(Quota.parse(quota), threads, retry=FAST)
        credentials = ResolvedCredentials(secret, "", kind="API secret")
        self.client = IngestionClient(destination, credentials, 2, 5)
        self.policy = SendPolicy(
            "here", RequestContext(destination, "API secret"), retry=FAST, stops_job=not several
        )
        self.sender = BatchSender(self.client, self.lane, self.policy)
        self.dispatcher = Dispatcher(threads, room, "rig")

    def put(self, number: int, **more: Any) -> Future[Outcome]:
        return self.dispatcher.put(chunk(number), self.lane, self.sender, **more)

    def close(self) -> None:
        self.sender.gate.stop(MixpanelSinkError("closed"))
        self.dispatcher.close()
        self.client.close()


@pytest.fixture
def rigs(mixpanel: Emulator) -> Iterator[Any]:
    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(mixpanel.url, **options))
        return made[-1]

    yield make
    for rig in made:
        rig.close()
    assert quiet(), [thread.name for thread in threading.enumerate()]


def quiet() -> bool:
    """Whether no thread of a dispatcher is left."""
    end = time.monotonic() + 15 + IDLE_SECONDS
    while time.monotonic() < end:
        if not any(thread.name.startswith("mixpanel-rig") for thread in threading.enumerate()):
            return True
        time.sleep(0.05)
    return False


def accepted(futures: list[Future[Outcome]]) -> int:
    return sum(r.accepted for future in futures for r, _ in future.result(30).receipts)


def test_one_thread_keeps_the_order(mixpanel: Emulator, rigs: Any) -> None:
    rig = rigs(threads=1)
    mixpanel.faults([{"kind": "status", "status": 503, "skip": n} for n in (0, 3)])
    assert accepted([rig.put(n) for n in range(30)]) == 30
    assert mixpanel.insert_ids() == [f"id-{n}" for n in range(30)]


def test_the_first_request_goes_alone(mixpanel: Emulator, rigs: Any) -> None:
    mixpanel.settings(latency_ms=300)
    rig = rigs(room=10_000)
    futures = [rig.put(n) for n in range(5)]
    assert accepted(futures) == 5
    first, second, *rest = (entry["arrived"] for entry in mixpanel.requests())
    assert second - first >= 0.3
    assert max(rest) - second < 0.3


def test_a_wrong_secret_costs_one_request(mixpanel: Emulator, rigs: Any) -> None:
    rig = rigs(secret="another-secret-0123456789", room=10_000)
    futures = [rig.put(n) for n in range(20)]
    wait(futures)
    assert {type(future.exception()) for future in futures} == {AuthenticationError}
    assert mixpanel.stats()["requests"] == 1


def test_of_several_projects_the_records_fail(mixpanel: Emulator, rigs: Any) -> None:
    rig = rigs(secret="another-secret-0123456789", several=True)
    outcomes = [future.result(30) for future in [rig.put(n) for n in range(20)]]
    assert [f.reason for o in outcomes for f, _ in o.failed] == ["project_refused"] * 20
    assert [origin.timestamp for o in outcomes for _, origin in o.failed] == list(range(20))
    assert sum(r.failed for o in outcomes for r, _ in o.receipts) == 1  # one a request
    assert mixpanel.stats()["requests"] == 1


@pytest.mark.parametrize("several", [False, True])
def test_an_error_of_our_own_is_no_failed_record(rigs: Any, several: bool) -> None:
    rig = rigs(quota="1/hour", several=several, room=10_000)
    futures = [rig.put(n) for n in range(5)]
    futures[0].result(30)
    rig.sender.gate.stop(KeyError("bundle failed"))
    wait(futures[1:], 30)
    assert {type(future.exception()) for future in futures[1:]} == {KeyError}


def test_put_waits_for_room_and_says_so(rigs: Any) -> None:
    rig = rigs(quota="1/hour", threads=1)
    rig.put(0).result(30)
    second = rig.put(1)  # waits for the quota, on the dispatcher's thread
    looked = threading.Event()
    threading.Timer(0.2, lambda: rig.sender.gate.stop(KeyError("enough"))).start()
    third = rig.put(2, while_waiting=looked.set)
    assert looked.is_set()
    for future in (second, third):
        assert isinstance(future.exception(30), KeyError)


def test_what_may_wait_is_counted_in_bytes(rigs: Any) -> None:
    size = len(chunk(0).payload)
    rig = rigs(quota="1/hour", room=3 * size + 20, several=True)
    rig.put(0).result(30)
    for number in (1, 2, 3):
        rig.put(number)  # none of them waits here
    late = threading.Thread(target=rig.put, args=(4,), daemon=True)
    late.start()
    late.join(0.5)
    assert late.is_alive()
    rig.sender.gate.stop(KeyError("enough"))
    late.join(30)
    assert not late.is_alive()


def test_the_lanes_state_counts_what_waits(rigs: Any) -> None:
    rig = rigs(quota="2/hour", room=10_000)
    rig.put(0).result(30)
    futures = [rig.put(n) for n in range(1, 4)]
    futures[0].result(30)

    def weight() -> float:
        (entries,) = next(iter(orjson.loads(rig.lane.snapshot())["by"].values()))
        return sum(entry[2] for entry in entries)

    assert weight() == 4  # two were sent, two wait
    rig.sender.gate.stop(KeyError("enough"))
    wait(futures, 30)
    end = time.monotonic() + 10
    while weight() != 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert weight() == 2  # what was never sent counts no more


def test_a_cancelled_chunk_is_not_sent(mixpanel: Emulator, rigs: Any) -> None:
    mixpanel.settings(latency_ms=300)
    rig = rigs(threads=1, room=10_000)
    first, second, third = (rig.put(n) for n in range(3))
    assert second.cancel()
    assert accepted([first, third]) == 2
    assert mixpanel.insert_ids() == ["id-0", "id-2"]


def test_closing_drops_what_waits(mixpanel: Emulator, rigs: Any) -> None:
    rig = rigs(quota="1/hour", room=10_000)
    rig.put(0).result(30)
    futures = [rig.put(n) for n in range(1, 5)]
    rig.close()
    wait(futures, 30)
    for future in futures:
        with pytest.raises((MixpanelSinkError, CancelledError, RuntimeError)):
            future.result(0)
    assert mixpanel.stats()["requests"] == 1
    assert rig.lane._in_flight == 0


def test_what_need_not_wait_goes_at_once(mixpanel: Emulator, rigs: Any) -> None:
    rig = rigs(quota="10/hour", room=10_000)
    rig.put(0).result(30)
    end = time.monotonic() + 20
    while rig.dispatcher._thread is not None and time.monotonic() < end:
        time.sleep(0.05)
    for n in range(1, 10):  # one after the other: on a busy machine no thread may be free
        assert accepted([rig.put(n)]) == 1
    assert rig.dispatcher._thread is None
    assert not rig.put(10).done()
    assert rig.dispatcher._thread is not None
    assert mixpanel.stats()["requests"] == 10


def test_nothing_overtakes_what_waits(mixpanel: Emulator, rigs: Any) -> None:
    rig = rigs(quota="3/second", room=10_000)
    assert accepted([rig.put(n) for n in range(9)]) == 9
    seconds = [range(0, 3), range(3, 6), range(6, 9)]  # those of one second go side by side
    arrived = mixpanel.insert_ids()
    assert [sorted(arrived[each.start : each.stop]) for each in seconds] == [
        [f"id-{n}" for n in each] for each in seconds
    ]


def test_a_stopped_sender_sends_nothing_at_once(mixpanel: Emulator, rigs: Any) -> None:
    rig = rigs()
    rig.put(0).result(30)
    rig.sender.gate.stop(KeyError("bundle failed"))
    assert isinstance(rig.put(1).exception(30), KeyError)
    assert mixpanel.stats()["requests"] == 1
    assert rig.lane._in_flight == 0


def test_the_waiting_thread_goes_and_comes_back(rigs: Any) -> None:
    rig = rigs(quota="1/second")
    rig.put(0).result(30)
    end = time.monotonic() + 20
    while rig.dispatcher._thread is not None and time.monotonic() < end:
        time.sleep(0.05)
    assert rig.dispatcher._thread is None
    assert accepted([rig.put(1)]) == 1


@pytest.mark.parametrize("seed", range(3))
def test_many_chunks_from_many_threads(mixpanel: Emulator, rigs: Any, seed: int) -> None:
    """Whatever the timing, each chunk ends once, and the lane is empty then."""
    print("seed", seed)
    rng = random.Random(seed)
    rig = rigs(threads=rng.choice([1, 4, 16]), room=rng.choice([0, 500, 10_000]))
    mixpanel.faults({"seed": seed, "rate": 0.05, "kinds": [{"kind": "status", "status": 503},
                     {"kind": "reset", "stored": True}]})  # fmt: skip
    futures: list[Future[Outcome]] = []

    def feed(first: int, pause: float) -> None:
        for number in range(first, first + 100):
            futures.append(rig.put(number))
            if number % 25 == 0:
                time.sleep(pause)

    # A pause of the idle time makes the waiting thread end just when the next chunk comes.
    feeders = [
        threading.Thread(target=feed, args=(n * 100, rng.choice([0, 0.01, IDLE_SECONDS / 4])))
        for n in range(4)
    ]
    for feeder in feeders:
        feeder.start()
    for feeder in feeders:
        feeder.join(60)
    assert accepted(futures) == 400
    assert sorted(mixpanel.insert_ids()) == sorted(f"id-{n}" for n in range(400))
    assert rig.lane._in_flight == 0
    assert rig.lane._expected == [0] * len(rig.lane._expected)
