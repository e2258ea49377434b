"""Blocks of single records: whole requests, and never too many bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.batch.runs import Run, join_runs
from mixpanel_sink.encode.blocks import FailedBlock, RecordsBlock
from mixpanel_sink.encode.records import STRIDE, weigh, weight_of
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.stages.gather import BATCH_BYTES, BATCH_REQUESTS, Gatherer


def gathered(records: list[Any], batch_events: int = 10) -> list[RecordsBlock]:
    gatherer = Gatherer(RecordsBlock, batch_events)
    blocks: list[RecordsBlock] = []
    for n, record in enumerate(records):
        if gatherer.add(record, n // 7, ("w",)):
            blocks += gatherer.take()
    return [*blocks, *gatherer.take(everything=True)]


def test_small_records_fill_whole_requests() -> None:
    blocks = gathered([{"n": n} for n in range(123)])
    assert [len(block) for block in blocks] == [50, 50, 23]
    assert len(blocks[0]) == BATCH_REQUESTS * 10


@given(st.lists(st.sampled_from([10, 60_000, 900_000, 2_000_000]), max_size=60))
def test_blocks_are_bounded_by_bytes(sizes: list[int]) -> None:
    records = [{"text": _text(size)} for size in sizes]
    blocks = gathered(records, batch_events=2000)
    assert [r for block in blocks for r in block.given] == records
    for block in blocks:
        # Small ones are weighed by sample, so that a few large ones may come along.
        assert sum(map(weight_of, block.given)) <= BATCH_BYTES + STRIDE * 2_000_100
        assert sum(run.count for run in block.runs) == len(block)
    runs = join_runs(run for block in blocks for run in block.runs)
    assert sum(run.count for run in runs) == len(records)
    assert [run.timestamp for run in runs] == sorted({n // 7 for n in range(len(records))})


_TEXTS: dict[int, str] = {}


def _text(size: int) -> str:
    return _TEXTS.setdefault(size, "x" * size)


def test_large_records_alone_never_exceed_the_bound() -> None:
    blocks = gathered([{"text": _text(900_000)}] * 50, batch_events=2000)
    assert max(len(block) for block in blocks) * 900_000 <= BATCH_BYTES + 900_000


def test_blocks_of_one_file_are_gathered_and_others_are_not() -> None:
    gatherer = Gatherer(RecordsBlock, 10)

    def block(key: str | None, row: int, count: int) -> RecordsBlock:
        run = Run(count, 0, ("",), key or "", row if key else -1)
        return RecordsBlock(key, [run], [{"n": row + i} for i in range(count)])

    assert not list(gatherer.extend(block("a", 0, 30)))
    (full,) = gatherer.extend(block("a", 30, 30))
    assert (full.key, len(full), full.runs[0].row) == ("a", 50, 0)
    (rest,) = gatherer.extend(block("b", 0, 5))
    assert (rest.key, [r["n"] for r in rest.given]) == ("a", list(range(50, 60)))
    (last,) = gatherer.take(everything=True)
    assert (last.key, len(last)) == ("b", 5)


def test_failed_records_do_not_mix_with_others() -> None:
    gatherer = Gatherer(RecordsBlock, 10)
    run = Run(1, 0, ("",))
    assert not list(gatherer.extend(RecordsBlock.of([{"n": 1}], [run])))
    (records,) = gatherer.extend(FailedBlock.of([FailedRecord("gave_up", "")], [run]))
    assert type(records) is RecordsBlock
    (replays,) = gatherer.take(everything=True)
    assert type(replays) is FailedBlock


class Broken:
    def __len__(self) -> int:
        raise RuntimeError


@pytest.mark.parametrize("value", [Broken(), None, 5, object(), {"a": Broken()}])
def test_anything_has_a_weight(value: Any) -> None:
    assert 0 < weight_of(value) < 100


@pytest.mark.parametrize(
    "value", [{"a": "x" * 10**6}, ["x" * 10**6], {"a": {"b": [b"x" * 10**6]}}, ("x" * 10**6,)]
)
def test_text_deep_inside_weighs(value: Any) -> None:
    assert weight_of(value) > 10**6
    assert weigh([value] * 5, 3_000_000)[0] == 2
