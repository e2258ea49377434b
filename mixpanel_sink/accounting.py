"""The books: every record read is accepted or failed, or the run fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows

from mixpanel_sink.errors import AccountingError
from mixpanel_sink.results import FailedRecord, Receipt
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
        parts = (
            result.read | "Read" >> beam.Map(_of_read).with_output_types(Totals),
            result.receipts | "Receipts" >> beam.Map(_of_receipt).with_output_types(Totals),
            result.failed | "Failures" >> beam.Map(_of_failure).with_output_types(Totals),
        )
        windowed = [
            part | f"Global {i}" >> beam.WindowInto(GlobalWindows()) for i, part in enumerate(parts)
        ]
        return (
            windowed
            | beam.Flatten()
            | "Sum" >> beam.CombineGlobally(_sum).with_output_types(Totals)
            | "Check" >> beam.Map(_check).with_output_types(Totals)
        )


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
