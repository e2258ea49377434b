"""`accepted=True`: the records that Mixpanel holds are an output."""

from __future__ import annotations

import pathlib
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.transforms.window import FixedWindows

from mixpanel_sink import AcceptedRecord, Limits, ReadParquetTables
from mixpanel_sink.emulator.testing import Emulator
from tests.conftest import TOKEN
from tests.running import IN_PROCESS, Kept
from tests.write.test_write import record, stamped, write
from tests.write.test_write_profiles import in_order, profiles

REFUSE_FIRST = [{"kind": "failed_records", "records": [{"index": 0, "message": "odd"}]}]


def run(source: Any, sink: Any, *before: Any) -> tuple[Kept, Kept]:
    accepted, failed = Kept(), Kept()
    with beam.Pipeline(IN_PROCESS) as pipeline:
        records = pipeline | source
        records = getattr(records, "tables", records)
        for transform in before:
            records |= transform
        result = records | sink
        _ = result.accepted | "Accepted" >> beam.Map(accepted)
        _ = result.failed | "Failed" >> beam.Map(failed)
    return accepted, failed


def test_each_record_is_accepted_or_failed_and_keeps_its_window(mixpanel: Emulator) -> None:
    mixpanel.faults(REFUSE_FIRST)
    records = [(20.0 * n, record(n, **({"user": "null"} if n == 3 else {}))) for n in range(9)]
    sink = write(mixpanel, accepted=True, limits=Limits(batch_events=3))
    windows = beam.WindowInto(FixedWindows(60))
    accepted, failed = run(beam.Create(stamped(*records)), sink, windows)
    assert sorted(each.insert_id for each in accepted.values) == sorted(mixpanel.insert_ids())
    assert (len(accepted.values), len(failed.values)) == (7, 2)
    for value, at, window in accepted.rows[accepted.key]:
        assert isinstance(value, AcceptedRecord)
        number = int(value.insert_id[3:])
        assert (at, window.start) == (20.0 * number, 20 * number // 60 * 60)
        assert value.event["properties"]["distinct_id"] == f"u{number}"


def test_what_a_checkpoint_knows_is_accepted_again_with_file_and_row(
    mixpanel: Emulator, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([record(n) for n in range(7)]), path)
    mixpanel.faults(REFUSE_FIRST)
    sink = write(mixpanel, accepted=True, checkpoint=str(tmp_path / "log"))
    runs = [run(ReadParquetTables(str(path)), sink) for _ in range(2)]
    assert mixpanel.stats()["requests"] == 1
    for accepted, failed in runs:
        assert {(each.file, each.row) for each in accepted.values} == {
            (str(path), n) for n in range(1, 7)
        }
        assert [each.row for each in failed.values] == [0]


def test_updates_have_no_id_and_show_no_token(mixpanel: Emulator) -> None:
    updates = [{"$distinct_id": f"u{n}", "$set": {"n": n}} for n in range(3)]
    accepted, _ = run(in_order(updates), profiles(mixpanel, accepted=True))
    events = sorted((each.event for each in accepted.values), key=lambda each: each["$distinct_id"])
    assert events == updates
    assert [each.insert_id for each in accepted.values] == [None] * 3
    assert TOKEN not in repr(accepted.values)


def test_it_is_off_by_default(mixpanel: Emulator) -> None:
    pipeline = beam.Pipeline()
    result = pipeline | beam.Create([record(0)]) | write(mixpanel)
    assert result.accepted is None
