"""The outputs of Convert for Beam: chunks, failed records, and how much was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP, Timestamp
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.report import metrics
from mixpanel_sink.results import FailedRecord, ReadCount
from mixpanel_sink.stages.seen import Seen
from mixpanel_sink.windowing import WindowCodec

FAILED = "failed"
"""Tag of the output of failed records ..."""
READ = "read"
"""... and of the one that tells how many records each bundle read."""
SEEN = "seen"
"""... and, where only changed profiles are sent, which of the known ones a bundle saw."""


class WindowedOutputs:
    """Makes the outputs. Chunks go into the global window, failed records into their record's.

    Args:
        endpoint: of the chunks.
        codec: for windows.
    """

    def __init__(self, endpoint: Endpoint, codec: WindowCodec) -> None:
        self._endpoint = endpoint
        self._codec = codec
        self.failures = 0
        """Failed records of this bundle; `Converter.begin` resets it."""

    def chunk(self, name: str, lane: int, chunk: EventChunk) -> WindowedValue:
        """A chunk for a lane of a project."""
        timestamp = Timestamp(micros=min(run.timestamp for run in chunk.runs))
        key = lane_key(name, self._endpoint, lane)
        return WindowedValue((key, chunk.to_bytes()), timestamp, (GlobalWindow(),))

    def failed(self, failed: FailedRecord, origin: Run) -> Any:
        """A failed record, which is counted here."""
        metrics.count_failed(failed)
        self.failures += 1
        return beam.pvalue.TaggedOutput(FAILED, self._codec.restore(failed, origin))

    def read(
        self, counts: Mapping[tuple[str, str], int], samples: Mapping[str, str]
    ) -> Iterator[Any]:
        """How many records were read for each project from each file, and, once for each project,
        the sample of its events' keys."""
        left = dict(samples)
        for (name, file), count in counts.items():
            metrics.count("records_read", count)
            yield in_global(READ, ReadCount(name, count, left.pop(name, ""), file))

    def count(self, name: str, amount: int) -> None:
        """Adds to one of the sink's metrics."""
        metrics.count(name, amount)

    def seen(self, mark: str, known: int, places: list[Any], records: int) -> Any:
        """Which of the known profiles the bundle saw."""
        return in_global(SEEN, Seen.of(mark, known, places, records, self.failures))


def in_global(tag: str, value: Any) -> Any:
    """A tagged output in the global window."""
    windowed = WindowedValue(value, MIN_TIMESTAMP, (GlobalWindow(),))
    return beam.pvalue.TaggedOutput(tag, windowed)


def lane_key(name: str, endpoint: Endpoint, lane: int) -> str:
    """The key of a lane; part of the upgrade contract."""
    return f"{name}/{endpoint.name}#{lane}"


def lane_of(key: str) -> tuple[str, int]:
    """The project's name and the lane's number of a `lane_key`."""
    place, _, number = key.rpartition("#")
    return place.rpartition("/")[0], int(number)
