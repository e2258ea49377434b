"""Packs the blocks of one project into chunks: what Convert does for each of its projects.

Blocks are encoded ahead, on threads; results keep the order of the records.
"""

from __future__ import annotations

import collections
import concurrent.futures
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.batch.builder import ChunkBuilder
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.keys import KeySample
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.profiles import ProfileState
from mixpanel_sink.encode.blocks import Block, RecordsBlock, TableBlock
from mixpanel_sink.encode.encoder import Encoder, encode_block
from mixpanel_sink.encode.tables import EncodedSlice
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.send.settle import without_token
from mixpanel_sink.settings.project import Target
from mixpanel_sink.stages.gather import Gatherer, TableGatherer

ENCODERS = 2
"""Threads that encode blocks ahead of Send. More gained nothing on two cores."""
UNCHANGED = "profiles_unchanged"
"""Counter of updates that are not sent, because they would change nothing."""
AHEAD = 2
"""Blocks that may wait, encoded, for their turn."""


class Outputs(Protocol):
    """Makes the outputs of Convert: Beam's in a pipeline, plain ones in a dry run.

    Attributes:
        failures: how many failed records there were since it was last set to 0.
    """

    failures: int

    def chunk(self, name: str, lane: int, chunk: EventChunk) -> Any:
        """A chunk for a lane of a project."""
        ...

    def failed(self, failed: FailedRecord, origin: Run) -> Any:
        """A failed record, which is counted here."""
        ...

    def read(
        self, counts: Mapping[tuple[str, str], int], samples: Mapping[str, str]
    ) -> Iterator[Any]:
        """How many records were read, by project and file, and the sample of each project's
        keys."""
        ...

    def seen(self, mark: str, known: int, places: list[Any], records: int) -> Any:
        """Which of the known profiles a bundle saw."""
        ...

    def count(self, name: str, amount: int) -> None:
        """Adds to a counter."""
        ...


