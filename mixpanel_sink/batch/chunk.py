"""`EventChunk`: up to one request's worth of events, compressed, ready to post.

Events never travel one by one: from Convert to Send, and in Send's state, a chunk
does. Its payload is a gzip of one JSON array with one event a line,

    [{"event":...}
    ,{"event":...}
    ]

so that it is both a request body that every Mixpanel document allows and a list that
can be cut and merged by lines, without parsing. (JSON text holds no raw line break.)
A chunk is one gzip member: many servers read only the first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson
from isal import isal_zlib

from mixpanel_sink.api.limits import Limits

_SEPARATOR = b"\n,"
_HEAD = b"["
_TAIL = b"\n]"
_EMPTY_BYTES = len(_HEAD) + len(_TAIL) - len(_SEPARATOR)  # the first event has no separator
_GZIP = 31  # zlib's window bits for a gzip wrapper with an empty header
_LEVEL = 1
_MAGIC = b"MXC1"


class Run(NamedTuple):
    """Neighbouring events of a chunk that share their origin.

    Attributes:
        count: of events.
        timestamp: Beam's timestamp in microseconds.
        windows: encoded windows of the input element (see `windowing.py`).
        file: the input file, "" if unknown.
        row: the first event's row in the file; the others follow without a gap.
            -1 if unknown.
    """

    count: int  # type: ignore[assignment]  # hides tuple.count
    timestamp: int
    windows: tuple[str, ...]
    file: str = ""
    row: int = -1

    def slice(self, start: int, count: int) -> Run:
        """The part of it that begins at its event `start`."""
        return self._replace(count=count, row=self.row + start if self.row >= 0 else -1)


@dataclasses.dataclass(frozen=True)
class EventChunk:
    """Events that go out together.

    Attributes:
        count: of events.
        raw_bytes: of the JSON array, uncompressed.
        payload: the JSON array, gzipped.
        runs: where the events come from, in their order; counts add up to `count`.
    """

    count: int
    raw_bytes: int
    payload: bytes
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, events: Sequence[bytes], runs: Iterable[Run]) -> EventChunk:
        """From the JSON texts of events."""
        raw = b"".join((_HEAD, _SEPARATOR.join(events), _TAIL))
        payload = isal_zlib.compress(raw, _LEVEL, wbits=_GZIP)
        return cls(len(events), len(raw), payload, join_runs(runs))

    @classmethod
    def of_lines(cls, lines: memoryview, count: int, runs: Iterable[Run]) -> EventChunk:
        """From a buffer that holds the events, each led by "\\n," (no copy of it is made)."""
        squeeze = isal_zlib.compressobj(_LEVEL, wbits=_GZIP)
        payload = b"".join(
            (
                squeeze.compress(_HEAD),
                squeeze.compress(lines[len(_SEPARATOR) :]),
                squeeze.compress(_TAIL),
                squeeze.flush(),
            )
        )
        raw_bytes = len(lines) - len(_SEPARATOR) + len(_HEAD) + len(_TAIL)
        return cls(count, raw_bytes, payload, join_runs(runs))

    def events(self) -> list[bytes]:
        """The JSON texts of its events."""
        if not self.count:
            return []
        raw = isal_zlib.decompress(self.payload, wbits=_GZIP)
        return raw[len(_HEAD) : -len(_TAIL)].split(_SEPARATOR)

    def origin(self, index: int) -> Run:
        """Where one event comes from, as a run of one."""
        for run in self.runs:
            if index < run.count:
                return run.slice(index, 1)
            index -= run.count
        raise IndexError(f"the chunk has {self.count} events")

    def select(self, indexes: Sequence[int]) -> EventChunk:
        """A chunk of the events at these places."""
        events = self.events()
        return EventChunk.of([events[i] for i in indexes], (self.origin(i) for i in indexes))

    def halves(self) -> tuple[EventChunk, EventChunk]:
        """Two chunks of about half its bytes each; it must have at least two events."""
        events = self.events()
        half, cut = self.raw_bytes / 2, 0
        size = 0
        while cut < len(events) - 1 and size < half:
            size += len(events[cut]) + len(_SEPARATOR)
            cut += 1
        cut = max(1, cut)
        runs = tuple(self.runs)
        return (
            EventChunk.of(events[:cut], cut_runs(runs, 0, cut)),
            EventChunk.of(events[cut:], cut_runs(runs, cut, len(events))),
        )

    def identity(self) -> str:
        """A stable name of its content: 32 hex digits."""
        return hashlib.blake2b(self.payload, digest_size=16).hexdigest()

    def to_bytes(self) -> bytes:
        """For a shuffle or state: a small JSON header, then the payload as it is."""
        windows: dict[tuple[str, ...], int] = {}
        files: dict[str, int] = {}
        runs = [
            (
                run.count,
                run.timestamp,
                windows.setdefault(run.windows, len(windows)),
                files.setdefault(run.file, len(files)),
                run.row,
            )
            for run in self.runs
        ]
        header = orjson.dumps([self.count, self.raw_bytes, runs, list(windows), list(files)])
        return b"".join((_MAGIC, struct.pack(">I", len(header)), header, self.payload))

    @classmethod
    def from_bytes(cls, data: bytes) -> EventChunk:
        """The reverse of `to_bytes`."""
        if data[:4] != _MAGIC:
            raise ValueError("not an EventChunk; was this state written by another version?")
        end = 8 + struct.unpack_from(">I", data, 4)[0]
        count, raw_bytes, rows, window_sets, files = orjson.loads(data[8:end])
        windows = [tuple(names) for names in window_sets]
        runs = tuple(Run(n, at, windows[w], files[f], row) for n, at, w, f, row in rows)
        return cls(count, raw_bytes, data[end:], runs)


def join_runs(runs: Iterable[Run]) -> tuple[Run, ...]:
    """The same runs, neighbours that continue each other made one."""
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.timestamp == run.timestamp
            and last.windows == run.windows
            and last.file == run.file
            and (last.row < 0) == (run.row < 0)
            and (run.row < 0 or last.row + last.count == run.row)
        ):
            joined[-1] = last._replace(count=last.count + run.count)
        else:
            joined.append(run)
    return tuple(joined)


def cut_runs(runs: Iterable[Run], start: int, stop: int) -> Iterator[Run]:
    """The runs of the events from `start` up to `stop`."""
    at = 0
    for run in runs:
        first, last = max(start, at), min(stop, at + run.count)
        if first < last:
            yield run.slice(first - at, last - first)
        at += run.count


class ChunkBuilder:
    """Fills chunks with events to the limits, in order. Not thread-safe.

    With `group_of`, records of one group (a profile's updates) go out together where they fit
    into one request.
    """

    def __init__(self, limits: Limits, group_of: Callable[[bytes], str] | None = None) -> None:
        self._limits = limits
        self._group_of = group_of
        self._events: list[bytes] = []
        self._runs: list[Run] = []
        self._bytes = _EMPTY_BYTES

    def add(self, event: bytes, origin: Run) -> EventChunk | None:
        """Takes one event; gives a chunk whenever one is full."""
        if self._group_of is not None:
            return self._add_to_group(event, origin, self._group_of)
        full = None
        size = len(event) + len(_SEPARATOR)
        if self._events and self._bytes + size > self._limits.batch_bytes:
            full = self.flush()
        self._events.append(event)
        self._runs.append(origin)
        self._bytes += size
        if len(self._events) >= self._limits.batch_events:
            full = self.flush()
        return full

    def _add_to_group(
        self, event: bytes, origin: Run, group_of: Callable[[bytes], str]
    ) -> EventChunk | None:
        full = None
        limits, size = self._limits, len(event) + len(_SEPARATOR)
        # Not before the next one comes: it may belong to a group that is in here.
        if len(self._events) >= limits.batch_events or (
            self._events and self._bytes + size > limits.batch_bytes
        ):
            group = group_of(event)
            together = [group_of(other) == group for other in self._events]
            taken = sum(
                len(other) + len(_SEPARATOR)
                for other, along in zip(self._events, together, strict=True)
                if along
            )
            if all(together) or _EMPTY_BYTES + taken + size > limits.batch_bytes:
                # More than fits into a request: in order, but not together.
                together, taken = [False] * len(together), 0
            pairs = list(zip(self._events, self._runs, together, strict=True))
            self._events = [e for e, _, along in pairs if not along]
            self._runs = [run for _, run, along in pairs if not along]
            full = self.flush()
            self._events = [e for e, _, along in pairs if along]
            self._runs = [run for _, run, along in pairs if along]
            self._bytes += taken
        self._events.append(event)
        self._runs.append(origin)
        self._bytes += size
        return full

    def flush(self) -> EventChunk | None:
        """What is left, if anything."""
        if not self._events:
            return None
        chunk = EventChunk.of(self._events, self._runs)
        self._events, self._runs = [], []
        self._bytes = _EMPTY_BYTES
        return chunk


def merge(
    chunks: Iterable[EventChunk],
    limits: Limits,
    group_of: Callable[[bytes], str] | None = None,
) -> tuple[list[EventChunk], list[EventChunk]]:
    """Fills requests from partial chunks; `group_of` as in `ChunkBuilder`.

    Returns:
        The chunks that are full, and what is left: one chunk or none.
    """
    builder = ChunkBuilder(limits, group_of)
    full = []
    for chunk in chunks:
        start = 0
        events = chunk.events()
        for run in chunk.runs:
            for i in range(run.count):
                done = builder.add(events[start + i], run.slice(i, 1))
                if done is not None:
                    full.append(done)
            start += run.count
    rest = builder.flush()
    return full, [] if rest is None else [rest]
