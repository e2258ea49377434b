"""A run's failures by reason, with an example of each: from the workers to the launcher.

A Beam metric carries them (a set of texts, of one for each reason), so that the launcher has
them on every runner, without a file that both can reach.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from mixpanel_sink.report.finished import NAMESPACE, read_texts
from mixpanel_sink.report.summaries import enter, in_order, summarize
from mixpanel_sink.results import FailedRecord, FailureSummary

_LOGGER = logging.getLogger(__name__)
_METRIC = "failures"


class SummarizeFailures(beam.PTransform):
    """Adds up the failed records of a bounded pipeline by reason, and reports them as a metric.

    Returns:
        PCollection of one `FailureSummary` for each reason.
    """

    def expand(self, failed: Any) -> Any:
        """Builds the flow."""
        summaries = (
            failed
            | "By reason" >> beam.CombineGlobally(_Summarize()).without_defaults()
            | "Report" >> beam.FlatMap(_report)
        )
        summaries.element_type = FailureSummary
        return summaries


def read_summaries(result: Any) -> list[FailureSummary]:
    """The summaries of a finished pipeline, most frequent first."""
    return in_order(FailureSummary(*json.loads(text)) for text in read_texts(result, _METRIC))


class _Summarize(beam.CombineFn):
    def create_accumulator(self) -> dict[str, FailureSummary]:
        return {}

    def add_input(
        self, accumulator: dict[str, FailureSummary], failed: FailedRecord
    ) -> dict[str, FailureSummary]:
        return summarize(accumulator, failed)

    def merge_accumulators(
        self, accumulators: Iterable[dict[str, FailureSummary]]
    ) -> dict[str, FailureSummary]:
        merged: dict[str, FailureSummary] = {}
        for accumulator in accumulators:
            for summary in accumulator.values():
                enter(merged, FailureSummary(*summary))
        return merged

    def extract_output(
        self, accumulator: dict[str, FailureSummary]
    ) -> list[tuple[str, int, str, str | None, int | None]]:
        return [tuple(each) for each in in_order(accumulator.values())]  # type: ignore[misc]


def _report(summaries: list[tuple[Any, ...]]) -> Iterator[FailureSummary]:
    metric = Metrics.string_set(NAMESPACE, _METRIC)
    for values in summaries:
        summary = FailureSummary(*values)
        metric.add(json.dumps(values))
        _LOGGER.info(
            "%d records failed: %s. For example %s: %s",
            summary.count,
            summary.reason,
            summary.place or "one",
            summary.message,
        )
        yield summary
