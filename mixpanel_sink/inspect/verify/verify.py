"""Reads back what an import has brought, and compares it with its input."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import heapq
import pathlib
import tempfile
import time
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import orjson
from apache_beam.io.filesystems import FileSystems

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.errors import SettingError
from mixpanel_sink.inspect.verify.events import Event, exported_event, sent_event
from mixpanel_sink.inspect.verify.export import Exporter
from mixpanel_sink.inspect.verify.match import Finding, match
from mixpanel_sink.inspect.verify.spill import Spill
from mixpanel_sink.read.source import (
    FILE_UNREADABLE,
    Element,
    FileSource,
    Source,
    columns_needed,
)
from mixpanel_sink.report.failures import describe, in_order, summarize
from mixpanel_sink.results import FailedRecord, FailureSummary
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.stages.local import convert_tables

QUERIES = 50
"""Exports at most: 60 an hour are allowed."""
SHOWN = 20
"""Events of each kind that the report shows."""
KINDS = ("missing", "unexpected", "altered")


@dataclasses.dataclass(frozen=True)
class Verification:
    """How the input and what Mixpanel holds compare.

    Attributes:
        first, last: the days that were compared; None if there was nothing to compare.
        zone: in which days are counted.
        host: that was asked.
        counts: (day, event) to the number of events in the input and in Mixpanel; each once.
        equal: events that are the same on both sides.
        missing, unexpected, altered: how many.
        shown: the first of each kind, as objects for JSON.
        collapsed: events of the input that are one to Mixpanel with others of it.
        duplicates: events of the export that repeat others.
        outside: events of the input on other days.
        failures: records of the input that cannot be events, and files that cannot be read.
    """

    first: datetime.date | None
    last: datetime.date | None
    zone: str
    host: str
    counts: dict[tuple[str, str], tuple[int, int]]
    equal: int
    missing: int
    unexpected: int
    altered: int
    shown: dict[str, list[dict[str, Any]]]
    collapsed: int
    duplicates: int
    outside: int
    failures: tuple[FailureSummary, ...]

    @property
    def whole(self) -> bool:
        """Whether every file of the input could be read."""
        return not any(each.reason == "file_unreadable" for each in self.failures)

    @property
    def proven(self) -> bool:
        """Whether Mixpanel holds the events of the input, each once and as they were sent.

        Where every record failed, or was of other days, nothing is proven.
        """
        different = self.missing or self.unexpected or self.altered
        compared = self.equal or not (self.outside or self.failures)
        return self.whole and bool(compared) and not different


def verify(
    files: Sequence[str] | Source,
    mapping: EventMapping,
    exporter: Exporter,
    *,
    first: datetime.date | None = None,
    last: datetime.date | None = None,
    zone: str = "UTC",
    all_events: bool = False,
    token: str | None = None,
    limits: Limits | None = None,
    privacy: Privacy | None = None,
    report_dir: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Verification:
    """Compares Parquet files with what Mixpanel holds.

    Args:
        files: the very paths that were imported, for ids from position.
        mapping: that of the import.
        exporter: reads what Mixpanel holds.
        first, last: days, both included; the default is the range of the input's times.
        zone: in which the project counts days: UTC if it was made since 2023.
        all_events: also read events of names that the input does not have.
        token: whether events carried a token of this length.
        limits, privacy: those of the import.
        report_dir: a folder, local or gs://, for the full lists.
        clock: seconds since 1970.

    Memory holds one of many parts of both sides; a temporary folder has the rest.

    Raises:
        SettingError: for days in the wrong order, or an unknown zone.
        DestinationError: if the export fails.
    """
    if first is not None and last is not None and last < first:
        raise SettingError(f"The last day, {last}, is before the first, {first}.")
    days = Days(zone)
    failures: dict[str, FailureSummary] = {}
    with tempfile.TemporaryDirectory(prefix="mixpanel-verify-") as folder:
        source = files if isinstance(files, Source) else FileSource(files)
        rows = source.estimated_rows()
        expected = Spill(_folder(folder, "input"), rows)
        names: set[str] = set()
        earliest, latest = datetime.date.max, datetime.date.min
        read = outside = 0
        outputs = convert_tables(
            _readable(source, mapping, failures),
            mapping,
            limits=limits,
            token=token,
            privacy=privacy,
            clock=clock,
        )
        for output in outputs:
            if isinstance(output, FailedRecord):
                summarize(failures, output)
                continue
            for json in output.events():
                event = sent_event(json)
                day = days.of(event.time)
                if (first is not None and day < first) or (last is not None and day > last):
                    outside += 1
                    continue
                read += 1
                names.add(event.event)
                earliest, latest = min(earliest, day), max(latest, day)
                _keep(expected, event)

        if read:
            first, last = first or earliest, last or latest
        actual = Spill(_folder(folder, "export"), rows)
        exported = 0
        if first is not None and last is not None:
            wanted = None if all_events else sorted(names)
            exported = _export(exporter, first, last, wanted, actual)
        with Findings(days, report_dir) as findings:
            for part in range(expected.parts):
                lines = expected.lines(part), actual.lines(part)
                for finding in match(*lines, days.zone):
                    findings.add(finding)
    return Verification(
        first=first,
        last=last,
        zone=zone,
        host=exporter.host,
        counts={key: (a, b) for key, (a, b) in sorted(findings.counts.items())},
        equal=findings.kinds["equal"],
        missing=findings.kinds["missing"],
        unexpected=findings.kinds["unexpected"],
        altered=findings.kinds["altered"],
        shown=findings.shown(),
        collapsed=read - findings.expected,
        duplicates=exported - findings.actual,
        outside=outside,
        failures=tuple(in_order(failures.values())),
    )


def _export(
    exporter: Exporter,
    first: datetime.date,
    last: datetime.date,
    names: Sequence[str] | None,
    spill: Spill,
) -> int:
    """Reads all days into the spill, and gives the number of events."""
    if names is not None and not names:
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
                    _keep(spill, exported_event(given))
                    count += 1

        exporter.read(start, end, names, take)
        total += count
    return total


def _keep(spill: Spill, event: Event) -> None:
    # Events of others may have no id; they must not all be in one part.
    spill.add(event.insert_id or event.distinct_id, event.to_line())


def spans(
    first: datetime.date, last: datetime.date, most: int
) -> Iterator[tuple[datetime.date, datetime.date]]:
    """Neighbouring spans of equally many days, `most` at most."""
    days = (last - first).days + 1
    length = -(-days // most)
    for start in range(0, days, length):
        end = min(start + length, days) - 1
        yield first + datetime.timedelta(start), first + datetime.timedelta(end)


class Days:
    """Days of a time zone.

    Args:
        name: IANA's.

    Raises:
        SettingError: if there is no such zone.
    """

    def __init__(self, name: str) -> None:
        try:
            zone = zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise SettingError(
                f"The time zone {name!r} is unknown. Use an IANA name such as Europe/Berlin."
            ) from None
        self._zone = zone
        self.zone = None if name == "UTC" else zone
        """None for UTC: then the export's times are surely UTC."""
        self._known: dict[int, datetime.date] = {}

    def of(self, milliseconds: int) -> datetime.date:
        """The day of a time."""
        quarter = milliseconds // 900_000  # no zone's day begins within a quarter of an hour
        if (day := self._known.get(quarter)) is None:
            day = datetime.datetime.fromtimestamp(quarter * 900, self._zone).date()
            self._known[quarter] = day
        return day


