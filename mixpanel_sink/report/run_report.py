"""A run's report: what `--report run.html` and `run.json` hold.

Requests are summed up on the workers and come to the launcher as a Beam metric, like the
failures (see `summary.py`), so that it works on every runner that reports metrics.
"""

from __future__ import annotations

import bisect
import dataclasses
import datetime
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.report.metrics import NAMESPACE, NOTED
from mixpanel_sink.results import Receipt
from mixpanel_sink.settings.quota import Quota
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
        """Enters a receipt."""
        if not receipt.attempts:  # known to a checkpoint, and not sent
            return self
        point = int(receipt.started + receipt.seconds) // self.width
        self._enter(point, receipt.attempts, receipt.accepted)
        self.latency[bisect.bisect_left(LATENCIES_MS, receipt.seconds * 1000)] += 1
        share = (receipt.accepted + receipt.failed) / batch_events
        self.fill[min(19, int(share * 20 - 1e-9))] += 1
        return self

    def merge(self, other: RequestsSummary) -> RequestsSummary:
        """Enters another summary."""
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
        """For the metric."""
        return json.dumps([self.width, sorted(self.points.items()), self.latency, self.fill])

    @classmethod
    def from_json(cls, text: str) -> RequestsSummary:
        """The reverse."""
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


@dataclasses.dataclass(frozen=True)
class RunReport:
    """What a run did, for `run.json` and `run.html`.

    Attributes:
        title: of the run.
        started: seconds since 1970.
        seconds: how long it took.
        settings: options by name, without secrets.
        counters: the sink's Beam counters.
        failures: by reason: reason, count, message, file and row of an example.
        requests: over time, by latency and by how full they were.
        quota: that held.
    """

    title: str
    started: float
    seconds: float
    settings: Mapping[str, str]
    counters: Mapping[str, int]
    failures: Sequence[Mapping[str, Any]]
    requests: RequestsSummary
    quota: Quota = dataclasses.field(default_factory=Quota.none)

    @property
    def balanced(self) -> bool:
        """Whether every record read is accounted for."""
        return self._count("records_read") == (
            self._count("events_accepted") + self._count("records_failed")
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in run.json."""
        requests = self.requests
        return {
            "title": self.title,
            "started": self.started,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "quota": str(self.quota),
            "accounting": {
                "read": self._count("records_read"),
                "accepted": self._count("events_accepted"),
                "failed": self._count("records_failed"),
                "balanced": self.balanced,
            },
            "counters": dict(sorted(self.counters.items())),
            "failures": [dict(failure) for failure in self.failures],
            "requests_over_time": {
                "seconds_a_point": requests.width,
                "points": [
                    {"at": point * requests.width, "requests": sent, "accepted": accepted}
                    for point, (sent, accepted) in sorted(requests.points.items())
                ],
            },
            "latency_ms": [
                {"up_to": bound, "requests": count}
                for bound, count in zip((*LATENCIES_MS, None), requests.latency, strict=True)
            ],
            "batch_fill_percent": [
                {"up_to": (number + 1) * 5, "requests": count}
                for number, count in enumerate(requests.fill)
            ],
        }

    def to_json(self) -> str:
        """run.json."""
        return json.dumps(self.as_dict(), indent=2)

    def to_html(self) -> str:
        """run.html: one page, without anything from elsewhere."""
        return _page(self)

    def _count(self, name: str) -> int:
        return self.counters.get(name, 0)


_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #667; --line: #d8dbe0; --bar: #4f5bd5;
  --bad: #c2410c; --good: #15803d; --back: #fff; --card: #f6f7f9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --dim: #9aa1ab; --line: #343a41;
  --bar: #8b94ff; --bad: #fb923c; --good: #4ade80; --back: #14171a; --card: #1d2125; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 62rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem }
.dim { color: var(--dim) } .bad { color: var(--bad) } .good { color: var(--good) }
.cards { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0 }
.card { background: var(--card); border-radius: .6rem; padding: .7rem 1rem; min-width: 8rem }
.card b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .3rem .6rem;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere }
td:first-child { overflow-wrap: normal }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
svg { width: 100%; height: auto; background: var(--card); border-radius: .6rem }
svg rect { fill: var(--bar) } svg text { fill: var(--dim); font-size: 11px }
svg line { stroke: var(--bad); stroke-dasharray: 4 3 }
"""


def _page(report: RunReport) -> str:
    counters, requests = report.counters, report.requests
    sentence = (
        '<p class="good">Every record read is accounted for: '
        if report.balanced
        else '<p class="bad">The accounting does not balance; do not trust this run: '
    )
    sentence += (
        f"{counters.get('records_read', 0):,} read = {counters.get('events_accepted', 0):,} "
        f"accepted + {counters.get('records_failed', 0):,} failed.</p>"
    )
    cards = [
        ("read", counters.get("records_read", 0)),
        ("accepted", counters.get("events_accepted", 0)),
        ("failed", counters.get("records_failed", 0)),
        ("requests", counters.get("requests", 0)),
        ("seconds throttled", counters.get("cumulativeThrottlingSeconds", 0)),
        ("seconds", round(report.seconds)),
        *((name, counters[key]) for key, (name, _) in NOTED.items() if counters.get(key)),
    ]
    shown = "".join(f'<div class="card"><b>{n:,}</b>{name}</div>' for name, n in cards)
    started = _clock(report.started)
    parts = [
        f"<h1>{_text(report.title)}</h1>",
        f'<p class="dim">Started {started}.</p>',
        sentence,
        f'<div class="cards">{shown}</div>',
        "<h2>Failures by reason</h2>",
        _failures(report.failures),
        *_over_time(requests, report.quota),
        "<h2>Latency <span class='dim'>(from a batch's first request to its last answer)</span>"
        "</h2>",
        _bars(requests.latency, [*(f"{_ms(bound)}" for bound in LATENCIES_MS), "more"]),
        "<h2>Batch fill <span class='dim'>(share of a full request)</span></h2>",
        _bars(requests.fill, [f"{(number + 1) * 5} %" for number in range(20)]),
        "<h2>Counters</h2>",
        _table(("counter", "value"), [(n, f"{v:,}") for n, v in sorted(counters.items())]),
        "<h2>Settings</h2>",
        _table(("option", "value"), sorted(report.settings.items())),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(report.title)}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>"
    )


