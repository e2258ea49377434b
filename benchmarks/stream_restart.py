"""A stream with and without a backlog, stopped in the middle: python -m benchmarks.stream_restart

A periodic source on Prism, in real time, to the emulator. After half of its requests the job is
cancelled and started again; the source, as one that was not acknowledged, gives all from its
beginning. What counts is how long Send's bundles were open, how many requests went out, and what
is stored.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.transforms.periodicsequence import PeriodicImpulse

from benchmarks.streaming import SECRET, find_prism, prism_options
from mixpanel_sink import ApiSecret, EventMapping, Limits, TimeColumn, WriteToMixpanel
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.stages.send import SendChunks

MAPPING = EventMapping(
    event="name", distinct_id="user", time=TimeColumn("made", unit="s"), insert_id="id"
)
BATCH = 10
FOREVER = 100_000
"""Seconds: the source never ends, so that nothing is flushed by its end."""


class Stream(NamedTuple):
    """What came of one stream.

    Attributes:
        events: that the source gave.
        stored: events that the emulator holds, each once.
        requests: of both runs.
        least: requests that the events fill.
        longest: seconds that a bundle of Send was open, at most.
        most: requests in any window of the quota, by the emulator.
    """

    events: int
    stored: int
    requests: int
    least: int
    longest: float
    most: int


def event(at: Any, begun: float, rate: float, count: int) -> Iterator[dict[str, Any]]:
    """The event of an impulse; the same one whenever the source is read again."""
    number = round((float(at) - begun) * rate)
    if number < count:
        yield {"name": "Tick", "user": "u", "made": float(at), "id": f"id-{number}"}


@contextmanager
def bundles() -> Iterator[list[float]]:
    """How long each bundle of Send in this process is open."""
    start, finish = SendChunks.start_bundle, SendChunks.finish_bundle
    seconds: list[float] = []

    def started(self: Any) -> None:
        self.opened = time.monotonic()
        start(self)

    def finished(self: Any) -> Iterator[Any]:
        yield from finish(self)
        seconds.append(time.monotonic() - self.opened)

    SendChunks.start_bundle, SendChunks.finish_bundle = started, finished  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        SendChunks.start_bundle, SendChunks.finish_bundle = start, finish  # type: ignore[method-assign]


def measure(events: int, rate: float, quota: str, prism: str) -> Stream:
    """Runs the stream twice, the first time to the middle."""
    least = -(-events // BATCH)
    with Emulator(quota=quota, variant="reference") as mixpanel, bundles() as open_for:
        os.environ[SECRET] = mixpanel.api_secret
        begun = time.time()
        sink = functools.partial(
            WriteToMixpanel, MAPPING, ApiSecret(f"env:{SECRET}"), endpoint=mixpanel.url,
            quota=quota, max_latency=2, limits=Limits(batch_events=BATCH),
        )  # fmt: skip

        def run(until: Callable[[dict[str, Any]], bool]) -> None:
            pipeline = beam.Pipeline(options=prism_options(prism))
            ticks = pipeline | PeriodicImpulse(begun, begun + FOREVER, 1 / rate)
            _ = ticks | beam.FlatMap(event, begun, rate, events) | sink()
            running = pipeline.run()
            while not until(mixpanel.stats()):
                time.sleep(0.2)
            running.cancel()

        run(lambda stats: stats["requests"] >= least // 2)
        run(lambda stats: stats["events_distinct"] >= events)
        stats = mixpanel.stats()
        return Stream(
            events, stats["events_distinct"], stats["requests"], least, max(open_for),
            stats["max_attempts_in_window"] or 0,
        )  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line a stream; 1 if an event is missing or a bundle was open for a minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--rate", type=float, default=10, help="Events a second.")
    parser.add_argument("--quota", default="6/40s", help="Of the stream with a backlog.")
    own = parser.parse_args(argv)
    good = True
    for name, quota in (("without a backlog", "1000/second"), ("with a backlog", own.quota)):
        found = measure(own.events, own.rate, quota, find_prism())
        print(
            f"{name} (quota {quota}): {found.stored} of {found.events} events stored, "
            f"{found.requests} requests where {found.least} hold them all, at most {found.most} in "
            f"a window; the longest bundle {found.longest:.1f} s"
        )
        good &= found.stored == found.events and found.longest < 60
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
