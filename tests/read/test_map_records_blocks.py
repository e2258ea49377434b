"""Blocks of records: between a reader, MapRecords and workers."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import apache_beam as beam
from apache_beam.coders import registry

from mixpanel_sink import (
    FailedRecord,
    JsonLines,
    MapRecords,
    ReadRecords,
)
from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.coders import BlockCoder
from tests.read.test_map_records import (
    ORIGIN,
    ReadTables,
    balanced,
    ids_by_number,
    parquet,  # noqa: F401
    row,
    write,
)
from tests.running import failures, run


def test_lines_of_a_file_and_the_bad_ones_among_them(mixpanel, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([json.dumps(row(0)), "{", json.dumps(row(2)), json.dumps(row(3))]))

    def later(record):
        return None if record["n"] == 2 else record

    ran = run(Lines(path), write(mixpanel), MapRecords(later))
    assert balanced(ran) == (3, 2, 1)
    assert [(failed.reason, failed.row) for failed in failures(ran)] == [("line_unreadable", 1)]
    ends = {n: int(i.rpartition("-")[2]) for n, i in ids_by_number(mixpanel).items()}
    assert ends == {0: 0, 3: 3}


class Lines(beam.PTransform):
    """The records of a JSON lines file."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path

    def expand(self, pbegin: Any) -> Any:
        return (pbegin | ReadRecords(str(self._path), JsonLines())).records


def test_blocks_travel_between_workers(mixpanel, parquet):
    def odd(record):
        return record if record["n"] % 2 else None

    run(ReadTables(parquet), write(mixpanel))
    every = ids_by_number(mixpanel)
    mixpanel.reset(quota="none")
    ran = run(ReadTables(parquet), write(mixpanel), MapRecords(odd), beam.Reshuffle())
    assert balanced(ran) == (12_500, 12_500, 0)
    assert ids_by_number(mixpanel) == {n: every[n] for n in range(1, 25_000, 2)}


def test_the_coder_of_blocks():
    coder = registry.get_coder(RecordBlock)
    assert isinstance(coder, BlockCoder)
    for value in (
        RecordBlock([row(n) for n in range(1000)], ORIGIN, list(range(0, 2000, 2))),
        FailedRecord("line_unreadable", "m", row=3),
        row(1),
    ):
        encoded = coder.encode(value)
        assert coder.decode(encoded) == value
        assert 0.3 < coder.estimate_size(value) / len(encoded) < 5