class Findings:
    """Adds up findings, keeps the first of each kind, and writes all to files if there is a folder.

    Args:
        days: of the project.
        folder: where missing.jsonl, unexpected.jsonl, altered.jsonl and counts.csv go.
    """

    def __init__(self, days: Days, folder: str | None) -> None:
        self.kinds: collections.Counter[str] = collections.Counter()
        self.expected = self.actual = 0
        self.counts: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0])
        self._days = days
        self._folder = folder
        self._first: dict[str, list[tuple[Any, ...]]] = {kind: [] for kind in KINDS}
        self._files: dict[str, IO[bytes]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Findings:
        if self._folder is not None:
            for kind in KINDS:
                self._files[kind] = self._stack.enter_context(
                    _create(self._folder, f"{kind}.jsonl")
                )
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if self._folder is not None and kind is None:
            with _create(self._folder, "counts.csv") as file:
                file.write(b"day,event,input,mixpanel\n")
                for (day, event), (expected, actual) in sorted(self.counts.items()):
                    name = event.replace('"', '""')
                    file.write(f'{day},"{name}",{expected},{actual}\n'.encode())
        self._stack.close()

    def add(self, finding: Finding) -> None:
        """Enters one."""
        kind = finding.kind
        self.kinds[kind] += 1
        # An altered event is counted where it is on each side, but for times in another zone.
        for place, event in enumerate((finding.expected, finding.actual)):
            if event is None:
                continue
            at = event if "time" in finding.differences else finding.event
            self.counts[str(self._days.of(at.time)), event.event][place] += 1
        self.expected += finding.expected is not None
        self.actual += finding.actual is not None
        if kind == "equal":
            return
        shown = self._shown(finding)
        if file := self._files.get(kind):
            file.write(orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE))
        first = self._first[kind]
        first.append((shown["day"], shown["insert_id"], shown["time"], len(first), shown))
        if len(first) > 50 * SHOWN:
            self._first[kind] = heapq.nsmallest(SHOWN, first, key=lambda each: each[:3])

    def shown(self) -> dict[str, list[dict[str, Any]]]:
        """The first of each kind, by day and id."""
        return {
            kind: [each[-1] for each in heapq.nsmallest(SHOWN, first, key=lambda each: each[:3])]
            for kind, first in self._first.items()
        }

    def _shown(self, finding: Finding) -> dict[str, Any]:
        event: Event = finding.event
        line: dict[str, Any] = {
            "day": str(self._days.of(event.time)),
            "insert_id": event.insert_id,
            "event": event.event,
            "distinct_id": event.distinct_id,
            "time": event.time,
        }
        if finding.differences:
            line["differences"] = {
                name: {"input": pair[0], "mixpanel": pair[1]}
                for name, pair in finding.differences.items()
            }
        return line


