"""Reads back what an import has brought, and compares it with its input."""

from __future__ import annotations

import datetime
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.errors import SettingError
from mixpanel_sink.inspect.verify.compare import compare
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.exported import Reading
from mixpanel_sink.inspect.verify.findings import Days, Findings
from mixpanel_sink.inspect.verify.raw import RawExpectation
from mixpanel_sink.inspect.verify.result import Verification
from mixpanel_sink.inspect.verify.sides import Exported, Input
from mixpanel_sink.read.file_source import as_source
from mixpanel_sink.read.raw_export import QUERIES, Exporter, spans
from mixpanel_sink.read.source import ALL_COLUMNS, Source, columns_needed
from mixpanel_sink.report.summaries import in_order
from mixpanel_sink.settings.columns import PositionId
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.run_mark import RunMark


def verify(
    files: Sequence[str] | Source,
    mapping: EventMapping | None,
    exporter: Exporter,
    *,
    first: datetime.date | None = None,
    last: datetime.date | None = None,
    zone: str = "UTC",
    all_events: bool = False,
    limit: int | None = None,
    token: str | None = None,
    limits: Limits | None = None,
    privacy: Privacy | None = None,
    report_dir: str | None = None,
    run_property: str | None = None,
    run_id: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Verification:
    """Compares an input with what Mixpanel holds.

    Args:
        files: the very input that was imported; for ids from position, under the same paths.
        mapping: that of the import; None for records that are Mixpanel events already.
        exporter: reads what Mixpanel holds.
        first, last: days, both included; the default is the range of the input's times.
        zone: in which the project counts days: UTC if it was made since 2023.
        all_events: also read events of names that the input does not have.
        limit: that of the import: its first so many records.
        token: what stands for the token that events carried, of its length; None without.
        limits, privacy: those of the import.
        report_dir: a folder, local or gs://, for the full lists.
        run_property: the property that every event must carry, with the id of whichever run sent
            it.
        run_id: the run that must have sent them all; None for any.
        clock: seconds since 1970.

    Memory holds one of many parts of both sides; a temporary folder has the rest. Most events are
    compared by hashes (see `canonical`), whole columns at a time; what is not plainly the same is
    looked at value by value.

    Raises:
        SettingError: for days in the wrong order, or an unknown zone.
        DestinationError: if the export fails.
    """
    _check_order(first, last)
    days = Days(zone)
    mark = None if run_property is None else RunMark(run_property, run_id or "")
    about = limits or Limits(), privacy, token, int(clock() * 1000), mark
    expectation = RawExpectation(*about) if mapping is None else Expectation(mapping, *about)
    columns = ALL_COLUMNS if mapping is None else columns_needed(mapping)
    any_run = mark if run_id is None else None
    with tempfile.TemporaryDirectory(prefix="mixpanel-verify-") as folder:
        source = as_source(files, mapping)
        rows = source.estimated_rows()
        wanted = Input(folder, rows, expectation, days, first, last)
        wanted.take(source.elements(columns), limit)
        names = frozenset(wanted.names.numbers)
        if names:
            first, last = first or wanted.earliest, last or wanted.latest
        actual = Exported(
            folder, rows, None if all_events else names, Reading(wanted.kinds, any_run)
        )
        if first is not None and last is not None and (names or all_events):
            exported = _export(exporter, first, last, None if all_events else names, actual)
        else:
            exported = 0
        with Findings(days, report_dir) as findings:
            compare(wanted, actual, expectation, folder, findings, days)
    return Verification.of(
        findings,
        first=first,
        last=last,
        zone=zone,
        host=exporter.host,
        duplicates=exported - findings.actual,
        outside=wanted.outside,
        failures=tuple(in_order(wanted.failures.values())),
        from_position=isinstance(getattr(mapping, "insert_id", None), PositionId),
    )


def _check_order(first: datetime.date | None, last: datetime.date | None) -> None:
    if first is not None and last is not None and last < first:
        raise SettingError(f"The last day, {last}, is before the first, {first}.")


def _export(
    exporter: Exporter,
    first: datetime.date,
    last: datetime.date,
    names: frozenset[str] | None,
    actual: Exported,
) -> int:
    """Reads all days, and gives the number of events."""
    total = 0
    for start, end in spans(first, last, QUERIES):
        savepoint = actual.savepoint()
        count = 0

        def take(blocks: Iterator[bytes]) -> None:
            nonlocal count
            actual.rollback(savepoint)  # noqa: B023
            count = actual.take(blocks)

        exporter.read_lines(start, end, None if names is None else sorted(names), take)
        total += count
    return total
