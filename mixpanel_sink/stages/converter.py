"""What Convert does with a bundle's elements. No Beam here, so that a check starts quickly.

    element -> block -> redaction -> routing -> packer of a project -> chunks

Each element becomes a `Block`, or part of one, and takes the same way from there.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.lease import keep_alive
from mixpanel_sink.checkpoint.profiles import ProfileState, open_profiles
from mixpanel_sink.encode.blocks import (
    Block,
    FailedBlock,
    Failure,
    RecordsBlock,
    TableBlock,
    failed_record,
)
from mixpanel_sink.encode.choose import encoder_for
from mixpanel_sink.encode.filtering import filter_block
from mixpanel_sink.encode.records import as_mapping
from mixpanel_sink.encode.redaction import Masker, redact
from mixpanel_sink.encode.routing import by_project
from mixpanel_sink.encode.shaping import shape_block
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.shape import Shape
from mixpanel_sink.stages.gather import Gatherer
from mixpanel_sink.stages.pack import UNCHANGED, EncodeAhead, Outputs, Packer


class Converter:
    """Elements to outputs: chunks, failed records, and how many were read.

    Elements are dicts, rows, named tuples, `pyarrow.Table`s and record batches, `RecordBlock`s, and
    records that failed before, as `FailedRecord`s.

    Args:
        job: the settings; tokens are resolved here.
        outputs: makes the outputs.
    """

    def __init__(self, job: Job, outputs: Outputs) -> None:
        self._lease = keep_alive(job.checkpoint)
        self._job = job
        self._outputs = outputs
        self._ahead = EncodeAhead()
        self._state: ProfileState | None = None
        if job.only_changed:
            self._state = open_profiles(job, job.resolve())
        self._packers = {
            target.name: Packer(
                target,
                encoder_for(target, job.endpoint, job.mapping, job.clock, job.mark),
                job.endpoint,
                job.lanes,
                self._ahead,
                self._outputs,
                self._state,
            )
            for target in job.targets
        }
        route = job.route
        self._routed = [] if route is None or route.column is None else [route.column]
        self._only_project = job.targets[0].name if job.route is None else None
        self._masker = None if job.privacy is None else Masker(job.privacy, job.mapping is None)
        self.begin()

    def begin(self) -> None:
        """Resets what belongs to one bundle."""
        self._ahead.cancel()
        self._outputs.failures = 0
        for packer in self._packers.values():
            packer.start()
        batch_events = self._job.targets[0].limits.batch_events
        self._records = Gatherer(RecordsBlock, batch_events)
        self._replays = Gatherer(FailedBlock, batch_events)
        self._read: collections.Counter[tuple[str, str]] = collections.Counter()
        """How many records were read, by project and file; "" where either is unknown."""

    def add(self, element: Any, timestamp: int, windows: tuple[str, ...]) -> Iterable[Any]:
        """Takes one record, table, block or failed record, and returns the outputs that are ready.

        Args:
            element: of the bundle.
            timestamp: its time, in microseconds since 1970.
            windows: that it is in, as text.
        """
        if type(element) is not dict:
            return self._add_other(element, Run(1, timestamp, windows))
        if self._records.add(element, timestamp, windows):  # most records only wait
            return self._gathered(self._records)
        return ()

    def end(self) -> Iterator[Any]:
        """Ends the bundle: yields what is left, and the number of records read."""
        yield from self._gathered(self._records, everything=True)
        yield from self._gathered(self._replays, everything=True)
        for packer in self._packers.values():
            yield from packer.end_blocks()
        yield from self._ahead.finish()
        for packer in self._packers.values():
            yield from packer.flush()
            for name, count in packer.counts.items():
                self._outputs.count(name, count)
            for file, count in packer.unchanged.items():  # neither accepted nor failed
                self._read[packer.name, file] -= count
        samples = {name: packer.sample.to_text() for name, packer in self._packers.items()}
        yield from self._outputs.read(self._read, samples)
        if self._state is not None:
            yield self._seen(self._state)
        self.begin()

    def _seen(self, state: ProfileState) -> Any:
        """Which of the known profiles this bundle has seen."""
        known, places = state.base, [p for each in self._packers.values() for p in each.places]
        unchanged = sum(each.counts[UNCHANGED] for each in self._packers.values())
        records = sum(self._read.values()) + unchanged
        return self._outputs.seen(known.mark, len(known.keys), places, records)

    def close(self) -> None:
        """Stops the encoding threads."""
        self._ahead.shutdown()

    def _add_other(self, element: Any, origin: Run) -> Iterator[Any]:
        """Takes any element but a dict."""
        if isinstance(element, pa.RecordBatch):
            element = pa.Table.from_batches([element])
        if isinstance(element, pa.Table | RecordBlock):
            yield from self._gathered(self._records, everything=True)  # these came before it
            table = isinstance(element, pa.Table)
            block: Block = (TableBlock.of if table else RecordsBlock.of_block)(element, origin)
            yield from self._convert(block)
            return
        gatherer = self._records
        if isinstance(element, FailedRecord):
            gatherer = self._replays
        else:
            try:
                element = as_mapping(element)
            except RecordError as error:
                failed = failed_record(error, element, None)
                if self._masker is not None:  # it may hold what must stay hidden
                    failed = failed._replace(record_json=None)
                yield from self._fail([(failed, origin)])
                return
        if gatherer.add(element, origin.timestamp, origin.windows):
            yield from self._gathered(gatherer)

    def _gathered(self, gatherer: Gatherer, everything: bool = False) -> Iterator[Any]:
        for block in gatherer.take(everything):
            yield from self._convert(block)

    def _convert(self, block: Block) -> Iterator[Any]:
        """Shapes, filters, redacts and routes a block, and gives the parts to their packers."""
        if self._lease is not None:
            self._lease.check()
        failed: list[Failure] = []
        for kept in self._filtered(block, failed):
            blocks = [kept] if self._masker is None else redact(kept, self._masker, failed)
            for redacted in blocks:
                for name, part in self._by_project(redacted, failed):
                    for run in part.runs:
                        self._read[name, run.file] += run.count
                    yield from self._packers[name].add(part)
        yield from self._fail(failed)

    def _filtered(self, block: Block, failed: list[Failure]) -> Iterator[Block]:
        if isinstance(block, FailedBlock):  # these were shaped and filtered when they first failed
            yield block
            return
        for shaped in self._shaped(block, failed):
            kept = filter_block(shaped, self._job.mapping)
            self._outputs.count("records_left_out", len(shaped) - len(kept))
            if len(kept):
                yield kept

    def _shaped(self, block: Block, failed: list[Failure]) -> Iterator[Block]:
        mapping = self._job.mapping
        shape = None if mapping is None else mapping.shape
        if mapping is None or not isinstance(shape, Shape):
            yield block
            return
        for part in block.slices(self._job.targets[0].limits.batch_events):
            misfits: list[Failure] = []
            made, left_out = shape_block(part, mapping, misfits, self._routed)
            self._outputs.count("records_left_out", left_out)
            if self._masker is not None:  # they may hold what must stay hidden
                misfits = [(each._replace(record_json=None), at) for each, at in misfits]
            failed += misfits
            if len(made):
                yield made

    def _by_project(self, block: Block, failed: list[Failure]) -> Iterable[tuple[str, Block]]:
        if self._only_project is not None:
            return [(self._only_project, block)]
        route, raw = self._job.route, self._job.mapping is None
        assert route is not None
        return by_project(block, route, self._packers, raw, failed)

    def _fail(self, failed: list[Failure]) -> Iterator[Any]:
        """Emits records that failed before they reached a packer."""
        for each, origin in failed:
            if self._only_project is not None:
                each = each._replace(destination=self._only_project)
            self._read[each.destination or "", each.file or ""] += 1
            yield self._outputs.failed(each, origin)
