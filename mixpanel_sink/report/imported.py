"""What became of each file of a run, from the workers to the checkpoint's manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.checkpoint.commit import OpenRun, commit, note_replay
from mixpanel_sink.checkpoint.counts import MARK_BYTES, FileCount, FileCounts
from mixpanel_sink.checkpoint.log import TRANSIENT_REASONS
from mixpanel_sink.checkpoint.since import Seen
from mixpanel_sink.results import FailedRecord, ReadCount, Totals, WriteResult
from mixpanel_sink.windowing import GLOBAL

_OPEN = TRANSIENT_REASONS | {"file_unreadable"}


class CommitRun(beam.PTransform):
    """Ends a run: once every record is accounted for and the failed ones are kept, its files are
    added to the manifest.

    Args:
        run: that has the lease.
        result: of the write.
        failed: PCollection of `FailedRecord`: the write's, and those of the source.
        listed: PCollection of files as the source found them; None of a table.
        kept: PCollection of what was written with failed records; None if they are not kept.
        watermarks: PCollection of the largest values of a table's column, or of what was seen of
            files; None without --since.
    """

    def __init__(
        self,
        run: OpenRun,
        result: WriteResult,
        failed: Any,
        listed: Any = None,
        kept: Any = None,
        watermarks: Any = None,
    ) -> None:
        super().__init__()
        self._run = run
        self._result = result
        self._parts: dict[str, tuple[Any, Callable[[dict[str, FileCount], Any], None]]] = {
            "read": (result.read, _enter_read),
            "failed": (failed, _enter_failed),
        }
        if listed is not None:
            self._parts["listed"] = (listed, _enter_listed)
        self._kept = kept
        self._watermarks = watermarks

    def expand(self, pbegin: Any) -> Any:
        """Builds the flow."""
        counted = []
        for name, (part, enter) in self._parts.items():
            counts = part | f"Count {name}" >> beam.ParDo(_Count(enter)).with_output_types(bytes)
            counts._windowing = GLOBAL
            counted.append(counts)
        total = counted | beam.Flatten() | "Sum" >> beam.CombineGlobally(_merged)
        total.element_type = bytes
        # What must have come before, and need not be looked at.
        before = [each for each in (self._result.totals, self._kept) if each is not None]
        waited = {f"after_{n}": beam.pvalue.AsIter(each) for n, each in enumerate(before)}
        values = []
        if self._watermarks is not None:
            values = [beam.pvalue.AsIter(self._watermarks)]
        return total | "Commit" >> beam.ParDo(_Commit(self._run), *values, **waited)


class _Count(beam.DoFn):
    """The counts of a bundle, in the global window."""

    def __init__(self, enter: Callable[[dict[str, FileCount], Any], None]) -> None:
        self._enter = enter

    def start_bundle(self) -> None:
        self._counts: dict[str, FileCount] = {}

    def process(self, element: Any) -> None:
        self._enter(self._counts, element)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._counts:
            packed = FileCounts.merged([FileCounts.of(self._counts)]).to_bytes()
            yield WindowedValue(packed, MIN_TIMESTAMP, (GlobalWindow(),))


class _Commit(beam.DoFn):
    def __init__(self, run: OpenRun) -> None:
        self._run = run

    def process(
        self, counts: bytes, watermarks: Iterable[Any] = (), **before: Iterable[Any]
    ) -> None:
        del before
        found = FileCounts.from_bytes(counts)
        if self._run.planned:
            # Of each file there is one; but a runner may read a side input more than once.
            commit(self._run, found, seen={each[0]: Seen(*each) for each in watermarks})
        else:
            commit(self._run, found, max(watermarks, default=None))


def _merged(parts: Iterable[bytes]) -> bytes:
    return FileCounts.merged(map(FileCounts.from_bytes, parts)).to_bytes()


def _of(counts: dict[str, FileCount], path: str | None) -> FileCount:
    return counts.setdefault(path or "", FileCount())


def _enter_read(counts: dict[str, FileCount], read: ReadCount) -> None:
    _of(counts, read.file).read += read.count


def _enter_failed(counts: dict[str, FileCount], failed: FailedRecord) -> None:
    count = _of(counts, failed.file)
    if failed.reason in _OPEN:
        count.open += 1
    else:
        count.failed += 1


def _enter_listed(counts: dict[str, FileCount], listed: Any) -> None:
    path, mark, is_left = listed
    count = _of(counts, path)
    count.listed += 1
    count.open += is_left
    count.mark = bytes.fromhex(mark)[:MARK_BYTES]


class NoteReplay(beam.PTransform):
    """Notes a replay in the manifest once its records are accounted for."""

    def __init__(self, run: OpenRun) -> None:
        super().__init__()
        self._run = run

    def expand(self, totals: Any) -> Any:
        """Builds the flow."""
        return totals | beam.Map(_note, self._run).with_output_types(None)


def _note(totals: Totals, run: OpenRun) -> None:
    note_replay(run, totals.read, totals.failed)
