"""Failures by reason: the same example in any order, within the limits of a metric."""

from __future__ import annotations

import itertools

import apache_beam as beam

from mixpanel_sink.report.failures import SummarizeFailures, read_summaries
from mixpanel_sink.report.summaries import describe, in_order, summarize
from mixpanel_sink.results import FailedRecord, FailureSummary

FAILED = [
    FailedRecord("time_null", "second file", file="b", row=1),
    FailedRecord("time_null", "first file, later", file="a", row=7),
    FailedRecord("time_null", "first file", file="a", row=2),
    FailedRecord("refused", "no file"),
]
SUMMARIES = [
    FailureSummary("time_null", 3, "first file", "a", 2),
    FailureSummary("refused", 1, "no file"),
]


def test_the_example_does_not_depend_on_the_order() -> None:
    for order in itertools.permutations(FAILED):
        summaries: dict[str, FailureSummary] = {}
        for failed in order:
            summarize(summaries, failed)
        assert in_order(summaries.values()) == SUMMARIES


def test_a_long_message_is_cut() -> None:
    (summary,) = summarize({}, FailedRecord("refused", "x" * 10_000)).values()
    assert len(summary.message) == 500


def test_the_metric_holds_one_text_for_each_reason() -> None:
    pipeline = beam.Pipeline(runner="apache_beam.runners.portability.fn_api_runner.FnApiRunner")
    _ = pipeline | beam.Create(FAILED * 500) | SummarizeFailures()
    result = pipeline.run()
    result.wait_until_finish()
    assert read_summaries(result) == [s._replace(count=s.count * 500) for s in SUMMARIES]
    (metric,) = result.metrics().query()["string_sets"]
    assert len(metric.committed) == 2


def test_nothing_failed() -> None:
    pipeline = beam.Pipeline(runner="apache_beam.runners.portability.fn_api_runner.FnApiRunner")
    _ = pipeline | beam.Create([], reshuffle=False) | SummarizeFailures()
    result = pipeline.run()
    result.wait_until_finish()
    assert read_summaries(result) == []
    assert describe([]) == []


def test_lines_for_people() -> None:
    assert describe(SUMMARIES) == [
        "",
        "Failures, and an example of each",
        "  MXS521 time_null  3",
        "    a, row 2",
        "    first file",
        "  MXS801 refused  1",
        "    no file",
    ]
