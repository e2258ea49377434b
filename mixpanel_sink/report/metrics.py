"""The sink's Beam metrics. Names are part of its interface; docs/metrics.md says more.

| name                         | counts                                                  |
|------------------------------|---------------------------------------------------------|
| records_read                 | records that came in                                    |
| events_accepted              | events that Mixpanel holds, new or already there        |
| events_known                 | those of them that a checkpoint knew, and were not sent |
| records_failed               | failed records; and one counter each, failed_REASON     |
| requests                     | requests made, retries included; and requests_STATUS    |
| retries                      | requests beyond the first of a batch                    |
| sent_bytes                   | bodies of settled requests, as sent                     |
| raw_bytes                    | the same as JSON, before compression                    |
| profiles_unchanged           | updates not sent, because they would change nothing     |
| records_left_out             | records that MapRecords, a shape or a filter left out   |
| records_imported_before      | with --since: those up to a file's watermark, not sent  |
| rows_skipped, bytes_skipped  | of Parquet: not read, as the statistics rule them out   |
| files_skipped                | files not opened: their partitions rule them out        |
| files_read, files_unreadable | files, by ReadParquetTables and ReadRecords             |
| lines_unreadable             | lines that are not failed records (ReadFailedRecords)   |
| lines_skipped                | lines whose reason was not asked for, by the same       |
| long_strings                 | text values over 255 bytes, which Mixpanel cuts         |
| reserved_properties          | values of properties that Mixpanel has a meaning for    |
| old_events                   | events over two years old, which Mixpanel deletes       |
| old_events_5_years           | those of them over five years old                       |
| ignored_anon_ids             | $identify events whose $anon_id is not a UUID v4: with  |
|                              | original ID merge they have no effect                   |
| repeated_ids                 | events with the id, user and day of another, of which   |
|                              | Mixpanel keeps one; estimated in large runs             |
| hot_events                   | events beyond 200,000 of one user and day; estimated    |
| rounded_decimals             | decimals and durations with more digits than a 64-bit   |
|                              | float keeps, sent as the nearest one                    |
| cumulativeThrottlingSeconds  | time in which the quota or a 429 held requests back     |
| batch_events                 | distribution: events a request                          |
| request_milliseconds         | distribution: one request, from its start to its answer |
| batch_milliseconds           | distribution: from a batch's first request to its end,  |
|                              | retries and waits for the quota between them included   |
| projects_refused (a set)     | names of projects that took nothing more, while others  |
|                              | went on                                                 |
| books (a set of texts)       | records read, accepted and failed, and requests, of     |
|                              | each project, as JSON; see accounting.py                |
| failures (a set of texts)    | a summary and an example of each reason, as JSON; see   |
|                              | summary.py                                              |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from apache_beam.metrics import Metrics

from mixpanel_sink.report.failure_log import failure_log
from mixpanel_sink.report.finished import (
    NAMESPACE,
    Spread,
    read_counters,
    read_distributions,
    read_texts,
)
from mixpanel_sink.results import FailedRecord, Receipt
from mixpanel_sink.send.tally import (
    counts_of_failure,
    counts_of_receipt,
    counts_of_requests,
    tally,
)

__all__ = [
    "NAMESPACE",
    "Spread",
    "count",
    "count_failed",
    "read_counters",
    "read_distributions",
    "read_texts",
]


def count(name: str, amount: int = 1) -> None:
    """Adds to a counter, and to the process's tally. Only on a thread that Beam runs."""
    if amount:
        tally().add({name: amount})
        _enter({name: amount})


def count_failed(record: FailedRecord) -> None:
    """Counts a record that was never sent, and has it logged if it is time."""
    tally().add(counts_of_failure(record))
    enter_failed(record)


def enter_failed(record: FailedRecord) -> None:
    """As `count_failed`, for a record that the sender has tallied already."""
    failure_log().add(record)
    _enter(counts_of_failure(record))
    if record.reason == "project_refused" and record.destination:
        Metrics.string_set(NAMESPACE, "projects_refused").add(record.destination)


def enter_receipt(receipt: Receipt) -> None:
    """Counts a settled request, which the sender has tallied already."""
    _enter(counts_of_receipt(receipt))
    if receipt.attempts:
        _distribute("batch_events", receipt.accepted + receipt.failed)
        _distribute("batch_milliseconds", receipt.seconds * 1000)


def enter_requests(statuses: Mapping[str, int], seconds: Iterable[float] = ()) -> None:
    """Counts requests by status, and how long each took; the sender has tallied them already."""
    _enter(counts_of_requests(statuses))
    for one in seconds:
        _distribute("request_milliseconds", one * 1000)


def _enter(amounts: Mapping[str, int]) -> None:
    for name, amount in amounts.items():
        if amount:
            Metrics.counter(NAMESPACE, name).inc(amount)


def _distribute(name: str, value: float) -> None:
    Metrics.distribution(NAMESPACE, name).update(int(value))


class ThrottleCounter:
    """Reports throttled time in whole seconds, carrying the fraction."""

    def __init__(self) -> None:
        self._fraction = 0.0

    def add(self, seconds: float) -> None:
        """Takes seconds, counts the whole ones."""
        self._fraction += seconds
        whole = int(self._fraction)
        if whole:
            self._fraction -= whole
            count("cumulativeThrottlingSeconds", whole)
