"""Many workers, one quota: a discrete-event simulation around the sink's own `Lane`.

What decides when a request may go is the real thing (mixpanel_sink/send/lane.py and quota.py);
runner, workers, clocks, network and server are simulated, so that an hour takes a moment.
The lane's `sleep` raises instead of waiting, and whoever wanted to sleep is called again
when the time has come or the lane has changed. No threads, no real time.
"""

from __future__ import annotations

import collections
import dataclasses
import heapq
import itertools
import math
import random
from collections.abc import Callable

from mixpanel_sink.send.lane import Lane
from mixpanel_sink.send.window import Weight
from mixpanel_sink.settings.quota import Quota

_BEGIN = 1_800_000_000.0
"""Seconds since 1970, so that floats are as coarse as they are in a real job."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What happens to a job.

    Args:
        quota: the project's.
        seconds: how long the job is watched; it has more to send than fits in.
        workers, lanes, max_in_flight: as of the job.
        bundle: requests a bundle, at most.
        events, bytes: of a request; the real sink fills its requests likewise.
        moves: the share of bundles that another worker runs than the one before.
        rescale: seconds between two changes of the number of workers, drawn from 1 to
            `workers`; 0 for none. Workers that go take their memory with them.
        failures: the share of bundles that fail at some point, and are run again from the
            lane's state before them.
        elsewhere: the share of those that another worker runs again.
        skew: by how many seconds the clocks of two workers differ, at most.
        drift: the share by which such a clock runs fast or slow meanwhile.
        server_drift: the share by which the server's clock runs slow.
        latency: seconds from a request to its answer, the median; with a long tail.
        broken: the share of requests that reach the server, but whose answer does not come.
        foreign: requests a second that somebody else makes on the same project.
        late: the share of requests that the server stamps only after their client gave up.
    """

    quota: Quota
    seconds: float
    workers: int = 1
    lanes: int = 1
    max_in_flight: int = 64
    bundle: int = 50
    events: int = 2000
    bytes: int = 628_000
    moves: float = 0.0
    rescale: float = 0.0
    failures: float = 0.0
    elsewhere: float = 0.0
    skew: float = 0.0
    drift: float = 0.0001
    server_drift: float = 0.0
    latency: float = 0.2
    broken: float = 0.0
    foreign: float = 0.0
    late: float = 0.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the server saw.

    Attributes:
        requests: attempts in all.
        refused: of them with 429.
        most: the fullest window that the attempts make, refused ones included, as a share
            of the limit: above 1 the sink has asked for more than the quota.
        used: what was admitted, as a share of what the quota lets through in that time.
        wasted: the share of admitted requests that repeat what a failed bundle had sent.
        hops: how often a lane came to another worker.
        tries: bundles begun, the failed ones included.
    """

    requests: int
    refused: int
    most: float
    used: float
    wasted: float
    hops: int
    tries: int


class Server:
    """A project with an exact rolling window for each rate, on the server's clock.

    Written for itself: it keeps every stamp and shares nothing with quota.py.
    """

    def __init__(self, quota: Quota) -> None:
        self._rates = [(rate.amount, rate.seconds, rate.of) for rate in quota.rates]
        self._held: list[collections.deque[tuple[float, int]]] = [
            collections.deque() for _ in self._rates
        ]
        self._admitted = [0] * len(self._rates)
        self._attempts: list[tuple[float, tuple[int, ...]]] = []
        self.requests = self.refused = 0

    def post(self, now: float, events: int, size: int, ours: bool = True) -> float | None:
        """Lets a request in (None), or gives the Retry-After of its 429."""
        parts = {"requests": 1, "events": events, "bytes": size}
        weights = tuple(parts[of] for _, _, of in self._rates)
        wait = 0.0
        for held, (amount, seconds, _), weight in zip(
            self._held, self._rates, weights, strict=True
        ):
            while held and held[0][0] <= now - seconds:
                held.popleft()
            over = sum(one for _, one in held) + weight - amount
            for at, one in held:
                if over <= 0:
                    break
                over -= one
                wait = max(wait, at + seconds - now)
        if ours:
            self.requests += 1
            self.refused += wait > 0
            self._attempts.append((now, weights))
        if wait > 0:
            return float(math.ceil(wait))
        for number, weight in enumerate(weights):
            self._held[number].append((now, weight))
            self._admitted[number] += weight if ours else 0
        return None

    def used(self, passed: float) -> float:
        """The admitted share of the quota; that of the rate which binds."""
        shares = [
            total / (amount * passed / seconds)
            for total, (amount, seconds, _) in zip(self._admitted, self._rates, strict=True)
        ]
        return max(shares, default=0.0)

    def most(self) -> float:
        """The fullest window (t - seconds, t] of our attempts, as a share of its limit."""
        fullest = 0.0
        for number, (amount, seconds, _) in enumerate(self._rates):
            window: collections.deque[tuple[float, int]] = collections.deque()
            total = 0
            for at, weights in self._attempts:
                window.append((at, weights[number]))
                total += weights[number]
                while window[0][0] <= at - seconds:
                    total -= window.popleft()[1]
                fullest = max(fullest, total / amount)
        return fullest


class _NotYet(Exception):
    """A lane wants to sleep for so many seconds."""


def _not_yet(_: object, seconds: float) -> None:
    raise _NotYet(seconds)


class _Worker:
    """A process: its clock, and the lanes that it remembers."""

    def __init__(self, simulation: Simulation, name: str) -> None:
        self._simulation = simulation
        self._name = name
        self._phase = simulation.random.uniform(0, 2 * math.pi)
        self._lanes: dict[int, Lane] = {}

    def clock(self) -> float:
        """Ahead or behind by half the skew at most, and between them as fast as the drift."""
        now, scenario = self._simulation.now, self._simulation.scenario
        skew = scenario.skew / 2
        turns = self._phase + now * scenario.drift / skew if skew > 0.001 else 0.0
        return _BEGIN + now + skew * math.sin(turns)

    def lane(self, number: int) -> Lane:
        """As the registry of a process keeps it."""
        if number not in self._lanes:
            scenario = self._simulation.scenario
            self._lanes[number] = Lane(
                scenario.quota.share(number, scenario.lanes),
                scenario.max_in_flight,
                f"lane {number}",
                clock=self.clock,
                process=self._name,
                sleep=_not_yet,
            )
        return self._lanes[number]


class _Key:
    """A lane's key as the runner holds it: its state, and one bundle after another."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self.simulation = simulation
        self.number = number
        self.state: bytes | None = None
        self.worker = simulation.any_worker()
        self._failed = False

    def next_bundle(self) -> None:
        simulation, chance = self.simulation, self.simulation.random
        scenario = simulation.scenario
        moves = chance.random() < (scenario.elsewhere if self._failed else scenario.moves)
        if moves or self.worker not in simulation.workers:
            before, self.worker = self.worker, simulation.any_worker(unlike=self.worker)
            simulation.hops += self.worker is not before
        simulation.tries += 1
        size = chance.randint(1, scenario.bundle)
        fails = chance.random() < scenario.failures
        _Bundle(self, size, chance.randint(0, size) if fails else None).go_on()

    def committed(self, state: bytes | None) -> None:
        self.state = state
        self._failed = False
        self.simulation.later(self.simulation.random.expovariate(20), self.next_bundle)

    def rolled_back(self, sent: int) -> None:
        """The bundle failed: its state is lost, and what it sent is sent again."""
        self.simulation.repeated += sent
        self._failed = True
        self.simulation.later(self.simulation.random.uniform(0.1, 5), self.next_bundle)


