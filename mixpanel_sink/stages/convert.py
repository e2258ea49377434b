"""Convert: records and tables to chunks of events, and the records that cannot be one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from mixpanel_sink.settings.job import Job
from mixpanel_sink.stages.converter import Converter
from mixpanel_sink.stages.outputs import WindowedOutputs
from mixpanel_sink.windowing import WindowCodec


class ConvertToChunks(beam.DoFn):
    """Emits (lane key, chunk as bytes); FAILED and READ on the side. See `Converter`."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def setup(self) -> None:
        """Resolves the tokens and builds the encoders."""
        self._codec = WindowCodec(self._job.window_coder)
        outputs = WindowedOutputs(self._job.endpoint, self._codec)
        self._converter = Converter(self._job, outputs)
        self.start_bundle()

    def start_bundle(self) -> None:
        """Resets what belongs to one bundle."""
        self._converter.begin()
        self._held: list[Any] = []
        self._windows: Any = None
        self._texts: tuple[str, ...] = ()

    def process(self, element: Any, windowed: Any = beam.DoFn.WindowedValueParam) -> Iterable[Any]:
        """One record, table, block or failed record."""
        if windowed.windows is not self._windows:  # neighbours mostly share them
            self._windows = windowed.windows
            self._texts = self._codec.encode(self._windows)
        outputs = self._converter.add(element, windowed.timestamp_micros, self._texts)
        if len(windowed.windows) == 1:
            return outputs
        # Beam repeats outputs that name their own windows, once for each window of the element
        # (sliding windows are several). They wait for the bundle's end, so that each comes once.
        self._held += outputs
        return ()

    def finish_bundle(self) -> Iterator[Any]:
        """Emits what is left, and the number of records read."""
        yield from self._held
        yield from self._converter.end()
        self.start_bundle()

    def teardown(self) -> None:
        """Stops the encoding threads."""
        self._converter.close()
