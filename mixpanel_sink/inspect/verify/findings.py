"""Adds up what the comparison finds, by day and event, and keeps or writes the differences."""

from __future__ import annotations

import collections
import contextlib
import datetime
import heapq
import pathlib
import zoneinfo
from typing import IO, Any

import numpy as np
import orjson

from mixpanel_sink.errors import SettingError, writing
from mixpanel_sink.inspect.verify.events import Event
from mixpanel_sink.inspect.verify.match import Finding

SHOWN = 20
"""Events of each kind that the report shows."""
QUARTER = 900_000
"""Milliseconds; no zone's day begins within a quarter of an hour."""
KINDS = ("missing", "unexpected", "altered")


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
        quarter = milliseconds // QUARTER
        if (day := self._known.get(quarter)) is None:
            day = datetime.datetime.fromtimestamp(quarter * (QUARTER // 1000), self._zone).date()
            self._known[quarter] = day
        return day

    def within(
        self, times: Any, first: datetime.date, last: datetime.date
    ) -> tuple[Any, datetime.date, datetime.date]:
        """Which times are of these days, and the earliest and the latest day of those.

        Args:
            times: milliseconds since 1970, an array.
            first, last: days, both included.
        """
        quarters, places = np.unique(times // QUARTER, return_inverse=True)
        days = [self.of(quarter * QUARTER) for quarter in quarters.tolist()]
        wanted = np.array([first <= day <= last for day in days], np.bool_)
        kept = [day for day in days if first <= day <= last]
        earliest = min(kept, default=datetime.date.max)
        return wanted[places], earliest, max(kept, default=datetime.date.min)


class Findings:
    """Adds up findings, keeps the first of each kind, and writes all to files if there is a folder.

    Args:
        days: of the project.
        folder: where missing.jsonl, unexpected.jsonl, altered.jsonl and counts.csv go.
    """

    def __init__(self, days: Days, folder: str | None) -> None:
        self.kinds: collections.Counter[str] = collections.Counter()
        self.expected = self.actual = self.repeats = 0
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
        with writing(f"The lists in {self._folder}"):
            if self._folder is not None and kind is None:
                with _create(self._folder, "counts.csv") as file:
                    file.write(b"day,event,input,mixpanel\n")
                    for (day, event), (expected, actual) in sorted(self.counts.items()):
                        name = event.replace('"', '""')
                        file.write(f'{day},"{name}",{expected},{actual}\n'.encode())
            self._stack.close()

    def add(self, finding: Finding) -> None:
        """Adds a finding."""
        kind = finding.kind
        self.kinds[kind] += 1
        # An altered event is counted where it is on each side, but for times in another zone.
        for place, event in enumerate((finding.expected, finding.actual)):
            if event is None:
                continue
            at = event if "time" in finding.differences else finding.event
            self.counts[str(self._days.of(at.time)), event.event][place] += 1
        self.repeats += finding.repeats
        self.expected += finding.expected is not None
        self.actual += finding.actual is not None
        if kind == "equal":
            return
        shown = self._shown(finding)
        if file := self._files.get(kind):
            with writing(f"The lists in {self._folder}"):
                file.write(orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE))
        first = self._first[kind]
        first.append((shown["day"], shown["insert_id"], shown["time"], len(first), shown))
        if len(first) > 50 * SHOWN:
            self._first[kind] = heapq.nsmallest(SHOWN, first, key=lambda each: each[:3])

    def equal(self, event: str, time: int, count: int) -> None:
        """Adds events of one name and day that are the same on both sides."""
        self.kinds["equal"] += count
        self.expected += count
        self.actual += count
        counted = self.counts[str(self._days.of(time)), event]
        counted[0] += count
        counted[1] += count

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


def _create(folder: str, name: str) -> Any:
    if "://" in folder:
        from apache_beam.io.filesystems import FileSystems

        return FileSystems.create(FileSystems.join(folder, name))
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        return open(pathlib.Path(folder, name), "wb")
    except OSError as error:
        raise SettingError(
            f"The report cannot be written to {folder} ({error.strerror}). Choose another folder."
        ) from None
