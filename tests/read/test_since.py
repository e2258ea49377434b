"""The rows of an element that came since, whatever their column is made of."""

from __future__ import annotations

import datetime
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.checkpoint.since import Mark
from mixpanel_sink.encode.blocks import TableBlock
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.since import Since
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.columns import TimeColumn

UTC = datetime.timezone.utc
NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=UTC)
MS = int(NOON.timestamp() * 1000)
LATER = [NOON + datetime.timedelta(hours=hour) for hour in (0, 3, -9, 5)]
PLAIN = [moment.replace(tzinfo=None) for moment in LATER]
PLACE = TableOrigin("f", "key", 100)


def since_of(values: pa.Array, **time: Any) -> Since:
    return Since.of(TimeColumn("at", **time), pa.table({"at": values}), 3600)


@pytest.mark.parametrize("type", [pa.null(), pa.string()], ids=str)
def test_an_export_without_rows_on_its_first_day(type: pa.DataType) -> None:
    since = since_of(pa.nulls(0, type))
    table = PLACE.attach(pa.table({"at": ["2024-05-01T12:00:00Z", None]}))
    assert since.wanted(table) == (table, None, 0)


def test_an_overlap_beyond_64_bits() -> None:
    since = Since.of(TimeColumn("at"), pa.table({"at": pa.array(PLAIN)}), 1e40)
    table = PLACE.attach(pa.table({"at": pa.array(PLAIN)}))
    _, seen, _ = since.wanted(table)
    wanted, _, left_out = kept(since, table, seen.mark(since.step).cutoff)
    assert (wanted, left_out) == (table, 0)


def kept(since: Since, element: Any, cutoff: int) -> Any:
    mark = Mark(since.kind, since.step, cutoff, 0, 0)
    limited = Since(since.time, since.kind, since.step, since.now, {"f": mark})
    return limited.wanted(element)


@pytest.mark.parametrize(
    ("values", "time", "kind", "per_second"),
    [
        (pa.array([*LATER, None], pa.timestamp("ns", "Europe/Berlin")), {}, "TIMESTAMP", 10**6),
        (pa.array([*PLAIN, None], pa.timestamp("s")), {}, "DATETIME", 10**6),
        (pa.array([int(m.timestamp()) for m in LATER] + [None], pa.uint64()), {}, "INT64", 1),
        (pa.array([f"{m:%Y-%m-%dT%H:%M:%SZ}" for m in LATER] + ["soon"]), {}, "TEXT", 1000),
        (pa.array([str(int(m.timestamp())) for m in LATER] + [""]), {}, "DIGITS", 1),
        (pa.array([f"{m:%d.%m.%Y %H:%M}" for m in LATER] + [None]).dictionary_encode(),
         {"format": "%d.%m.%Y %H:%M"}, "TEXT", 1000),
    ],
    ids=["timestamp", "datetime", "integer", "iso", "digits", "format"],
)  # fmt: skip
def test_kinds(values: pa.Array, time: Any, kind: str, per_second: int) -> None:
    since = since_of(values, **time)
    assert (since.kind, since.step) == (kind, 3600 * (per_second if kind != "INT64" else 1))
    element = PLACE.attach(pa.table({"at": values, "n": range(5)}))
    wanted, seen, left_out = kept(since, element, (MS // 1000 + 3600) * per_second)
    assert wanted["n"].to_pylist() == [1, 3, 4]  # what has no value is always wanted
    assert left_out == 2
    (block,) = [TableBlock.of(wanted, Run(0, 0, ()))]
    assert [(run.row, run.count) for run in block.runs] == [(101, 1), (103, 2)]
    assert TableOrigin.of(wanted).source(1).row == TableOrigin.of(wanted).at(1).first_row == 103
    assert seen.known[0] == 2
    assert seen.largest == (MS // 1000 + 5 * 3600) * per_second


def test_dates_and_slices() -> None:
    days = [datetime.date(2024, 5, day) for day in (1, 2, 3, 4)]
    since = since_of(pa.array(days))
    assert (since.kind, since.step) == ("DATE", 1)
    element = PLACE.attach(pa.table({"at": days}))
    epoch = (days[2] - datetime.date(1970, 1, 1)).days
    wanted, _, left_out = kept(since, element, epoch)
    assert (TableOrigin.of(wanted), len(wanted), left_out) == (PLACE.at(2), 2, 2)
    assert kept(since, element, 0)[0] is element
    assert kept(since, element, 10**6)[0] is None
    other = TableOrigin("g", "key", 0).attach(element)  # a file that is new
    assert kept(since, other, epoch)[0] is other


@pytest.mark.parametrize(
    "values",
    [LATER, [moment.timestamp().__int__() for moment in LATER], ["2024-05-01T12:00:00+00:00",
     "2024-05-01 15:00:00Z", "2024-05-01T04:00:00+01:00", "2024-05-01T17:00:00Z"], PLAIN],
    ids=["moments", "numbers", "texts", "wall"],
)  # fmt: skip
def test_records(values: list[Any]) -> None:
    since = since_of(pa.array(values))
    block = RecordBlock([{"at": value} for value in values], PLACE, [0, 2, 4, 6])
    per_second = {"INT64": 1, "TEXT": 1000}.get(since.kind, 10**6)
    wanted, seen, left_out = kept(since, block, (MS // 1000 + 3600) * per_second)
    assert wanted == RecordBlock([{"at": values[1]}, {"at": values[3]}], PLACE, [2, 6])
    assert (left_out, seen.known[0]) == (2, 2)


def test_what_cannot_be_told_is_wanted() -> None:
    since = since_of(pa.array(LATER, pa.timestamp("us", "UTC")))
    unlike = [
        pa.table({"at": [1, 2]}), pa.table({"on": [1]}),
        pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["at", "at"]),
    ]  # fmt: skip
    for table in map(PLACE.attach, unlike):
        assert kept(since, table, 2**62) == (table, None, 0)
    mixed: list[dict[str, Any]] = [{"at": "today"}, {}, {"at": NOON.replace(tzinfo=None)}]
    for others in ([], [{"at": NOON}], [{"at": "\ud800"}]):
        block = RecordBlock([*mixed, *others], PLACE)
        unlike = [*mixed, *(each for each in others if each["at"] != NOON)]
        assert kept(since, block, 2**62)[0].records == unlike, "each by itself"
    failed = FailedRecord("line_unreadable", "no JSON")
    assert kept(since, failed, 0) == (failed, None, 0)


@pytest.mark.parametrize(
    ("values", "said"),
    [(pa.array([1.5]), "of the type double"), (pa.array(["x"]), "of the type string"),
     (pa.nulls(2), "of the type null")],
    ids=["float", "text", "null"],
)  # fmt: skip
def test_columns_without_an_order(values: pa.Array, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        since_of(values)
