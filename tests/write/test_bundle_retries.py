"""Runners that run bundles again: a failed one from its beginning, or each one several times.

Beam's BundleBasedDirectRunner tries a failed bundle four times, on the same worker and with its
old state. Another worker is one that knows nothing: its lanes and logs are forgotten.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.stages.send import SendChunks
from tests.checkpoint.test_updates import MAPPING as UPDATES
from tests.checkpoint.test_updates import Tables
from tests.running import Kept
from tests.write.test_write import record, write
from tests.write.test_write_profiles import kept, profiles

BATCH, BATCHES = 4, 60
COUNT = BATCH * BATCHES


class Poison:
    """Fails Send's bundles after they have sent everything, some times."""

    def __init__(self, times: int, forget: bool) -> None:
        self.times, self.forget = times, forget
        self.sent: list[int] = []

    def __call__(self, requests: int) -> None:
        self.sent.append(requests)
        if len(self.sent) <= self.times:
            if self.forget:  # the next try is another worker's
                forget()
            raise RuntimeError("poisoned")


@pytest.fixture
def poison(
    mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Poison]]:
    def start(times: int, forget: bool) -> Poison:
        made = Poison(times, forget)
        whole = SendChunks.finish_bundle

        def finish_bundle(self: SendChunks) -> Iterator[Any]:
            had_work = bool(self._senders)
            yield from whole(self)
            if had_work:
                made(mixpanel.stats()["requests"])

        monkeypatch.setattr(SendChunks, "finish_bundle", finish_bundle)
        return made

    return start


def run(runner: Any, sink: Any, source: Any = None) -> set[tuple[int, int, int]]:
    """Read, accepted and failed, as the accounting has it in each try."""
    source = source or beam.Create([record(n) for n in range(COUNT)], reshuffle=False)
    totals = Kept()
    pipeline = beam.Pipeline(runner=runner, options=PipelineOptions([]))
    _ = (pipeline | source | sink) | CheckAccounting() | beam.Map(totals)
    pipeline.run().wait_until_finish()
    return {tuple(total[:3]) for total in totals.values}


@pytest.mark.parametrize("forget", [False, True], ids=["same worker", "other worker"])
@pytest.mark.parametrize("checkpoint", [False, True], ids=["without", "with checkpoint"])
def test_a_bundle_that_fails_three_times(
    mixpanel: Emulator,
    poison: Callable[..., Poison],
    tmp_path: pathlib.Path,
    forget: bool,
    checkpoint: bool,
) -> None:
    more = {"checkpoint": str(tmp_path)} if checkpoint else {}
    poisoned = poison(3, forget)
    sink = write(mixpanel, limits=Limits(batch_events=BATCH), **more)
    assert run(BundleBasedDirectRunner(), sink) == {(COUNT, COUNT, 0)}
    first, *later = poisoned.sent
    assert first >= 50
    assert len(later) >= 3
    stats = mixpanel.stats()
    assert stats["events_distinct"] == COUNT
    if checkpoint:
        assert stats["requests"] == first == BATCHES
        assert stats["duplicates"] == 0
    else:
        assert stats["requests"] == 4 * BATCHES


@pytest.mark.parametrize("checkpoint", [False, True], ids=["without", "with checkpoint"])
def test_a_runner_that_runs_each_bundle_three_times(
    mixpanel: Emulator, tmp_path: pathlib.Path, checkpoint: bool
) -> None:
    more = {"checkpoint": str(tmp_path)} if checkpoint else {}
    sink = write(mixpanel, limits=Limits(batch_events=BATCH), **more)
    assert run(FnApiRunner(bundle_repeat=2), sink) == {(COUNT, COUNT, 0)}
    stats = mixpanel.stats()
    assert stats["events_distinct"] == COUNT
    assert stats["requests"] == (BATCHES if checkpoint else 3 * BATCHES)


@pytest.mark.parametrize("forget", [False, True], ids=["same worker", "other worker"])
def test_updates_that_add_are_not_applied_again(
    mixpanel: Emulator, poison: Callable[..., Poison], tmp_path: pathlib.Path, forget: bool
) -> None:
    rows = {"user": [f"u{n}" for n in range(COUNT)], "plan": ["pro"] * COUNT, "n": [1] * COUNT}
    pq.write_table(pa.table(rows), tmp_path / "updates.parquet")
    poison(2, forget)
    # One lane: that runner stumbles over the timers of several keys.
    limits = Limits(batch_events=BATCH)
    sink = profiles(mixpanel, UPDATES, checkpoint=str(tmp_path / "log"), limits=limits, lanes=1)
    source = Tables(str(tmp_path / "updates.parquet"))
    assert run(BundleBasedDirectRunner(), sink, source) == {(COUNT, COUNT, 0)}
    assert kept(mixpanel) == {f"u{n}": {"plan": "pro", "n": 1} for n in range(COUNT)}
