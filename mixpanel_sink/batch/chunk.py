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
import functools
import struct
from collections.abc import Iterable, Sequence

import orjson
from blake3 import blake3
from isal import isal_zlib

from mixpanel_sink.batch.runs import Run, cut_runs, join_runs, take_runs

SEPARATOR = b"\n,"
"""Leads every event but the first."""
_HEAD = b"["
_TAIL = b"\n]"
EMPTY_BYTES = len(_HEAD) + len(_TAIL) - len(SEPARATOR)
"""What a chunk has around its events; the first has no separator."""
_GZIP = 31  # zlib's window bits for a gzip wrapper with an empty header
_LEVEL = 1
_MAGIC = b"MXC1"


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
        """A chunk of these events, given as JSON texts."""
        raw = b"".join((_HEAD, SEPARATOR.join(events), _TAIL))
        payload = isal_zlib.compress(raw, _LEVEL, wbits=_GZIP)
        return cls(len(events), len(raw), payload, join_runs(runs))

    @classmethod
    def of_lines(cls, lines: Sequence[memoryview], count: int, runs: Iterable[Run]) -> EventChunk:
        """From memory that holds the events, each led by "\\n," (no copy of it is made).

        Args:
            lines: pieces of it in their order, of which the first has two bytes at least.
            count: of events.
            runs: where they come from.
        """
        squeeze = isal_zlib.compressobj(_LEVEL, wbits=_GZIP)
        first, *others = lines
        parts = [squeeze.compress(_HEAD), squeeze.compress(first[len(SEPARATOR) :])]
        parts += [squeeze.compress(piece) for piece in others]
        parts += [squeeze.compress(_TAIL), squeeze.flush()]
        raw_bytes = sum(map(len, lines)) - len(SEPARATOR) + len(_HEAD) + len(_TAIL)
        return cls(count, raw_bytes, b"".join(parts), join_runs(runs))

    def events(self) -> list[bytes]:
        """Its events, as JSON texts."""
        if not self.count:
            return []
        raw = isal_zlib.decompress(self.payload, wbits=_GZIP)
        return raw[len(_HEAD) : -len(_TAIL)].split(SEPARATOR)

    def origin(self, index: int) -> Run:
        """Where one event comes from, as a run of one."""
        (run,) = take_runs(self.runs, [index])
        return run

    def select(self, indexes: Sequence[int]) -> EventChunk:
        """A chunk of the events at these places."""
        events = self.events()
        return EventChunk.of([events[i] for i in indexes], take_runs(self.runs, indexes))

    def halves(self) -> tuple[EventChunk, EventChunk]:
        """Two chunks of about half its bytes each; it must have at least two events."""
        events = self.events()
        half, cut = self.raw_bytes / 2, 0
        size = 0
        while cut < len(events) - 1 and size < half:
            size += len(events[cut]) + len(SEPARATOR)
            cut += 1
        cut = max(1, cut)
        runs = tuple(self.runs)
        return (
            EventChunk.of(events[:cut], cut_runs(runs, 0, cut)),
            EventChunk.of(events[cut:], cut_runs(runs, cut, len(events))),
        )

    @property
    def earliest(self) -> int:
        """The earliest timestamp of its events, in microseconds."""
        return min(run.timestamp for run in self.runs)

    def identity(self, without: str = "") -> str:
        """A stable name of its events, but for a text that they all hold: 32 hex digits.

        Of their JSON and not of the payload: equal bytes are not always compressed to equal bytes.
        It costs about a millisecond for a full chunk, once, and only checkpoints ask for it.
        """
        if without not in self._names:
            text = isal_zlib.decompress(self.payload, wbits=_GZIP)
            if without:
                text = text.replace(without.encode(), b"")
            self._names[without] = blake3(text).hexdigest()[:32]
        return self._names[without]

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        return {}

    def to_bytes(self) -> bytes:
        """Its form in a shuffle or in state: a small JSON header, then the payload as it is."""
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
