"""The runners that one machine can hold, and how a test runs a pipeline on each of them.

`-k prism`, `-k direct` or `-k processes` picks one.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import GlobalWindow

from mixpanel_sink.jobs.errors import job_error
from mixpanel_sink.jobs.runners import WithProcesses
from mixpanel_sink.report import metrics
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.results import FailedRecord, Receipt, Totals
from tests.prism import PRISM
from tests.running import IN_PROCESS

RUNNERS = {
    "direct": ("--runner=DirectRunner",),
    "processes": (
        "--runner=DirectRunner",
        "--direct_num_workers=2",
        "--direct_running_mode=multi_processing",
    ),
    "prism": (
        "--runner=PrismRunner",
        f"--prism_location={PRISM}",
        "--environment_type=LOOPBACK",
    ),
}
"""What makes a command run there. docs/runners.md says how they differ."""
IN_ONE_PROCESS = pytest.mark.parametrize("runner", ["direct", "prism"], indirect=True)
"""For what several processes cannot change: on "processes" the DirectRunner runs the same code in
them, and to start them takes ten times as long as the test."""
SWITCHING = ("--runner=DirectRunner", *RUNNERS["prism"][1:])
"""By the DirectRunner's name, which looks for Prism first."""


@dataclasses.dataclass(frozen=True)
class Out:
    """One element that a pipeline gave, with its timestamp and its window's bounds, in seconds."""

    value: Any
    at: float
    window: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Ran:
    """What a pipeline gave."""

    receipts: list[Out]
    failed: list[Out]
    totals: list[Totals]
    counters: dict[str, int]


class JobFailed(Exception):
    """The job's own sentence, as a command would print it."""


@dataclasses.dataclass(frozen=True)
class Runner:
    """One runner.

    Attributes:
        name: in `RUNNERS`.
        folder: for what the pipeline gives; workers may be other processes.
    """

    name: str
    folder: pathlib.Path

    @property
    def arguments(self) -> tuple[str, ...]:
        """For a command line."""
        return SWITCHING if self.name == "switching" else RUNNERS[self.name]

    def run(self, source: Any, sink: Any, *before: Any, streaming: bool = False) -> Ran:
        """Runs records, a list or a transform, through the sink; checks the accounting of a batch.

        Raises:
            JobFailed: if the job fails, as it should where one of the sink's errors stops it.
        """

        def build(pipeline: Any) -> None:
            records = pipeline | (beam.Create(source) if isinstance(source, list) else source)
            for number, transform in enumerate(before):
                records |= f"Before {number}" >> transform
            result = records | sink
            kept = {"receipts": result.receipts, "failed": result.failed}
            if not streaming:
                kept["totals"] = result | CheckAccounting()
            for name, outputs in kept.items():
                self.keep(name, outputs)

        done = self.build_and_run(build, streaming=streaming)
        return Ran(
            self.read("receipts", Receipt._make),
            self.read("failed", FailedRecord._make),
            [out.value for out in self.read("totals", Totals._make)],
            metrics.read_counters(done),
        )

    def build_and_run(
        self, build: Callable[[Any], None], *options: str, streaming: bool = False
    ) -> Any:
        """Runs whatever `build` makes of an empty pipeline; gives the runner's result.

        Raises:
            JobFailed: if the job fails, as it should where one of the sink's errors stops it.
        """
        given = list(self.arguments)
        if streaming:
            given.append("--streaming")  # of which the DirectRunner has another implementation
        elif self.name != "switching":
            # By the DirectRunner's name Beam looks for Prism first.
            given = [each.replace("DirectRunner", IN_PROCESS) for each in given]
        # As the commands do. Beam's own workers, whose start takes long, are in tests/report.
        runner = WithProcesses() if self.name == "processes" else None
        pipeline = beam.Pipeline(runner, options=PipelineOptions([*given, *options]))
        build(pipeline)
        try:
            done = pipeline.run()
            done.wait_until_finish()
        except Exception as error:
            said = job_error(error)
            if said is None:
                raise
            raise JobFailed(said) from None
        return done

    def keep(self, name: str, outputs: Any) -> None:
        """Keeps a PCollection's elements for `read`."""
        _ = outputs | f"Keep {name}" >> beam.ParDo(_Keep(str(self.folder / name)))

    def read(self, name: str, make: Callable[[Any], Any] = tuple) -> list[Out]:
        """What was kept, once."""
        path = self.folder / name
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.unlink()
        return [Out(make(value), at, window and tuple(window)) for value, at, window in lines]


class _Keep(beam.DoFn):
    """Appends elements to a file, whichever process it is in: a short write is one piece."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(
        self, value: Any, at: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> None:
        bounds = None
        if not isinstance(window, GlobalWindow):
            bounds = (float(window.start), float(window.end))
        line = json.dumps([tuple(value), float(at), bounds]) + "\n"
        with open(self._path, "ab", buffering=0) as file:
            file.write(line.encode())
