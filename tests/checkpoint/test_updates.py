"""The checkpoint of profile updates: what adds, appends or removes is never applied twice."""

from __future__ import annotations

import itertools
import json
import pathlib
import random
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import ReadParquetTables
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.log import Lookup
from mixpanel_sink.checkpoint.owner import Owner
from mixpanel_sink.checkpoint.updates import KeySet, UpdateLog
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import MixpanelSinkError
from mixpanel_sink.process import forget
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.profile_mapping import ProfileMapping
from mixpanel_sink.settings.retry import RetryPolicy
from tests.running import run
from tests.write.test_write_profiles import kept, profiles

OWNER = Owner("input", "mapping", "engage", "projects")
MAPPING = ProfileMapping(distinct_id="user", set=["plan"], add=["n"])


def update(row: int, operation: str = "$add") -> bytes:
    return json.dumps({"$distinct_id": f"u{row}", operation: {"n": 1}}).encode()


def chunk(*rows: int, operation: str = "$add", file: str = "f.parquet") -> EventChunk:
    runs = [Run(1, 5, ("",), file, row) for row in rows]
    return EventChunk.of([update(row, operation) for row in rows], runs)


def failed(row: int, reason: str = "refused") -> FailedRecord:
    return FailedRecord(reason, "no", file="f.parquet", row=row)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> Checkpoint:
    return Checkpoint(str(tmp_path / "checkpoint"))


def opened(folder: Checkpoint) -> UpdateLog:
    """As a new process sees it."""
    return UpdateLog(folder, OWNER)


class TestTheLog:
    def test_what_was_only_begun_is_doubtful(self, folder: Checkpoint) -> None:
        opened(folder).begin(chunk(1, 2, 3))
        assert opened(folder).lookup(chunk(1, 2, 3)) == Lookup(None, doubtful=chunk(1, 2, 3))

    def test_unless_it_may_be_repeated(self, folder: Checkpoint) -> None:
        opened(folder).begin(chunk(1, 2, operation="$set"))
        one = chunk(1, 2, operation="$set")
        log = opened(folder)
        log.flush()
        assert log.lookup(one).rest is one
        opened(folder).begin(chunk(5))
        assert opened(folder).lookup(chunk(5), repeat=True).rest == chunk(5)

    def test_chunks_of_another_make_are_told_apart_row_by_row(self, folder: Checkpoint) -> None:
        first = opened(folder)
        first.end(first.begin(chunk(1, 2, 3)), chunk(1, 2, 3), [failed(2)])
        first.begin(chunk(4, 5))
        found = opened(folder).lookup(chunk(3, 2, 9, 4))
        assert found == Lookup(chunk(9), chunk(3, 2), 1, (failed(2),), chunk(4))

    def test_what_failed_for_now_or_was_left_is_sent_again(self, folder: Checkpoint) -> None:
        first = opened(folder)
        one = chunk(1, 2, 3, 4)
        first.end(first.begin(one), one, [failed(1, "gave_up"), failed(2, "ambiguous")], [chunk(4)])
        found = opened(folder).lookup(one)
        assert found == Lookup(chunk(1, 4), chunk(2, 3), 1, (failed(2, "ambiguous"),))
        # Begun once more, it is doubtful again.
        opened(folder).begin(chunk(1))
        assert opened(folder).lookup(chunk(1)).doubtful == chunk(1)

    def test_other_content_or_another_file_is_another_update(self, folder: Checkpoint) -> None:
        first = opened(folder)
        first.end(first.begin(chunk(1)), chunk(1), [])
        log = opened(folder)
        for other in (chunk(1, operation="$set"), chunk(1, file="g.parquet"), chunk(2)):
            assert log.lookup(other).rest is other

    def test_where_rows_are_not_known_nothing_is(self, folder: Checkpoint) -> None:
        one = EventChunk.of([update(1)], [Run(1, 5, ("",))])
        log = opened(folder)
        log.end(log.begin(one), one, [])
        assert opened(folder).lookup(one).rest is one

    @pytest.mark.parametrize("seed", range(5))
    def test_a_set_of_keys(self, seed: int) -> None:
        rng = random.Random(seed)
        keys, model = KeySet(), set()
        for _ in range(50):
            some = [
                rng.choice([rng.randrange(300), 2**64 - 1 - rng.randrange(9)]) for _ in range(9)
            ]
            asked = np.array([rng.randrange(300), 2**64 - 1, *some], np.uint64)
            assert keys.find(asked).tolist() == [key in model for key in asked.tolist()]
            keys.add(np.array(some, np.uint64))
            model |= set(some)
        sizes = [len(part) for part in keys._parts]
        assert sum(sizes) == len(model), "each key once"
        assert all(left >= 2 * right for left, right in itertools.pairwise(sizes))