class _Bundle:
    """One try of a bundle: what `SendChunks` and its dispatcher do, without threads."""

    def __init__(self, key: _Key, size: int, fails_after: int | None) -> None:
        self.simulation = key.simulation
        self.worker = key.worker
        self.lane = self.worker.lane(key.number)
        self.lane.merge(key.state)
        self.over = False
        self._key = key
        self._state = key.state
        self._left = size
        self._fails_after = fails_after
        self._open = self._sent = 0
        self._queued = False

    def go_on(self) -> None:
        """Starts requests for as long as something may start."""
        scenario = self.simulation.scenario
        while not self.over:
            if self._fails_after is not None and self._sent >= self._fails_after:
                self.over = True
                self._dequeue()
                self._key.rolled_back(self._sent)
            elif not self._queued and self._left:
                # The state is written when a request is planned: there is no later moment.
                self._queued = True
                self._left -= 1
                self.lane.expect(self.simulation.weight)
                self._state = self.lane.snapshot()
            elif not self._queued:
                if not self._open:
                    self.over = True
                    self._key.committed(self._state)
                return
            elif self._open >= (scenario.max_in_flight if self.lane.proven else 1):
                return  # called again when one ends
            elif not self.simulation.start(self.lane, self.go_on):
                return  # called again when the time has come
            else:
                self._dequeue()
                self._open += 1
                self._sent += 1
                _Request(self).post()

    def _dequeue(self) -> None:
        if self._queued:
            self._queued = False
            self.lane.expect(self.simulation.weight, -1)

    def ended(self) -> None:
        self._open -= 1
        if not self.over:
            self.go_on()


