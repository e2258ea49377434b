"""The accounting: every record read is accepted or failed, or the run fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.batch.keys import KeySample
from mixpanel_sink.errors import AccountingError, FailedRecordError
from mixpanel_sink.report import metrics
from mixpanel_sink.report.failure_log import example
from mixpanel_sink.report.finished import NAMESPACE, read_texts
from mixpanel_sink.report.noted import lost_together
from mixpanel_sink.results import Books, FailedRecord, ReadCount, Receipt, Totals, WriteResult
from mixpanel_sink.settings.job import OnFailure, check_on_failure
from mixpanel_sink.windowing import GLOBAL

_LOGGER = logging.getLogger(__name__)
_METRIC = "books"


class CheckAccounting(beam.PTransform):
    """Adds up a bounded write on the runner, and fails the job if the accounting does not balance,
    for each destination and altogether.

    Apply it to what `WriteToMixpanel` gave. A write does this by itself, unless it has
    `check_accounting=False`; after one that did, this only returns what was added up.

    Args:
        on_failure: "fail" makes a failed record fail the pipeline, too.

    Returns:
        PCollection of one `Totals`, of all destinations.
    """

    def __init__(self, on_failure: OnFailure = "dead_letter") -> None:
        super().__init__()
        check_on_failure(on_failure)
        self._on_failure: OnFailure = on_failure

    def expand(self, result: WriteResult) -> Any:
        """Builds the flow."""
        if result.totals is not None:
            # Not the totals themselves: runners refuse a transform without a step.
            return result.totals | "Totals" >> beam.Map(_same).with_output_types(Totals)
        parts = tuple(
            _globally(part | f"Count {name}" >> beam.ParDo(_Count(of)).with_output_types(Books))
            for name, part, of in (
                ("read", result.read, _of_read),
                ("receipts", result.receipts, _of_receipt),
                ("failed", result.failed, _of_failure),
            )
        )
        return (
            parts
            | beam.Flatten()
            | "Sum" >> beam.CombineGlobally(_sum).with_output_types(Books)
            | "Check" >> beam.Map(_check, self._on_failure).with_output_types(Totals)
        )


def _same(totals: Totals) -> Totals:
    return totals


class FailOnFailure(beam.PTransform):
    """Fails the pipeline at the first failed record: for streams, which have no end."""

    def expand(self, failed: Any) -> Any:
        """Builds the flow."""
        return failed | beam.Map(_stop)


def _stop(failed: FailedRecord) -> None:
    raise FailedRecordError(
        f'A record failed, and on_failure is "fail": {example(failed)} Fix it, or take failed '
        'records from the result with on_failure="dead_letter".'
    )


class _Count(beam.DoFn):
    """Adds up a bundle, into the global window.

    Some runners pass an element that is in several windows on as one, others once for each window.
    Asking for the window makes all of them do the latter.
    """

    def __init__(self, of: Callable[[Any], tuple[str, int, Totals]]) -> None:
        self._of = of

    def start_bundle(self) -> None:
        self._sums: _Sums = {}
        self._sample = KeySample()

    def process(self, element: Any, _: Any = beam.DoFn.WindowParam) -> None:
        name, windows, totals = self._of(element)
        _add(self._sums, (name, windows), totals)
        if isinstance(element, ReadCount):
            self._sample.merge(KeySample.from_text(element.sample))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._sums:
            accounts = _closed(self._sums, self._sample)
            yield WindowedValue(accounts, MIN_TIMESTAMP, (GlobalWindow(),))


_Sums = dict[tuple[str, int], list[int]]


def _globally(pcollection: Any) -> Any:
    pcollection._windowing = GLOBAL
    return pcollection


def _of_read(read: ReadCount) -> tuple[str, int, Totals]:
    return read.destination, 1, Totals(read=read.count)


def _of_receipt(receipt: Receipt) -> tuple[str, int, Totals]:
    totals = Totals(accepted=receipt.accepted, requests=receipt.attempts)
    return receipt.destination, receipt.windows, totals


def _of_failure(failure: FailedRecord) -> tuple[str, int, Totals]:
    return failure.destination or "", failure.windows, Totals(failed=1)


def _add(accounts: _Sums, key: tuple[str, int], counts: Iterable[int]) -> None:
    sums = accounts.setdefault(key, [0, 0, 0, 0])
    for place, count in enumerate(counts):
        sums[place] += count


def _closed(accounts: _Sums, sample: KeySample) -> Books:
    rows: Any = [(*key, *sums) for key, sums in sorted(accounts.items())]
    return Books(rows, sample.to_text())


def _sum(parts: Iterable[Books]) -> Books:
    accounts: _Sums = {}
    sample = KeySample()
    for part in parts:
        sample.merge(KeySample.from_text(part.sample))
        for name, windows, *counts in part.rows:
            _add(accounts, (name, windows), counts)
    return _closed(accounts, sample)


def read_accounts(result: Any) -> list[tuple[str, Totals]]:
    """Each project's account in a finished pipeline with `CheckAccounting`, by name; "" for records
    of no known project."""
    accounts = (json.loads(text) for text in read_texts(result, _METRIC))
    return sorted((name, Totals(*counts)) for name, *counts in accounts)


def _check(accounts: Books, on_failure: OnFailure) -> Totals:
    """The sum of all accounts, each of which must balance."""
    metric = Metrics.string_set(NAMESPACE, _METRIC)
    everything = Totals()
    for name, totals in _by_destination(accounts).items():
        metric.add(json.dumps([name, *totals]))
        if not totals.balanced:
            raise AccountingError(
                f"The accounting does not balance for {name or 'records without a project'}: "
                f"{totals.read} records read, but {totals.accepted} accepted and {totals.failed} "
                "failed. Do not trust this run; run it again (ids keep events from doubling) and "
                "report it."
            )
        everything = everything.plus(totals)
    for counter, number in lost_together(KeySample.from_text(accounts.sample)).items():
        metrics.count(counter, number)
    if everything.failed:
        _LOGGER.warning("%s", _failed(everything))
        if on_failure == "fail":
            raise FailedRecordError(
                f'{_failed(everything)} on_failure is "fail", so the pipeline fails; what '
                "was accepted stays accepted. The log names each reason."
            )
    return everything


def _failed(totals: Totals) -> str:
    """
    >>> _failed(Totals(read=5000, accepted=4999, failed=1))
    '1 of 5,000 records failed; 4,999 were accepted.'
    """
    accepted = f"{totals.accepted:,}" if totals.accepted else "none"
    return f"{totals.failed:,} of {totals.read:,} records failed; {accepted} were accepted."


def _by_destination(accounts: Books) -> dict[str, Totals]:
    """A result that came once for each of its windows counts once."""
    by_name: dict[str, Totals] = {}
    for name, windows, *counts in accounts.rows:
        # Rounded down: with a result lost in one of its windows the accounting does not balance.
        once = Totals(*(count // windows for count in counts))
        by_name[name] = by_name.get(name, Totals()).plus(once)
    return by_name
