"""Runs a pipeline in this process and keeps what it gives, for the tests of the transforms."""

from __future__ import annotations

import time
from typing import Any, ClassVar, NamedTuple

import mixpanel_sink.jobs.startup  # noqa: F401  # isort: skip  # small pipelines take half the time
import apache_beam as beam
import pytest

from mixpanel_sink.errors import MixpanelSinkError
from mixpanel_sink.report import metrics
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.results import FailedRecord, WriteResult
from mixpanel_sink.settings.retry import RetryPolicy

IN_PROCESS = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""What runs in this process. By the DirectRunner's name Beam looks for Prism first, and a test
would run on one or the other by what the machine has; tests/runners runs both."""
FAST = RetryPolicy(transient_seconds=5, first_wait=0.01, longest_wait=0.02)


class Kept:
    """What a pipeline gave, kept in this process: the runner is in it."""

    rows: ClassVar[dict[str, list[Any]]] = {}

    def __init__(self) -> None:
        self.key = f"{id(self)}-{time.monotonic_ns()}"
        self.rows[self.key] = []

    def __call__(
        self, value: Any, at: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> None:
        self.rows[self.key].append((value, float(at), window))

    @property
    def values(self) -> list[Any]:
        return [value for value, _, _ in self.rows[self.key]]


class Ran(NamedTuple):
    receipts: list[Any]
    failed: list[Any]
    totals: list[Any]
    counters: dict[str, int]


def run(source: Any, sink: Any, *before: Any) -> Ran:
    """Runs records (a list or a transform) through the sink, with the accounting checked."""
    receipts, failed, totals = Kept(), Kept(), Kept()
    pipeline = beam.Pipeline(IN_PROCESS)
    records = pipeline | (beam.Create(source) if isinstance(source, list) else source)
    for number, transform in enumerate(before):
        records |= f"Before {number}" >> transform
    result = records | sink
    assert isinstance(result, WriteResult)
    _ = result.receipts | "Keep receipts" >> beam.Map(receipts)
    _ = result.failed | "Keep failed" >> beam.Map(failed)
    _ = result | CheckAccounting() | "Keep totals" >> beam.Map(totals)
    done = pipeline.run()
    done.wait_until_finish()
    assert len(totals.values) == 1
    return Ran(
        Kept.rows.pop(receipts.key), Kept.rows.pop(failed.key), Kept.rows.pop(totals.key),
        metrics.read_counters(done),
    )  # fmt: skip


def failing(source: Any, sink: Any) -> str:
    """What the error of a run that must fail says, led by its class."""
    with pytest.raises(MixpanelSinkError) as caught:
        run(source, sink)
    return f"{type(caught.value).__name__}: {caught.value}"


def failures(ran: Ran) -> list[FailedRecord]:
    """The failed records, by reason and record."""
    return sorted((value for value, _, _ in ran.failed), key=lambda f: (f.reason, f.to_json()))


def reasons(ran: Ran) -> list[str]:
    """Why records failed, in alphabetical order."""
    return [failure.reason for failure in failures(ran)]