def _failures(failures: Sequence[Mapping[str, Any]]) -> str:
    if not failures:
        return "<p>None.</p>"
    rows = []
    for failure in failures:
        place = failure.get("file") or ""
        if failure.get("row") is not None:
            place += f", row {failure['row']}"
        rows.append((failure["reason"], f"{failure['count']:,}", failure["message"], place))
    return _table(("reason", "records", "for example", "where"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    numbers = {number for number, name in enumerate(head) if name in ("records", "value")}

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=n' if place in numbers else ''}>{_text(value)}</{tag}>"
            for place, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><tr>{cells('th', head)}</tr>{body}</table>"


def _over_time(requests: RequestsSummary, quota: Quota) -> list[str]:
    """Bars of requests; each as long as the quota's window, where it has one, with its limit."""
    rate = next((rate for rate in quota.rates if rate.of == "requests"), None)
    width: float = requests.width
    if rate is not None and rate.seconds >= width:
        width = rate.seconds
    limit = rate.amount if rate is not None and width == rate.seconds else None
    head = (
        f"<h2>Requests over time <span class='dim'>({_span(width)} a bar; quota {_text(quota)})"
        "</span></h2>"
    )
    if not requests.points:
        return [head, "<p>No requests.</p>"]
    counts: dict[int, int] = {}
    for point, (sent, _) in requests.points.items():
        number = int(point * requests.width // width)
        counts[number] = counts.get(number, 0) + sent
    numbers = range(min(counts), max(counts) + 1)
    labels = [_clock(number * width) for number in numbers]
    return [head, _bars([counts.get(n, 0) for n in numbers], labels, named=False, limit=limit)]


def _bars(
    counts: Sequence[int], labels: Sequence[str], named: bool = True, limit: int | None = None
) -> str:
    """A bar chart; the numbers are in each bar's title. A limit is a dashed line."""
    most = max([*counts, limit or 0]) or 1
    step = 1000 / max(1, len(counts))
    parts = []
    for number, (count, label) in enumerate(zip(counts, labels, strict=True)):
        height = 110 * count / most
        x, width = number * step, max(step * 0.86, 0.5)
        if count:
            parts.append(
                f'<rect x="{x:.1f}" y="{130 - height:.1f}" width="{width:.2f}" '
                f'height="{height:.1f}"><title>{_text(label)}: {count:,}</title></rect>'
            )
        if named:
            parts.append(f'<text x="{x:.1f}" y="146">{_text(label)}</text>')
    if not named:
        parts.append(f'<text x="0" y="146">{_text(labels[0])}</text>')
        parts.append(f'<text x="1000" y="146" text-anchor="end">{_text(labels[-1])}</text>')
    if limit is not None:
        y = 130 - 110 * limit / most
        parts.append(f'<line x1="0" x2="1000" y1="{y:.1f}" y2="{y:.1f}"/>')
    said = f"most: {max(counts, default=0):,}" + (f" of {limit:,}" if limit is not None else "")
    parts.append(f'<text x="996" y="13" text-anchor="end">{said}</text>')
    return '<svg viewBox="0 0 1000 150" role="img">' + "".join(parts) + "</svg>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _clock(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: float) -> str:
    names: dict[float, str] = {1: "a second", 60: "a minute", 3600: "an hour", 86_400: "a day"}
    return names.get(seconds, f"{seconds:g} seconds")


def _ms(bound: int) -> str:
    return f"{bound} ms" if bound < 1000 else f"{bound // 1000} s"
