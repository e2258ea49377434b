"""What a record may be, and the nulls and times of other libraries in it."""

import collections
import dataclasses
import unittest.mock
from typing import Any, NamedTuple

import apache_beam as beam
import pandas
import polars
import pyarrow as pa
import pydantic
import pytest

from mixpanel_sink.encode.records import as_mapping
from tests.encode.encoding import (
    T,
    error_of,
    properties_of,
    refused,
)
from tests.encode.pandas_nulls import NULLS

# Kinds of records


class Visit(NamedTuple):
    p: int


@dataclasses.dataclass
class Click:
    p: int


class Model(pydantic.BaseModel):
    p: int


@pytest.mark.parametrize("record", [{"p": 1}, Visit(1), Click(1), beam.Row(p=1), Model(p=1)])
def test_kinds_of_records(record: Any) -> None:
    assert properties_of(record)["p"] == 1


@pytest.mark.parametrize("record", [5, "text", None, [1], b"x", Click])
def test_no_records(record: Any) -> None:
    error = error_of(lambda: as_mapping(record))
    assert error.reason == "unsupported_record"
    assert "dicts, beam.Row" in error.message


@pytest.mark.parametrize(
    ("record", "says"),
    [
        ("text", "The record is a str."),
        (b"x", "parse the text first"),
        (5, "The record is an int."),
        (5, "make a dict of each"),
        (("u1", {"p": 1}), "keep the values with beam.Values()"),
        ([1], "take each apart first"),
        (None, "The record is None."),
        (None, "leave them out with beam.Filter"),
        (pandas.DataFrame(), "pyarrow.Table.from_pandas"),
        (polars.DataFrame(), "to_arrow()"),
    ],
)
def test_what_to_do_with_what_is_no_record(record: Any, says: str) -> None:
    assert says in error_of(lambda: as_mapping(record)).message


class Unreadable(collections.UserDict[str, int]):
    def __getitem__(self, key: str) -> int:
        raise RuntimeError(key)


def test_mappings_are_read_once() -> None:
    made_up = as_mapping(collections.defaultdict(int, a=1))
    assert type(made_up) is dict
    assert made_up == {"a": 1}
    for record in (Unreadable(a=1), unittest.mock.Mock()):
        error = error_of(lambda record=record: as_mapping(record))  # type: ignore[misc]
        assert error.reason == "unreadable_value"


@pytest.mark.parametrize("null", NULLS, ids=str)
def test_nulls_of_pandas_are_nulls(null: Any) -> None:
    assert "p" not in properties_of({"p": null}, drop_nulls=True)
    assert properties_of({"p": null}, drop_nulls=False)["p"] is None
    assert properties_of({"p": [null]})["p"] == [None]
    both: dict[str, Any] = {"distinct_id": None, "user_id": "v", "device_id": "d"}
    found = properties_of({"v": null, "d": "x"}, **both)
    assert found["distinct_id"] == "$device:x"
    assert "$user_id" not in found
    refused({"u": null}, "distinct_id_null", "u")
    refused({"t": null}, "time_null", "t")
    refused({"k": null}, "insert_id_null", "k", insert_id="k")


def test_a_time_that_only_looks_like_one() -> None:
    refused({"t": unittest.mock.Mock()}, "time_wrong_type", "t")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_timestamps_of_an_unknown_zone(unit: str) -> None:
    moment = pa.scalar(T * 10**9, pa.timestamp("ns")).cast(pa.timestamp(unit, "Foo/Bar"))
    assert properties_of({"p": [moment]})["p"] == ["2023-11-14T22:13:20Z"]
    if unit != "ns":
        far = pa.scalar(2**62, pa.int64()).cast(pa.timestamp(unit, "Foo/Bar"))
        refused({"p": far}, "unreadable_value", "p")
