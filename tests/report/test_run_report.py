"""The run's report: what is in run.json and run.html."""

from __future__ import annotations

import json
import random
import re

import apache_beam as beam
from apache_beam.transforms.window import SlidingWindows, TimestampedValue

from mixpanel_sink.report.requests_summary import (
    RequestsSummary,
    SummarizeRequests,
    read_requests,
)
from mixpanel_sink.report.run_report import RunReport
from mixpanel_sink.results import Receipt
from mixpanel_sink.settings.quota import Quota
from tests.running import IN_PROCESS

START = 1_700_000_000.0


def receipt(at: float, accepted: int = 2000, seconds: float = 0.1, attempts: int = 1) -> Receipt:
    return Receipt("h", 0, accepted, 0, 1, 1, attempts, 200, START + at, seconds)


def total(summary: RequestsSummary) -> list[int]:
    return [sum(column) for column in zip(*summary.points.values(), strict=True)]


def test_requests_are_summed_up_alike_in_any_order() -> None:
    rng = random.Random(5)
    receipts = [receipt(rng.uniform(0, 40_000), rng.randrange(1, 2001)) for _ in range(9000)]
    whole = RequestsSummary()
    for each in receipts:
        whole.add(each, 2000)
    parts = [RequestsSummary() for _ in range(7)]
    for each in receipts:
        rng.choice(parts).add(each, 2000)
    merged = RequestsSummary()
    for part in parts:
        merged.merge(RequestsSummary.from_json(part.to_json()))
    assert merged == whole
    assert total(merged) == [9000, sum(each.accepted for each in receipts)]
    assert sum(merged.latency) == sum(merged.fill) == 9000
    assert len(merged.points) <= 2000


def test_what_a_checkpoint_knew_is_no_request() -> None:
    assert RequestsSummary().add(receipt(0, attempts=0), 2000) == RequestsSummary()


def test_bars() -> None:
    summary = RequestsSummary()
    summary.add(receipt(0, accepted=2000, seconds=0.004), 2000)
    summary.add(receipt(0, accepted=100, seconds=90.0), 2000)
    assert summary.latency[0] == summary.latency[-1] == 1
    assert summary.fill[19] == summary.fill[0] == 1


def test_a_pipeline_tells_them_once_for_each_request_also_in_sliding_windows() -> None:
    pipeline = beam.Pipeline(IN_PROCESS)
    receipts = (
        pipeline
        | beam.Create([receipt(n) for n in range(10)])
        | beam.Map(lambda each: TimestampedValue(each, each.started))
        | beam.WindowInto(SlidingWindows(10, 5))
    )
    receipts.element_type = Receipt
    _ = receipts | SummarizeRequests()
    result = pipeline.run()
    result.wait_until_finish()
    assert total(read_requests(result)) == [10, 20_000]


def report(**changes: object) -> RunReport:
    summary = RequestsSummary()
    for number in range(3):
        summary.add(receipt(number * 3600), 2000)
    given: dict[str, object] = {
        "title": "Import of <b>",
        "started": START,
        "seconds": 10.0,
        "settings": {"quota": "60/hour"},
        "counters": {"records_read": 6001, "events_accepted": 6000, "records_failed": 1},
        "failures": [{"reason": "time_null", "count": 1, "message": "<script>", "file": "f"}],
        "requests": summary,
        "quota": Quota.page(),
        **changes,
    }
    return RunReport(**given)  # type: ignore[arg-type]


def test_the_page_stands_alone_and_escapes_what_it_shows() -> None:
    page = report().to_html()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"""(?:src|url\(|@import|<link)""", page)  # links go out, nothing comes in
    assert "6,001 read = 6,000 accepted + 1 failed" in page


def test_the_page_says_when_the_accounting_does_not_balance() -> None:
    page = report(counters={"records_read": 3}).to_html()
    assert "do not trust this run" in page
    assert json.loads(report(counters={"records_read": 3}).to_json())["accounting"] == {
        "read": 3, "accepted": 0, "failed": 0, "balanced": False,
    }  # fmt: skip


def test_a_run_without_requests() -> None:
    empty = report(requests=RequestsSummary(), failures=[], counters={})
    assert "No requests." in empty.to_html()
    assert json.loads(empty.to_json())["requests_over_time"]["points"] == []
