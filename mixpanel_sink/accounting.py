"""The books: every record read is accepted or failed, or the run fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.errors import AccountingError
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.windowing import GLOBAL
from mixpanel_sink.write import WriteResult


class Totals(NamedTuple):
    """Counts of a run."""

    read: int = 0
    accepted: int = 0
    failed: int = 0
    requests: int = 0

    @property
    def balanced(self) -> bool:
        """Whether every record read is accounted for."""
        return self.read == self.accepted + self.failed


class CheckAccounting(beam.PTransform):
    """Adds up a bounded write on the runner, and fails the job if the books do not balance.

    Args:
        result: what `WriteToMixpanel` gave.

    Returns:
        PCollection of one `Totals`.
    """

    def expand(self, result: WriteResult) -> Any:
        """Builds the flow."""
        parts = tuple(
            _globally(part | f"Count {name}" >> beam.ParDo(_Count(of)).with_output_types(Totals))
            for name, part, of in (
                ("read", result.read, _of_read),
                ("receipts", result.receipts, _of_receipt),
                ("failed", result.failed, _of_failure),
            )
        )
        return (
            parts
            | beam.Flatten()
            | "Sum" >> beam.CombineGlobally(_sum).with_output_types(Totals)
            | "Check" >> beam.Map(_check).with_output_types(Totals)
        )


class _Count(beam.DoFn):
    """Adds up a bundle. One record in several windows is one record, so that no step may see
    it once for each of them, as `WindowInto` does."""

    def __init__(self, of: Callable[[Any], Totals]) -> None:
        self._of = of

    def start_bundle(self) -> None:
        self._parts: list[Totals] = []

    def process(self, element: Any) -> None:
        self._parts.append(self._of(element))
        if len(self._parts) > 1000:
            self._parts = [_sum(iter(self._parts))]

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._parts:
            yield WindowedValue(_sum(iter(self._parts)), MIN_TIMESTAMP, (GlobalWindow(),))


def _globally(pcollection: Any) -> Any:
    pcollection._windowing = GLOBAL
    return pcollection


def _of_read(count: int) -> Totals:
    return Totals(read=count)


def _of_receipt(receipt: Receipt) -> Totals:
    return Totals(accepted=receipt.accepted, requests=receipt.attempts)


def _of_failure(_: FailedRecord) -> Totals:
    return Totals(failed=1)


def _sum(parts: Iterator[Totals]) -> Totals:
    read = accepted = failed = requests = 0
    for part in parts:
        read += part[0]
        accepted += part[1]
        failed += part[2]
        requests += part[3]
    return Totals(read, accepted, failed, requests)


def _check(totals: Totals) -> Totals:
    totals = Totals(*totals)
    if not totals.balanced:
        raise AccountingError(
            f"The books do not balance: {totals.read} records read, but {totals.accepted} accepted "
            f"and {totals.failed} failed. Do not trust this run; run it again (ids keep events "
            "from doubling) and report it."
        )
    return totals
