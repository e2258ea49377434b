"""`MapRecords`: a Python function for each record, on the way to the emulator."""

from __future__ import annotations

import collections
import functools
import json
import pathlib
import random
import threading
import time
import unittest.mock
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import (
    ApiSecret,
    EventMapping,
    MapRecords,
    ReadParquetTables,
    WriteToMixpanel,
)
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.read.map_records import _Map
from tests.running import FAST, Ran, failures, run

AT = int(time.time()) - 86_400
MAPPING = EventMapping.from_yaml("event: name\ndistinct_id: user\ntime: {column: at, unit: s}")


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"name": "Visit", "user": f"u{number}", "at": AT, "n": number, **more}


class Visit(NamedTuple):
    name: str
    user: str
    at: int
    n: int


class ReadTables(beam.PTransform):
    """The tables of Parquet files."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path

    def expand(self, pbegin: Any) -> Any:
        return (pbegin | ReadParquetTables(str(self._path))).tables


@pytest.fixture
def parquet(tmp_path: pathlib.Path) -> pathlib.Path:
    """25,000 rows, more than two blocks."""
    path = tmp_path / "visits.parquet"
    pq.write_table(pa.Table.from_pylist([row(n) for n in range(25_000)]), path)
    return path


def write(mixpanel: Emulator, mapping: EventMapping | None = MAPPING, **more: Any) -> Any:
    given: dict[str, Any] = {"endpoint": mixpanel.url, "quota": "none", "retry": FAST, **more}
    return WriteToMixpanel(mapping, ApiSecret("env:TEST_API_SECRET"), **given)


def stored(mixpanel: Emulator) -> list[dict[str, Any]]:
    """The properties of every event, which the emulator gives by the 10,000."""
    pages = [mixpanel.events(10_000, offset) for offset in (0, 10_000, 20_000)]
    return [event["properties"] for page in pages for event in page]


def ids_by_number(mixpanel: Emulator) -> dict[int, str]:
    found = stored(mixpanel)
    assert len({properties["$insert_id"] for properties in found}) == len(found)
    return {properties["n"]: properties["$insert_id"] for properties in found}


def same(record: dict[str, Any]) -> dict[str, Any]:
    return record


def balanced(ran: Ran) -> tuple[int, int, int]:
    totals = ran.totals[0][0]
    assert totals.read == totals.accepted + totals.failed
    return totals.read, totals.accepted, totals.failed


def test_records_keep_their_place_and_their_ids(mixpanel, parquet):
    run(ReadTables(parquet), write(mixpanel))
    without = ids_by_number(mixpanel)
    ran = run(ReadTables(parquet), write(mixpanel), MapRecords(same))
    assert ids_by_number(mixpanel) == without, "the same ids: the second run added nothing"
    assert balanced(ran) == (25_000, 25_000, 0)
    assert mixpanel.stats()["requests"] == 26, "13 each, full but for the last"


def test_what_the_function_makes_is_sent(mixpanel, parquet):
    def twice(record):
        return {**record, "n": record["n"] * 2, "list": [record["n"]]}

    run(ReadTables(parquet), write(mixpanel), MapRecords(twice))
    assert sorted(ids_by_number(mixpanel)) == list(range(0, 50_000, 2))
    assert all(event["list"] == [event["n"] // 2] for event in stored(mixpanel))


def test_nanoseconds_of_one_record_cost_no_other(mixpanel):
    def with_day(record):
        return {**record, "day": record["when"].strftime("%a")}

    when = pa.array([1_700_000_000_000_000_000, 1_700_000_000_000_000_001], pa.timestamp("ns"))
    table = TABLE.slice(0, 2).append_column("when", when)
    ran = run([table], write(mixpanel), MapRecords(with_day))
    assert balanced(ran) == (2, 1, 1)
    assert [event["day"] for event in stored(mixpanel)] == ["Tue"]


def test_raw_events_with_nanoseconds_as_a_table(mixpanel):
    kind = pa.struct(
        [("distinct_id", pa.string()), ("time", pa.int64()), ("x", pa.timestamp("ns"))]
    )
    moments = [None, 1_700_000_000_000_000_000, 1_700_000_000_000_000_001]
    properties = [{"distinct_id": "u", "time": AT, "x": moment} for moment in moments]
    table = pa.table({"event": ["Visit"] * 3, "properties": pa.array(properties, kind)})
    assert balanced(run([table], write(mixpanel, None))) == (3, 3, 0)
    assert {event.get("x") for event in stored(mixpanel)} == {
        None, "2023-11-14T22:13:20", "2023-11-14T22:13:20.000000001",
    }  # fmt: skip


@pytest.mark.parametrize("nested", [False, True], ids=["as tables", "one by one"])
def test_records_left_out(mixpanel, parquet, nested):
    def even(record):
        if nested:
            record["list"] = [1]
        return None if record["n"] % 2 else record

    run(ReadTables(parquet), write(mixpanel))
    every = ids_by_number(mixpanel)
    mixpanel.reset(quota="none")
    ran = run(ReadTables(parquet), write(mixpanel), MapRecords(even))
    assert ids_by_number(mixpanel) == {n: every[n] for n in range(0, 25_000, 2)}
    assert balanced(ran) == (12_500, 12_500, 0)
    assert ran.counters["records_left_out"] == 12_500


def explode(record):
    number = record.pop("n")
    record["n"] = int("nothing" if number in (7, 20_001) else number)
    return record


def test_a_function_that_raises_fails_its_record(mixpanel, parquet):
    ran = run(ReadTables(parquet), write(mixpanel), MapRecords(explode))
    assert balanced(ran) == (25_000, 24_998, 2)
    first, second = failures(ran)
    assert {first.reason, second.reason} == {"function_failed"}
    assert sorted(failed.row for failed in (first, second)) == [7, 20_001]
    assert first.file == second.file == str(parquet)
    assert {json.dumps(f.record) for f in (first, second)} == {
        json.dumps(row(7)),
        json.dumps(row(20_001)),
    }, "as read, although the function had changed it"
    assert first.message.startswith("explode raised ValueError at test_map_records.py:")
    assert "nothing" not in first.message, "an exception's text may hold what privacy hides"
    assert ran.counters["failed_function_failed"] == 2


@pytest.mark.parametrize("result", [[1], "text", 5, pa.table({})], ids=lambda r: type(r).__name__)
def test_a_function_that_gives_no_record(mixpanel, result):
    ran = run([row(1)], write(mixpanel), MapRecords(lambda _: result))
    (failed,) = failures(ran)
    assert failed.reason == "function_failed"
    assert "<lambda> gave something that is neither a record nor None" in failed.message
    assert failed.record == row(1)


def plus_one(record: dict[str, Any]) -> dict[str, Any]:
    record["n"] += 1
    return record


TABLE = pa.Table.from_pylist([row(n) for n in range(5)])
ORIGIN = TableOrigin("f", "0123456789abcdef0123", 10)


@pytest.mark.parametrize(
    "records",
    [
        [row(n) for n in range(5)],
        [beam.Row(**row(n)) for n in range(5)],
        [Visit(**row(n)) for n in range(5)],
        [TABLE],
        TABLE.to_batches(max_chunksize=3),
        [RecordBlock([row(n) for n in range(5)], None)],
        [RecordBlock([row(n) for n in range(5)], ORIGIN, [0, 2, 3, 7, 8])],
    ],
    ids=["dicts", "rows", "named tuples", "table", "batches", "block", "block with gaps"],
)
def test_every_kind_of_record(mixpanel, records):
    ran = run(records, write(mixpanel), MapRecords(plus_one))
    assert sorted(ids_by_number(mixpanel)) == [1, 2, 3, 4, 5]
    assert balanced(ran) == (5, 5, 0)
    if getattr(records[0], "offsets", None):
        ends = sorted(int(i.rpartition("-")[2]) for i in ids_by_number(mixpanel).values())
        assert ends == [10, 12, 13, 17, 18]


def test_elements_are_not_changed():
    records = [row(1)]
    block = RecordBlock([row(2)], None)
    made = [*_Map(plus_one).process(records[0]), *_Map(plus_one).process(block)]
    assert (records[0], block.records[0]) == (row(1), row(2))
    assert made == [row(1, n=2), RecordBlock([row(2, n=3)], None)]


@pytest.mark.parametrize("mapping", [MAPPING, None], ids=["mapping", "raw"])
def test_records_without_keys_fail(mixpanel, mapping):
    ran = run(ReadBlocks([RecordBlock([{}, {}], ORIGIN)]), write(mixpanel, mapping))
    assert balanced(ran) == (2, 0, 2)
    ran = run([{}, {}], write(mixpanel, mapping), MapRecords(same))
    assert balanced(ran) == (2, 0, 2)
    assert {f.reason for f in failures(ran)} == {"missing_column" if mapping else "not_an_event"}


def test_one_dict_given_again_and_again():
    template = row(0)

    def fill(record):
        template["n"] = record["n"]
        return template

    (block,) = _Map(fill).process(TABLE)
    assert list(block.records) == [row(0, n=n) for n in range(5)]


def test_a_dict_that_makes_up_keys_is_copied():
    def counted(record):
        return collections.defaultdict(int, record, **{f"extra{record['n']}": 1})

    (block,) = _Map(counted).process(TABLE)
    assert list(block.records) == [row(n, **{f"extra{n}": 1}) for n in range(5)]
    assert {type(record) for record in block.records} == {dict}


class Hostile(collections.UserDict):
    """A mapping that cannot be read."""

    def __getitem__(self, key):
        raise RuntimeError(key)


def test_a_result_that_cannot_be_read_fails_alone(mixpanel):
    def break_one(record):
        return Hostile(record) if record["n"] == 1 else record

    ran = run([TABLE], write(mixpanel), MapRecords(break_one))
    assert balanced(ran) == (5, 4, 1)
    assert [(f.reason, f.record) for f in failures(ran)] == [("function_failed", row(1))]


@pytest.mark.parametrize("mapping", [MAPPING, None], ids=["mapping", "raw"])
def test_odd_values_fail_alone(mixpanel, mapping):
    def break_some(record):
        odd = [threading.Lock(), iter("a"), unittest.mock.Mock(), np.timedelta64(1, "M"), "fine"]
        record[f"x{record['n']}"] = odd[record["n"]]
        if mapping:
            return record
        return {"event": "E", "properties": {"distinct_id": "u", "time": AT, **record}}

    ran = run([TABLE], write(mixpanel, mapping), MapRecords(break_some))
    assert balanced(ran) == (5, 1, 4)
    assert {f.reason for f in failures(ran)} == {"unsupported_type"}
    assert sorted(f.field for f in failures(ran)) == ["x0", "x1", "x2", "x3"]


class HostileName(str):
    """A key that cannot be shown."""

    __slots__ = ()

    def __str__(self):
        raise RuntimeError("no")

    __repr__ = __str__


@pytest.mark.parametrize("mapping", [MAPPING, None], ids=["mapping", "raw"])
def test_hostile_records_fail_alone(mixpanel, mapping):
    hostile = {HostileName("x"): 1, Hostile: 2, ("a", HostileName("b")): 3}

    def break_one(record):
        event = {"event": "E", "properties": {"distinct_id": "u", "time": AT}}
        made = record if mapping else event
        return {**made, **hostile} if record["n"] == 1 else made

    ran = run([TABLE], write(mixpanel, mapping), MapRecords(break_one))
    assert balanced(ran) == (5, 4, 1)
    ran = run([row(1)], write(mixpanel, mapping), beam.Map(Hostile))
    assert balanced(ran) == (1, 0, 1)
    assert [f.reason for f in failures(ran)] == ["unreadable_value"]


def test_what_is_no_record_is_told_by_the_sink(mixpanel):
    ran = run([5, "text"], write(mixpanel), beam.Map(same), MapRecords(same))
    assert [failed.reason for failed in failures(ran)] == ["unsupported_record"] * 2


class ReadBlocks(beam.PTransform):
    """These blocks."""

    def __init__(self, blocks: list[RecordBlock]) -> None:
        super().__init__()
        self._blocks = blocks

    def expand(self, pbegin: Any) -> Any:
        return pbegin | beam.Create(self._blocks)


def test_functions_without_a_name(mixpanel):
    class Shift:
        def __call__(self, record):
            return plus_one(record)

    for fn, name in ((functools.partial(plus_one), "partial"), (Shift(), "Shift")):
        assert MapRecords(fn).default_label() == f"MapRecords({name})"
        run([row(1)], write(mixpanel), MapRecords(fn))
    assert set(ids_by_number(mixpanel)) == {2}


def test_no_function():
    with pytest.raises(TypeError, match="takes a function of a record, not a dict"):
        MapRecords({})  # type: ignore[arg-type]


@pytest.mark.parametrize("run_number", range(2))
def test_nothing_is_lost_or_doubled(mixpanel, parquet, run_number):
    seed = random.randrange(10**6)  # here: every worker of the tests must name them alike
    print("seed", seed)
    chance = random.Random(seed)
    fates = chance.choices(["kept", "out", "raises", "nested", "none"], [8, 1, 1, 1, 1], k=25_000)

    def fate(record):
        what = fates[record["n"]]
        if what == "out":
            return None
        if what == "raises":
            raise KeyError(what)
        if what == "nested":
            record["list"] = [{"a": 1}]
        return {**record, "user": None} if what == "none" else record

    run(ReadTables(parquet), write(mixpanel))
    every = ids_by_number(mixpanel)
    mixpanel.reset(quota="none")
    ran = run(ReadTables(parquet), write(mixpanel), MapRecords(fate))
    accepted = [n for n in range(25_000) if fates[n] in ("kept", "nested")]
    assert ids_by_number(mixpanel) == {n: every[n] for n in accepted}
    of = {reason: [f.row for f in failures(ran) if f.reason == reason] for reason in REASONS}
    assert sorted(of["function_failed"]) == [n for n in range(25_000) if fates[n] == "raises"]
    assert sorted(of["distinct_id_null"]) == [n for n in range(25_000) if fates[n] == "none"]
    assert ran.counters["records_left_out"] == fates.count("out")
    assert balanced(ran)[0] == 25_000 - fates.count("out")


REASONS = ("function_failed", "distinct_id_null")