@beam.ptransform_fn
def Tables(pipeline: Any, path: str) -> Any:
    return (pipeline | ReadParquetTables([path])).tables


@pytest.fixture
def table(tmp_path: pathlib.Path) -> str:
    rows = {"user": [f"u{n}" for n in range(200)], "plan": ["pro"] * 200, "n": [1] * 200}
    pq.write_table(pa.table(rows), tmp_path / "updates.parquet", row_group_size=60)
    return str(tmp_path / "updates.parquet")


def test_a_job_that_was_stopped_goes_on(mixpanel: Emulator, folder: Checkpoint, table: str) -> None:
    sink = profiles(mixpanel, MAPPING, checkpoint=folder, lanes=2, limits=Limits(batch_events=10))
    mixpanel.faults([{"kind": "status", "status": 401, "skip": 7}])
    with pytest.raises(MixpanelSinkError, match="project token"):
        run(Tables(table), sink)
    assert 0 < len(mixpanel.profiles(1000)) < 200
    forget()
    ran = run(Tables(table), sink)
    assert ran.totals[0][0][:3] == (200, 200, 0)
    assert ran.counters["events_known"] > 0
    assert kept(mixpanel) == {f"u{n}": {"plan": "pro", "n": 1} for n in range(200)}
    forget()
    requests = mixpanel.stats()["requests"]
    assert run(Tables(table), sink).totals[0][0][:3] == (200, 200, 0)
    assert mixpanel.stats()["requests"] == requests


FAULTS: list[dict[str, Any]] = [
    {"kind": "reset"},
    {"kind": "reset", "stored": True},
    {"kind": "refuse", "seconds": 0.05},
    {"kind": "status", "status": 413},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 504, "stored": True},
    {"kind": "rate_limit"},
    {"kind": "truncate"},
    {"kind": "status", "status": 401},
]


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_in_several_runs_nothing_is_applied_twice(
    mixpanel: Emulator, folder: Checkpoint, table: str, seed: int
) -> None:
    print("seed", seed)
    mixpanel.faults({"seed": seed, "rate": 0.3, "kinds": FAULTS})
    retry = RetryPolicy(transient_seconds=0.05, first_wait=0.01, longest_wait=0.02, breaker=2)
    sink = profiles(
        mixpanel, MAPPING, checkpoint=folder, retry=retry, lanes=2, limits=Limits(batch_events=20)
    )
    for number in range(20):
        forget()
        if number == 10:
            mixpanel.faults([])
        try:
            ran = run(Tables(table), sink)
        except MixpanelSinkError:
            continue
        reasons = {failure.reason for failure, _, _ in ran.failed}
        if not reasons & {"gave_up", "project_refused"}:
            break
    assert ran.totals[0][0].accepted + ran.totals[0][0].failed == 200
    assert reasons <= {"ambiguous"}
    ambiguous = {failure.event["$distinct_id"] for failure, _, _ in ran.failed}
    stored = kept(mixpanel)
    for n in range(200):
        times = stored.get(f"u{n}", {}).get("n", 0)
        assert times == 1 or (times == 0 and f"u{n}" in ambiguous), n
