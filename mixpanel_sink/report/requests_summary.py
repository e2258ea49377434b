"""A run's requests over time, by latency and by how full they were.

They are summed up on the workers and reach the launcher as a Beam metric, like the failures
(see failures.py), so that it works on every runner that reports metrics.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.report.finished import NAMESPACE
from mixpanel_sink.results import Receipt
from mixpanel_sink.windowing import GLOBAL

_METRIC = "requests_summary"
LATENCIES_MS = (5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
"""Upper bounds of the latency histogram's bars, in milliseconds; the last bar has none."""
_WIDTHS = (1, 10, 60, 600, 3_600, 21_600, 86_400)
_POINTS = 2_000
"""More points in time than this are drawn together, to the next of these widths in seconds."""


@dataclasses.dataclass
class RequestsSummary:
    """Settled requests, summed up.

    Attributes:
        width: seconds of one point in time.
        points: by the number of the point: requests, and records accepted.
        latency: requests by bar of `LATENCIES_MS`, from a batch's first request to its end.
        fill: requests by how full they were, in bars of five percent.
    """

    width: int = 1
    points: dict[int, list[int]] = dataclasses.field(default_factory=dict)
    latency: list[int] = dataclasses.field(default_factory=lambda: [0] * (len(LATENCIES_MS) + 1))
    fill: list[int] = dataclasses.field(default_factory=lambda: [0] * 20)

    def add(self, receipt: Receipt, batch_events: int) -> RequestsSummary:
        """Adds a receipt."""
        if not receipt.attempts:  # known to a checkpoint, and not sent
            return self
        point = int(receipt.started + receipt.seconds) // self.width
        self._enter(point, receipt.attempts, receipt.accepted)
        self.latency[bisect.bisect_left(LATENCIES_MS, receipt.seconds * 1000)] += 1
        share = (receipt.accepted + receipt.failed) / batch_events
        self.fill[min(19, int(share * 20 - 1e-9))] += 1
        return self

    def merge(self, other: RequestsSummary) -> RequestsSummary:
        """Adds another summary."""
        while self.width < other.width:
            self._widen()
        for point, (requests, accepted) in other.points.items():
            self._enter(point * other.width // self.width, requests, accepted)
        self.latency = [a + b for a, b in zip(self.latency, other.latency, strict=True)]
        self.fill = [a + b for a, b in zip(self.fill, other.fill, strict=True)]
        return self

    def _enter(self, point: int, requests: int, accepted: int) -> None:
        counts = self.points.setdefault(point, [0, 0])
        counts[0] += requests
        counts[1] += accepted
        while len(self.points) > _POINTS and self.width < _WIDTHS[-1]:
            self._widen()

    def _widen(self) -> None:
        points, width = self.points, self.width
        self.width = _WIDTHS[_WIDTHS.index(width) + 1]
        self.points = {}
        for point, (requests, accepted) in points.items():
            self._enter(point * width // self.width, requests, accepted)

    def to_json(self) -> str:
        """The summary as the text of the metric."""
        return json.dumps([self.width, sorted(self.points.items()), self.latency, self.fill])

    @classmethod
    def from_json(cls, text: str) -> RequestsSummary:
        """The reverse of `to_json`."""
        width, points, latency, fill = json.loads(text)
        return cls(width, {point: counts for point, counts in points}, latency, fill)


class SummarizeRequests(beam.PTransform):
    """Sums up the receipts of a bounded pipeline, and reports them as a metric.

    Args:
        batch_events: that a full request holds.
    """

    def __init__(self, batch_events: int = 2000) -> None:
        super().__init__()
        self._batch_events = batch_events

    def expand(self, receipts: Any) -> Any:
        """Builds the flow."""
        sums = receipts | "Sum up bundles" >> beam.ParDo(_SumBundle(self._batch_events))
        sums.element_type = str
        sums._windowing = GLOBAL
        return (
            sums
            | "Sum up" >> beam.CombineGlobally(_merged).with_output_types(str)
            | "Report" >> beam.Map(_report).with_output_types(str)
        )


def read_requests(result: Any) -> RequestsSummary:
    """The summary of a finished pipeline; empty if there were no requests."""
    summary = RequestsSummary()
    for metric in result.metrics().query().get("string_sets", ()):
        if metric.key.metric.namespace == NAMESPACE and metric.key.metric.name == _METRIC:
            value = metric.committed if metric.committed is not None else metric.attempted
            for text in value or ():
                summary.merge(RequestsSummary.from_json(text))
    return summary


class _SumBundle(beam.DoFn):
    """One summary of each bundle, in the global window: a receipt counts once, however many
    windows it is in."""

    def __init__(self, batch_events: int) -> None:
        self._batch_events = batch_events

    def start_bundle(self) -> None:
        self._summary = RequestsSummary()

    def process(self, receipt: Receipt) -> None:
        self._summary.add(receipt, self._batch_events)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._summary.points:
            yield WindowedValue(self._summary.to_json(), MIN_TIMESTAMP, (GlobalWindow(),))


def _merged(summaries: Iterable[str]) -> str:
    merged = RequestsSummary()
    for text in summaries:
        merged.merge(RequestsSummary.from_json(text))
    return merged.to_json()


def _report(text: str) -> str:
    Metrics.string_set(NAMESPACE, _METRIC).add(text)
    return text
