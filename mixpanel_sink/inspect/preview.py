"""What an import would send, as a value and as text: the dry run. It needs no secret."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.keys import KeySample
from mixpanel_sink.read.file_source import as_source
from mixpanel_sink.read.source import FILE_UNREADABLE, Element, Source, columns_needed, rows_in
from mixpanel_sink.report.noted import NOTED, lost_together
from mixpanel_sink.report.summaries import describe, in_order, summarize
from mixpanel_sink.results import FailedRecord, FailureSummary
from mixpanel_sink.send.tally import tally
from mixpanel_sink.settings.credentials import MASKED_TOKEN
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.project import limits_of
from mixpanel_sink.settings.quota import PRESETS, Quota
from mixpanel_sink.stages.local import convert_tables

SAMPLE_ROWS = 10_000
"""Rows of a sample."""
EXAMPLES = 5
"""Events that are shown."""


@dataclasses.dataclass(frozen=True)
class Amounts:
    """What is sent.

    Attributes:
        events: how many.
        requests: that carry them.
        raw_bytes: of JSON.
        sent_bytes: as gzip.
    """

    events: int
    requests: int
    raw_bytes: int
    sent_bytes: int


@dataclasses.dataclass(frozen=True)
class Preview:
    """What an import would do.

    Attributes:
        files: of the input.
        rows: in all that could be read.
        rows_known: whether their number is known; else it is estimated from the files' sizes.
        read: rows that were looked at.
        looked_at: what these would send.
        total: what all would send; estimated unless every row was read.
        seconds: that the quota will need for `total`, at least.
        quota: it.
        published: seconds by name, for each limit that Mixpanel publishes.
        examples: events as they would be sent, the token masked.
        failures: records that would fail, and files that cannot be read.
        altered: values of those looked at that Mixpanel would not hold as they are, by the name of
            their counter.
        left_out: rows of those looked at that the mapping's filter and shape leave out.
        skipped: rows that are not read, since the files' statistics rule them out.
        files_skipped: files that are not opened, since their partitions rule them out.
        new: what a checkpoint has left to do, in lines for people; empty without a checkpoint.
    """

    files: int
    rows: int
    rows_known: bool
    read: int
    looked_at: Amounts
    total: Amounts
    seconds: float
    quota: Quota
    published: dict[str, float]
    examples: tuple[dict[str, Any], ...]
    failures: tuple[FailureSummary, ...]
    altered: dict[str, int] = dataclasses.field(default_factory=dict)
    left_out: int = 0
    skipped: int = 0
    files_skipped: int = 0
    new: tuple[str, ...] = ()

    @property
    def nothing_new(self) -> bool:
        """Whether the checkpoint has left nothing to do."""
        return bool(self.new) and not self.files and not self.rows

    @property
    def is_empty(self) -> bool:
        """Whether the files hold no records at all, which is no fault of the mapping."""
        return not (self.rows or self.skipped or self.files_skipped or self.failures)

    @property
    def whole(self) -> bool:
        """Whether every row was read."""
        return self.read == self.rows

    @property
    def files_unreadable(self) -> int:
        """Files that could not be read, or not to their end."""
        return sum(each.count for each in self.failures if each.reason == "file_unreadable")


def preview(
    files: str | Sequence[str] | Source,
    mapping: EventMapping,
    *,
    rows: int | None = SAMPLE_ROWS,
    limits: Limits | None = None,
    quota: Quota | None = None,
    token: bool = False,
    privacy: Privacy | None = None,
    clock: Callable[[], float] = time.time,
    uncounted: bool = False,
    new: Sequence[str] = (),
) -> Preview:
    """Maps and checks a sample of an input, or all of it, as a job would; nothing is sent.

    Args:
        files: paths, folders or globs, local or of any file system that Beam knows; their format
            is told by their names, or by their content. Or any source.
        mapping: how rows become events.
        rows: of the sample, spread over the files and their parts; None for all. The same input
            gives the same sample.
        limits: of events and requests; None for those that come with the quota.
        quota: the project's; the default is 60 requests an hour.
        token: whether events carry the project token.
        privacy: what events do not hold. Its key is not needed: hashes are made without it.
        clock: seconds since 1970.
        uncounted: whether only reading tells which rows are wanted.
        new: what a checkpoint has left to do.
    """
    quota = quota or Quota()
    limits = limits or limits_of(quota)
    privacy = None if privacy is None else dataclasses.replace(privacy, key=None)
    source = as_source(files, mapping)
    known = None if uncounted else source.row_count()
    everything = rows is None or uncounted or source.estimated_rows() <= rows
    columns = columns_needed(mapping)
    elements = source.elements(columns) if everything else source.spread(rows or 0, columns)
    seen = _Seen()
    before = tally().counts()
    masked = MASKED_TOKEN if token else None
    read = seen.counted(elements)
    sample = KeySample()
    for output in convert_tables(
        read, mapping, limits=limits, token=masked, privacy=privacy, clock=clock, sample=sample
    ):
        seen.add(output)
    estimated = seen.read if everything else source.estimated_rows()
    total_rows = estimated if known is None else known
    total = seen.chunks.of_all(total_rows, seen.read, limits)
    counts = collections.Counter(tally().counts())
    counts.subtract(before)
    return Preview(
        files=source.file_count(),
        rows=total_rows,
        rows_known=known is not None or everything,
        read=seen.read,
        looked_at=seen.chunks.amounts(),
        total=total,
        seconds=_seconds(quota, total),
        quota=quota,
        published={name: _seconds(each, total) for name, each in PRESETS.items() if each.rates},
        examples=tuple(seen.examples),
        failures=tuple(in_order(seen.failures.values())),
        altered={name: counts[name] for name in NOTED} | lost_together(sample),
        left_out=counts["records_left_out"],
        skipped=source.skipped()[0],
        files_skipped=source.files_skipped(),
        new=tuple(new),
    )


def render(preview: Preview) -> str:
    """The preview as text for people."""
    lines = ["Dry run: nothing was sent.", *preview.new]
    if preview.nothing_new:
        return "\n".join([*lines, "Nothing is new; a run would send nothing."])
    lines.append(_line("files", preview.files))
    estimated = "" if preview.rows_known else "estimated from the files' sizes"
    lines.append(_line("rows", preview.rows, estimated))
    sample = "" if preview.whole else "a sample; --dry-run=all reads every row"
    lines.append(_line("rows looked at", preview.read, sample))
    if preview.left_out:
        lines.append(_line("rows left out", preview.left_out, "by filters and conditions"))
    if preview.files_skipped:
        lines.append(_line("files skipped", preview.files_skipped, "by their partitions"))
    if preview.skipped:
        lines.append(_line("rows skipped", preview.skipped, "by the files' statistics"))
    lines.append(_line("events", preview.looked_at.events))
    failed = sum(each.count for each in preview.failures) - preview.files_unreadable
    lines.append(_line("records that would fail", failed))
    if preview.files_unreadable:
        lines.append(_line("files not readable", preview.files_unreadable))
    for name, (words, remark) in NOTED.items():
        if count := preview.altered.get(name):
            lines.append(_line(words, count, remark))
    if preview.examples:
        lines += ["", "Events, as they would be sent"]
        lines += [json.dumps(event, indent=2, ensure_ascii=False) for event in preview.examples]
    lines += describe(preview.failures)
    if preview.is_empty:
        return "\n".join([*lines, "The input has no records; an import would send nothing."])
    total = preview.total
    lines += ["", "To send all" + ("" if preview.whole else ", estimated from the sample")]
    lines.append(_line("events", total.events))
    lines.append(_line("requests", total.requests))
    lines.append(_line("bytes of JSON", total.raw_bytes))
    lines.append(_line("bytes as gzip", total.sent_bytes))
    lines.append(f"  the quota of {preview.quota} needs {_duration(preview.seconds)}")
    return "\n".join([*lines, *_readings(preview)])


def _readings(preview: Preview) -> list[str]:
    """How long each published limit needs, and how to choose between them."""
    longest, shortest = max(preview.published.values()), min(preview.published.values())
    if longest < 1:
        return []
    lines = ["", "Mixpanel publishes several limits; ask its support which one your project has"]
    for name, seconds in preview.published.items():
        lines.append(f"  --quota {name:<12}{_duration(seconds):<22}{PRESETS[name]}")
    if shortest < longest:
        lines.append(
            "  If you do not know, keep the slower one. A limit that is too fast costs 429"
        )
        lines.append("  responses and waiting, but no events.")
    return lines


def _seconds(quota: Quota, total: Amounts) -> float:
    return quota.seconds_for(total.requests, total.events, total.raw_bytes)


def _line(name: str, number: int, remark: str = "") -> str:
    return f"  {name:<24}{number:>15,}  {remark}".rstrip()


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "no waiting"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(i for i, (number, _) in enumerate(parts) if number)
    return "at least " + " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2])


class _Chunks:
    """Adds up the sizes of chunks."""

    def __init__(self) -> None:
        self.events = self.requests = self.raw_bytes = self.sent_bytes = self._last = 0

    def add(self, chunk: EventChunk) -> None:
        self.events += chunk.count
        self.requests += 1
        self.raw_bytes += chunk.raw_bytes
        self.sent_bytes += len(chunk.payload)
        self._last = chunk.count

    def amounts(self) -> Amounts:
        return Amounts(self.events, self.requests, self.raw_bytes, self.sent_bytes)

    def of_all(self, rows: int, read: int, limits: Limits) -> Amounts:
        """An estimate for all rows, as if they were like those that were read."""
        if rows == read or not self.events:
            return self.amounts()
        by = rows / read
        events = round(self.events * by)
        full = self.events - self._last
        if full:  # all but the last chunk are as large as they may be
            each = full / (self.requests - 1)
        else:
            each = min(limits.batch_events, limits.batch_bytes * self.events / self.raw_bytes)
        return Amounts(
            events,
            math.ceil(events / max(1.0, each)),
            round(self.raw_bytes * by),
            round(self.sent_bytes * by),
        )


def _examples(chunk: EventChunk, wanted: int) -> list[dict[str, Any]]:
    """Some events of a chunk; of different names if possible."""
    events = [orjson.loads(event) for event in chunk.events()]
    names: set[str] = set()
    chosen: list[int] = []
    for place, event in enumerate(events):
        if event["event"] not in names and len(chosen) < wanted:
            names.add(event["event"])
            chosen.append(place)
    more = [place for place in range(len(events)) if place not in chosen]
    return [events[place] for place in sorted(chosen + more[: wanted - len(chosen)])]


class _Seen:
    """What was looked at: rows, examples, chunks and failures."""

    def __init__(self) -> None:
        self.read = 0
        self.failures: dict[str, FailureSummary] = {}
        self.examples: list[dict[str, Any]] = []
        self.chunks = _Chunks()

    def counted(self, elements: Iterator[Element]) -> Iterator[Element]:
        """The elements that have rows, counting these."""
        for element in elements:
            if isinstance(element, FailedRecord) and element.reason == FILE_UNREADABLE:
                summarize(self.failures, element)
                continue
            self.read += rows_in(element)
            yield element

    def add(self, output: EventChunk | FailedRecord) -> None:
        """Adds what became of records."""
        if isinstance(output, FailedRecord):
            summarize(self.failures, output)
            return
        if len(self.examples) < EXAMPLES:
            self.examples += _examples(output, EXAMPLES - len(self.examples))
        self.chunks.add(output)
