"""The largest value of a column, and the rows from there on."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pytest

from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.watermark import Watermark, condition, kind_of, largest

MOMENT = datetime.datetime(2024, 5, 1, 12, 0, 0, 250_000)


@pytest.mark.parametrize(
    ("type", "values", "kind", "text", "from_there"),
    [
        (pa.timestamp("us", "UTC"), [MOMENT, None], "TIMESTAMP",
         "2024-05-01 12:00:00.250000+00:00", "TIMESTAMP '2024-05-01 11:00:00.250000+00:00'"),
        (pa.timestamp("ms"), [MOMENT], "DATETIME",
         "2024-05-01 12:00:00.250000", "DATETIME '2024-05-01 11:00:00.250000'"),
        (pa.date32(), [MOMENT.date()], "DATE", "2024-05-01", "DATE '2024-04-30'"),
        (pa.int64(), [5, 70_000, None], "INT64", "70000", "66400"),
        (pa.timestamp("us", "UTC"), [datetime.datetime(1960, 1, 1)], "TIMESTAMP",
         "1960-01-01 00:00:00.000000+00:00", "TIMESTAMP '1959-12-31 23:00:00.000000+00:00'"),
    ],
    ids=["timestamp", "datetime", "date", "integer", "before-1970"],
)  # fmt: skip
def test_kinds(type: pa.DataType, values: list, kind: str, text: str, from_there: str) -> None:
    table = pa.table({"c": pa.array(values, type)})
    last = largest(table, "c")
    assert last is not None
    assert (last.kind, last.text) == (kind, text)
    assert condition("c", last, 3600) == f"(`c` >= {from_there} OR `c` IS NULL)"
    assert Watermark(*last) == last


@pytest.mark.parametrize("type", [pa.timestamp("us", "UTC"), pa.timestamp("ms"), pa.date32()])
def test_a_row_of_the_future_does_not_leave_out_what_comes_before_it(type: pa.DataType) -> None:
    last = largest(pa.table({"c": pa.array([MOMENT, datetime.datetime(2999, 1, 1)], type)}), "c")
    assert last is not None
    now = datetime.datetime.now(datetime.timezone.utc)
    assert f"{MOMENT:%Y-%m-%d}" < last.text[:10] <= f"{now:%Y-%m-%d}"


def test_nothing_but_nulls() -> None:
    assert largest(pa.table({"c": pa.array([None], pa.int64())}), "c") is None


def test_types_without_an_order_are_refused() -> None:
    with pytest.raises(SettingError, match="must be a timestamp, a datetime, a date or an integer"):
        kind_of(pa.string(), "c")
