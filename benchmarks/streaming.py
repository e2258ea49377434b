"""How long events of a stream wait: python -m benchmarks.streaming

A periodic source on Prism, in real time, to the emulator. An event's wait is from when the
source makes it until its request arrives.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.periodicsequence import PeriodicImpulse

from mixpanel_sink import ApiSecret, EventMapping, TimeColumn, WriteToMixpanel
from mixpanel_sink.emulator.testing import Emulator

MAPPING = EventMapping(
    event="name", distinct_id="user", time=TimeColumn("made", unit="s"), include_mapped=True
)
SECRET = "STREAMING_SECRET"


class Waits(NamedTuple):
    """Of all events, in seconds, sorted."""

    seconds: list[float]
    requests: int

    def share(self, within: float) -> float:
        """Of the events that waited no longer."""
        return sum(wait <= within for wait in self.seconds) / len(self.seconds)

    def percentile(self, percent: float) -> float:
        """The wait that so many events did not exceed."""
        return self.seconds[math.ceil(percent / 100 * len(self.seconds)) - 1]


def made(_: Any) -> dict[str, Any]:
    """An event of now."""
    return {"name": "Tick", "user": "u", "made": time.time()}


def prism_options(prism: str) -> PipelineOptions:
    """Of a stream on Prism, with the worker in this process."""
    given = ("--runner=PrismRunner", f"--prism_location={prism}", "--environment_type=LOOPBACK")
    return PipelineOptions([*given, "--streaming"])


def find_prism() -> str:
    """PRISM's, or beside this interpreter."""
    beside = str(Path(sys.executable).parent)
    return os.environ.get("PRISM") or shutil.which("prism", path=beside) or "prism"


def measure(seconds: float, rate: float, max_latency: float, prism: str) -> Waits:
    """Runs the stream."""
    options = prism_options(prism)
    with Emulator(quota="none", variant="reference") as mixpanel:
        os.environ[SECRET] = mixpanel.api_secret
        with beam.Pipeline(options=options) as pipeline:
            now = time.time()
            ticks = pipeline | PeriodicImpulse(now, now + seconds, 1 / rate)
            _ = (
                ticks
                | beam.Map(made)
                | WriteToMixpanel(
                    MAPPING,
                    ApiSecret(f"env:{SECRET}"),
                    endpoint=mixpanel.url,
                    quota="none",
                    max_latency=max_latency,
                )
            )
        events = [event["properties"]["made"] for event in mixpanel.events(10_000)]
        waits, at = [], 0
        log = mixpanel.requests()
        for request in log:  # events are stored in the order of the requests
            waits += [request["arrived"] - each for each in events[at : at + request["events"]]]
            at += request["events"]
        assert at == len(events) == round(seconds * rate), (at, len(events))
        return Waits(sorted(waits), len(log))


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the waits; 1 if under 95 % are within max_latency and a request's time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=20, help="Events a second.")
    parser.add_argument("--max-latency", type=float, default=2)
    parser.add_argument("--request", type=float, default=0.5, help="Seconds for a request.")
    own = parser.parse_args(argv)
    waits = measure(own.seconds, own.rate, own.max_latency, find_prism())
    share = waits.share(own.max_latency + own.request)
    print(
        f"{len(waits.seconds):,} events, {waits.requests} requests, max_latency {own.max_latency} s"
        f": {share:.1%} within {own.max_latency + own.request} s; waits of 50 / 95 / 100 %: "
        f"{waits.percentile(50):.2f} / {waits.percentile(95):.2f} / {waits.seconds[-1]:.2f} s"
    )
    return 0 if share >= 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
