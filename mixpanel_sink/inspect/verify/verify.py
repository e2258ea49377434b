"""Reads back what an import has brought, and compares it with its input."""

from __future__ import annotations

import datetime
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.errors import SettingError
from mixpanel_sink.inspect.verify.events import Event, exported_event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.findings import Days, Findings
from mixpanel_sink.inspect.verify.match import match
from mixpanel_sink.inspect.verify.result import Verification
from mixpanel_sink.inspect.verify.spill import Spill
from mixpanel_sink.read.file_source import as_source
from mixpanel_sink.read.raw_export import QUERIES, Exporter, spans
from mixpanel_sink.read.source import Source, columns_needed
from mixpanel_sink.report.summaries import in_order, summarize
from mixpanel_sink.results import FailedRecord, FailureSummary
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.run_mark import RunMark


def verify(
    files: Sequence[str] | Source,
    mapping: EventMapping,
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
        mapping: that of the import.
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

    Memory holds one of many parts of both sides; a temporary folder has the rest.

    Raises:
        SettingError: for days in the wrong order, or an unknown zone.
        DestinationError: if the export fails.
    """
    _check_order(first, last)
    days = Days(zone)
    failures: dict[str, FailureSummary] = {}
    mark = None if run_property is None else RunMark(run_property, run_id or "")
    expectation = Expectation(
        mapping, limits or Limits(), privacy, token, int(clock() * 1000), mark
    )
    any_run = mark if run_id is None else None
    with tempfile.TemporaryDirectory(prefix="mixpanel-verify-") as folder:
        source = as_source(files, mapping)
        rows = source.estimated_rows()
        wanted = _Wanted(Spill(_folder(folder, "input"), rows), days, first, last)
        expected = expectation.of(source.elements(columns_needed(mapping)))
        wanted.take(_first(expected, limit), failures)
        if wanted.names:
            first, last = first or wanted.earliest, last or wanted.latest
        actual = Spill(_folder(folder, "export"), rows)
        names = None if all_events else sorted(wanted.names)
        exported = _export(exporter, first, last, names, actual, any_run)
        findings = _compared(wanted.spill, actual, days, report_dir)
    return Verification.of(
        findings,
        first=first,
        last=last,
        zone=zone,
        host=exporter.host,
        duplicates=exported - findings.actual,
        outside=wanted.outside,
        failures=tuple(in_order(failures.values())),
    )


def _first(
    events: Iterator[Event | FailedRecord], limit: int | None
) -> Iterator[Event | FailedRecord]:
    """As many as the limit says; files that cannot be read count as no record."""
    count = 0
    for event in events:
        yield event
        count += not isinstance(event, FailedRecord) or event.row is not None
        if count == limit:
            return


def _check_order(first: datetime.date | None, last: datetime.date | None) -> None:
    if first is not None and last is not None and last < first:
        raise SettingError(f"The last day, {last}, is before the first, {first}.")


def _compared(expected: Spill, actual: Spill, days: Days, report_dir: str | None) -> Findings:
    """Compares part by part."""
    with Findings(days, report_dir) as findings:
        for part in range(actual.parts):
            for finding in match(expected.lines(part), actual.lines(part), days.zone):
                findings.add(finding)
    return findings


class _Wanted:
    """The events of the input, of the days in question, on disk.

    Attributes:
        names: of the events.
        earliest, latest: days of them.
        outside: how many were of other days.
    """

    def __init__(
        self, spill: Spill, days: Days, first: datetime.date | None, last: datetime.date | None
    ) -> None:
        self.spill = spill
        self.names: set[str] = set()
        self.earliest, self.latest = datetime.date.max, datetime.date.min
        self.outside = 0
        self._days = days
        self._first, self._last = first or datetime.date.min, last or datetime.date.max

    def take(
        self, events: Iterable[Event | FailedRecord], failures: dict[str, FailureSummary]
    ) -> None:
        """Takes events and failures."""
        for event in events:
            if isinstance(event, FailedRecord):
                summarize(failures, event)
                continue
            day = self._days.of(event.time)
            if not self._first <= day <= self._last:
                self.outside += 1
                continue
            self.names.add(event.event)
            self.earliest, self.latest = min(self.earliest, day), max(self.latest, day)
            _keep(self.spill, event)


def _export(
    exporter: Exporter,
    first: datetime.date | None,
    last: datetime.date | None,
    names: Sequence[str] | None,
    spill: Spill,
    any_run: RunMark | None = None,
) -> int:
    """Reads all days into the spill, and gives the number of events."""
    if first is None or last is None or (names is not None and not names):
        return 0
    wanted = None if names is None else frozenset(names)
    total = 0

    for start, end in spans(first, last, QUERIES):
        savepoint = spill.savepoint()
        count = 0

        def take(events: Iterator[dict[str, Any]]) -> None:
            nonlocal count
            count = 0
            spill.rollback(savepoint)  # noqa: B023
            for given in events:
                if wanted is None or given["event"] in wanted:
                    _keep(spill, exported_event(_of_any_run(given, any_run)))
                    count += 1

        exporter.read(start, end, names, take)
        total += count
    return total


def _of_any_run(event: dict[str, Any], mark: RunMark | None) -> dict[str, Any]:
    """The event as if the run that is expected had sent it, whichever run it was."""
    if mark is None or not isinstance(event["properties"].get(mark.name), str):
        return event
    return {**event, "properties": {**event["properties"], mark.name: mark.run}}


def _keep(spill: Spill, event: Event) -> None:
    # Events of others may have no id; they must not all be in one part.
    spill.add(event.insert_id or event.distinct_id, event.to_line())


def _folder(parent: str, name: str) -> pathlib.Path:
    folder = pathlib.Path(parent, name)
    folder.mkdir()
    return folder