def render(result: Verification) -> str:
    """The result for people."""
    if result.first is None or result.last is None:
        lines = ["The input has no event, so that there is nothing to compare."]
        return "\n".join([*lines, *describe(result.failures)])
    lines = [f"{result.host}, {result.first} to {result.last} ({result.zone})"]
    expected = sum(pair[0] for pair in result.counts.values())
    actual = sum(pair[1] for pair in result.counts.values())
    lines.append(f"  {'':<40}{'input':>14}{'Mixpanel':>14}")
    lines.append(f"  {'events':<40}{expected:>14,}{actual:>14,}")
    different = {key: pair for key, pair in result.counts.items() if pair[0] != pair[1]}
    for (day, event), (here, there) in list(different.items())[:SHOWN]:
        lines.append(f"  {f'{day} {event}':<40}{here:>14,}{there:>14,}")
    if len(different) > SHOWN:
        lines.append(f"  and {len(different) - SHOWN:,} more days and events that differ")
    for name, number in (
        ("repeated in the input, one to Mixpanel", result.collapsed),
        ("repeated in the export, one to Mixpanel", result.duplicates),
        ("in the input on other days", result.outside),
        ("the same on both sides", result.equal),
        ("missing in Mixpanel", result.missing),
        ("unexpected in Mixpanel", result.unexpected),
        ("altered", result.altered),
    ):
        lines.append(f"  {name:<40}{number:>14,}")
    for kind in KINDS:
        shown = result.shown[kind]
        if shown:
            lines += ["", f"{kind.capitalize()}, the first {len(shown)}"]
            lines += [_shown_line(each) for each in shown]
    lines += describe(result.failures)
    lines.append("")
    if result.proven:
        lines.append("Equal: Mixpanel holds each event of the input once, as it was sent.")
    elif not result.whole:
        lines.append("Not proven: a file of the input cannot be read.")
    elif not result.counts:
        lines.append("Not proven: the input has no event on these days.")
    else:
        lines.append("Not equal.")
    return "\n".join(lines)


def _shown_line(each: dict[str, Any]) -> str:
    text = f"  {each['day']} {each['insert_id']} {each['event']}"
    for name, pair in each.get("differences", {}).items():
        text += f"\n    {name}: {_value(pair['input'])} in the input, "
        text += f"{_value(pair['mixpanel'])} in Mixpanel"
    return text


def _value(value: Any) -> str:
    text = "nothing" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= 80 else text[:77] + "..."


def _folder(parent: str, name: str) -> pathlib.Path:
    folder = pathlib.Path(parent, name)
    folder.mkdir()
    return folder


def _create(folder: str, name: str) -> Any:
    if "://" in folder:
        return FileSystems.create(FileSystems.join(folder, name))
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        return open(pathlib.Path(folder, name), "wb")
    except OSError as error:
        raise SettingError(
            f"The report cannot be written to {folder} ({error.strerror}). Choose another folder."
        ) from None


def _readable(
    source: Source, mapping: EventMapping, failures: dict[str, FailureSummary]
) -> Iterator[Element]:
    for element in source.elements(columns_needed(mapping)):
        if isinstance(element, FailedRecord) and element.reason == FILE_UNREADABLE:
            summarize(failures, element)
        else:
            yield element
