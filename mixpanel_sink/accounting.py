"""The books: every record read is accepted or failed, or the run fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.coders import registry
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.coders import ResultCoder
from mixpanel_sink.errors import AccountingError
from mixpanel_sink.metrics import NAMESPACE, read_texts
from mixpanel_sink.results import FailedRecord, ReadCount, Receipt
from mixpanel_sink.windowing import GLOBAL
from mixpanel_sink.write import WriteResult

_METRIC = "books"


class Books(NamedTuple):
    """The counts of each destination.

    Attributes:
        rows: name, records read, accepted, failed, and requests.
    """

    rows: Sequence[tuple[str, int, int, int, int]]


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


for _kind in (Books, Totals):
    registry.register_coder(_kind, ResultCoder)


class CheckAccounting(beam.PTransform):
    """Adds up a bounded write on the runner, and fails the job if the books do not balance, for
    each destination and altogether.

    Args:
        result: what `WriteToMixpanel` gave.

    Returns:
        PCollection of one `Totals`, of all destinations.
    """

    def expand(self, result: WriteResult) -> Any:
        """Builds the flow."""
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
            | "Check" >> beam.Map(_check).with_output_types(Totals)
        )


class _Count(beam.DoFn):
    """Adds up a bundle. One record in several windows is one record, so that no step may see
    it once for each of them, as `WindowInto` does."""

    def __init__(self, of: Callable[[Any], tuple[str, Totals]]) -> None:
        self._of = of

    def start_bundle(self) -> None:
        self._books: dict[str, list[int]] = {}

    def process(self, element: Any) -> None:
        name, totals = self._of(element)
        _add(self._books, name, totals)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._books:
            yield WindowedValue(_closed(self._books), MIN_TIMESTAMP, (GlobalWindow(),))


def _globally(pcollection: Any) -> Any:
    pcollection._windowing = GLOBAL
    return pcollection


def _of_read(read: ReadCount) -> tuple[str, Totals]:
    return read.destination, Totals(read=read.count)


def _of_receipt(receipt: Receipt) -> tuple[str, Totals]:
    return receipt.destination, Totals(accepted=receipt.accepted, requests=receipt.attempts)


def _of_failure(failure: FailedRecord) -> tuple[str, Totals]:
    return failure.destination or "", Totals(failed=1)


def _add(books: dict[str, list[int]], name: str, counts: Iterable[int]) -> None:
    sums = books.setdefault(name, [0, 0, 0, 0])
    for place, count in enumerate(counts):
        sums[place] += count


def _closed(books: dict[str, list[int]]) -> Books:
    return Books([(name, *sums) for name, sums in sorted(books.items())])  # type: ignore[misc]


def _sum(parts: Iterable[Books]) -> Books:
    books: dict[str, list[int]] = {}
    for part in parts:
        for name, *counts in part.rows:
            _add(books, name, counts)
    return _closed(books)


def read_books(result: Any) -> list[tuple[str, Totals]]:
    """Each project's books in a finished pipeline with `CheckAccounting`, by name; "" for records
    of no known project."""
    books = (json.loads(text) for text in read_texts(result, _METRIC))
    return sorted((name, Totals(*counts)) for name, *counts in books)


def _check(books: Books) -> Totals:
    """The sum of all books, each of which must balance."""
    metric = Metrics.string_set(NAMESPACE, _METRIC)
    for name, *counts in books.rows:
        totals = Totals(*counts)
        metric.add(json.dumps([name, *counts]))
        if not totals.balanced:
            raise AccountingError(
                f"The books do not balance for {name or 'records without a project'}: "
                f"{totals.read} records read, but {totals.accepted} accepted and {totals.failed} "
                "failed. Do not trust this run; run it again (ids keep events from doubling) and "
                "report it."
            )
    return Totals(
        *(sum(column) for column in zip(*(counts for _, *counts in books.rows), strict=True))
    )