class EncodeAhead:
    """Encodes blocks of all projects on threads; gives results in the order of the blocks."""

    def __init__(self) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(ENCODERS, "mixpanel-encode")
        self._queue: collections.deque[tuple[Packer, concurrent.futures.Future[EncodedSlice]]] = (
            collections.deque()
        )

    def submit(self, packer: Packer, block: Block) -> Iterator[Any]:
        """Starts to encode a block, and yields the outputs of older ones, of which few may wait."""
        self._queue.append((packer, self._pool.submit(packer.encode, block)))
        yield from self.finish(AHEAD)

    def finish(self, most: int = 0) -> Iterator[Any]:
        """Yields the outputs of the oldest blocks, until no more than `most` are being encoded."""
        while len(self._queue) > most:
            packer, encoded = self._queue.popleft()
            yield from packer.emit(encoded.result())

    def cancel(self) -> None:
        """Forgets the blocks of a bundle that failed."""
        while self._queue:
            self._queue.pop()[1].cancel()

    def shutdown(self) -> None:
        """Stops the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class Packer:
    """Fills the chunks of one project.

    Args:
        target: the project.
        encoder: of its records.
        endpoint: where they go.
        lanes: that take turns.
        ahead: where blocks are encoded.
        outputs: makes the outputs.
        state: of the profiles, where only changed ones are sent.
    """

    def __init__(
        self,
        target: Target,
        encoder: Encoder,
        endpoint: Endpoint,
        lanes: int,
        ahead: EncodeAhead,
        outputs: Outputs,
        state: ProfileState | None = None,
    ) -> None:
        self.name = target.name
        self._limits = target.limits
        self._encoder = encoder
        self._endpoint = endpoint
        self._lanes = lanes
        self._ahead = ahead
        self._outputs = outputs
        self._state = state
        self._turn = 0
        self._salt = zlib.crc32(self.name.encode())
        self.start()

    def start(self) -> None:
        """Resets what belongs to one bundle."""
        ordered = self._endpoint.ordered
        group_of = self._endpoint.group_of if ordered else None
        # Updates of a profile stay in one lane; of events only full chunks are spread.
        lanes = self._lanes if ordered else 1
        self._tails = [ChunkBuilder(self._limits, group_of) for _ in range(lanes)]
        self._records = Gatherer(RecordsBlock, self._limits.batch_events)
        self._tables = TableGatherer(self._limits.batch_events)
        self.counts: collections.Counter[str] = collections.Counter()
        self.sample = KeySample()
        self.unchanged: collections.Counter[str] = collections.Counter()
        """Updates that are not sent, by file."""
        self.places: list[Any] = []
        """The positions of the known profiles that this bundle has seen."""

    def add(self, block: Block) -> Iterator[Any]:
        """Takes records, and yields the outputs that are ready."""
        if isinstance(block, RecordsBlock):
            yield from self._encode(self._tables.take())
            yield from self._encode(self._records.extend(block))
            return
        yield from self._encode(self._records.take(everything=True))
        for part in block.slices(self._limits.batch_events):
            if isinstance(part, TableBlock) and self._encoder.takes_columns:
                yield from self._encode(self._tables.add(part))
            else:
                yield from self.add(part.as_records(part.records(), range(len(part))))

    def end_blocks(self) -> Iterator[Any]:
        """Encodes the records and tables that still wait for others."""
        yield from self._encode(self._records.take(everything=True))
        yield from self._encode(self._tables.take())

    def _encode(self, blocks: Iterable[Block]) -> Iterator[Any]:
        for block in blocks:
            yield from self._ahead.submit(self, block)

    def encode(self, block: Block) -> EncodedSlice:
        """Encodes a block; on any thread."""
        return encode_block(self._encoder, block, self._limits)

    def emit(self, encoded: EncodedSlice) -> Iterator[Any]:
        """Yields the outputs of one encoded block."""
        self.counts.update(encoded.counts)
        for keys in encoded.keys:
            self.sample.add(keys, self._salt)
        for chunk in encoded.chunks:
            yield self._outputs.chunk(self.name, self._next_lane(chunk), chunk)
        rest = encoded.rest if self._state is None else self._changed(encoded, self._state)
        for event, origin in rest:
            yield from self._add(event, origin)
        for failed, origin in encoded.failed:
            yield self._outputs.failed(failed._replace(destination=self.name), origin)

    def flush(self) -> Iterator[Any]:
        """Yields what is left at the end of a bundle."""
        for lane, tail in enumerate(self._tails):
            if (chunk := tail.flush()) is not None:
                yield self._outputs.chunk(self.name, lane, chunk)

    def _changed(self, encoded: EncodedSlice, state: ProfileState) -> list[tuple[bytes, Run]]:
        """The updates that differ from what was last sent; counts the others, and fails those that
        would change a profile every time they are sent."""
        given = []
        for update, origin in encoded.rest:
            if self._endpoint.repeatable(update):
                given.append((update, origin))
                continue
            file, row = origin.place
            failed = FailedRecord(
                reason="not_comparable",
                message="The update has $add, $append or $remove, which change a profile every "
                "time they are sent: only_changed cannot compare it. Send it without only_changed.",
                event_json=without_token(update),
                file=file,
                row=row,
            )
            encoded.failed.append((failed, origin))
        if not given:
            return given
        send, places = state.changed([update for update, _ in given])
        self.places.append(places)
        changed = []
        for each, differs in zip(given, send, strict=True):
            if differs:
                changed.append(each)
            else:
                self.unchanged[each[1].file] += 1
        self.counts[UNCHANGED] += len(given) - len(changed)
        return changed

    def _add(self, record: bytes, origin: Run) -> Iterator[Any]:
        """One event or update that joins the bundle's tail."""
        lane = 0
        if len(self._tails) > 1:
            group = self._endpoint.group_of(record)
            lane = zlib.crc32(group.encode()) % len(self._tails)
        full = self._tails[lane].add(record, origin)
        if full is not None:
            lane = lane if len(self._tails) > 1 else self._next_lane(full)
            yield self._outputs.chunk(self.name, lane, full)

    def _next_lane(self, chunk: EventChunk) -> int:
        # Only full chunks take turns: partial ones all meet in the first lane.
        if self._endpoint.ordered or chunk.count < self._limits.batch_events:
            return 0
        self._turn = (self._turn + 1) % self._lanes
        return self._turn