class _Request:
    """One batch on its way: what `BatchSender` does, without threads."""

    def __init__(self, bundle: _Bundle) -> None:
        self._bundle = bundle
        self._simulation = bundle.simulation
        self._retry_after: float | None = None
        self._waits = itertools.chain((2.0, 4.0, 8.0, 16.0, 32.0), itertools.repeat(60.0))

    def post(self) -> None:
        """The lane has let it start."""
        simulation, chance = self._simulation, self._simulation.random
        scenario = simulation.scenario
        started = self._bundle.worker.clock()
        latency = min(90.0, scenario.latency * chance.lognormvariate(0, 0.6))
        lost = chance.random() < scenario.broken
        late = chance.random() < scenario.late
        if late:
            simulation.later(latency + chance.uniform(0, 30), self._arrive)
        else:
            simulation.later(latency * chance.random(), self._arrive)
        simulation.later(latency, lambda: self._answered(started, lost or late))

    def _arrive(self) -> None:
        self._retry_after = self._simulation.stamp()

    def _answered(self, started: float, broken: bool) -> None:
        lane, simulation = self._bundle.lane, self._simulation
        if not broken:
            if self._retry_after is None:
                lane.succeeded()
            else:
                lane.throttled(self._retry_after, started)
        lane.end(simulation.weight)
        if broken:
            simulation.later(next(self._waits) * simulation.random.uniform(0.5, 1), self._again)
        elif self._retry_after is not None:
            self._again()
        else:
            self._bundle.ended()
        simulation.changed(lane)

    def _again(self) -> None:
        # A bundle that failed stops its senders: what is under way ends, nothing more goes out.
        if not self._bundle.over and self._simulation.start(self._bundle.lane, self._again):
            self.post()


class Simulation:
    """One run of a scenario; equal seeds give equal runs.

    >>> Simulation(Scenario(Quota.parse("60/hour"), 7200), seed=1).run().most
    1.0
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.random = random.Random(seed)
        self.now = 0.0
        self.hops = self.tries = self.repeated = 0
        self.weight = Weight(scenario.events, scenario.bytes)
        self.server = Server(scenario.quota)
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._asleep: dict[Lane, list[list[Callable[[], None]]]] = collections.defaultdict(list)
        self._names = itertools.count()
        self.workers = [self._worker() for _ in range(scenario.workers)]
        self._keys = [_Key(self, number) for number in range(scenario.lanes)]

    def run(self) -> Outcome:
        """Lets the time pass."""
        scenario = self.scenario
        for key in self._keys:
            self.later(self.random.random(), key.next_bundle)
        if scenario.rescale:
            self.later(scenario.rescale, self._rescale)
        if scenario.foreign:
            self.later(self.random.expovariate(scenario.foreign), self._somebody_else)
        while self._agenda[0][0] < scenario.seconds:
            self.now, _, what = heapq.heappop(self._agenda)
            what()
        self.now = scenario.seconds
        server = self.server
        admitted = server.requests - server.refused
        return Outcome(
            requests=server.requests,
            refused=server.refused,
            most=server.most(),
            used=server.used(self._server_clock()),
            wasted=min(1.0, self.repeated / admitted) if admitted else 0.0,
            hops=self.hops,
            tries=self.tries,
        )

    def later(self, seconds: float, what: Callable[[], object]) -> None:
        """Puts something on the agenda."""
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), what))

    def start(self, lane: Lane, again: Callable[[], None]) -> bool:
        """Starts a request if the lane lets it; else `again` is called when it may."""
        try:
            lane.start(self.weight)
        except _NotYet as wish:
            sleeper = [again]  # emptied by whoever wakes it
            self._asleep[lane].append(sleeper)
            self.later(wish.args[0], lambda: sleeper and sleeper.pop()())
            return False
        return True

    def changed(self, lane: Lane) -> None:
        """Wakes who sleeps in that lane, as its condition does."""
        for sleeper in self._asleep.pop(lane, ()):
            if sleeper:
                sleeper.pop()()

    def stamp(self) -> float | None:
        """One of our requests is at the server."""
        return self.server.post(self._server_clock(), self.weight.events, self.weight.bytes)

    def any_worker(self, unlike: _Worker | None = None) -> _Worker:
        """One of the workers there are; another than the given one if there is one."""
        while (worker := self.random.choice(self.workers)) is unlike and len(self.workers) > 1:
            pass
        return worker

    def _server_clock(self) -> float:
        return self.now * (1 - self.scenario.server_drift)

    def _worker(self) -> _Worker:
        return _Worker(self, f"worker {next(self._names)}")

    def _rescale(self) -> None:
        count = self.random.randint(1, self.scenario.workers)
        self.random.shuffle(self.workers)
        del self.workers[count:]
        self.workers += [self._worker() for _ in range(count - len(self.workers))]
        self.later(self.scenario.rescale, self._rescale)

    def _somebody_else(self) -> None:
        self.server.post(self._server_clock(), self.weight.events, self.weight.bytes, ours=False)
        self.later(self.random.expovariate(self.scenario.foreign), self._somebody_else)
