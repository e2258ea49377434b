"""A mapping is checked against the types of the input's columns before anything is read."""

from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink import EventMapping, ProfileMapping, TimeColumn
from mixpanel_sink.encode.schema import check_schema
from mixpanel_sink.errors import MappingError

BASE: dict[str, Any] = {"event": "e", "time": "t", "distinct_id": "u"}


@pytest.mark.parametrize(
    ("column", "kind", "time", "words"),
    [
        ("t", pa.int64(), "t", ["'t'", "int64", "s, ms, us or ns"]),
        ("t", pa.float64(), "t", ["number", "unit"]),
        ("t", pa.string(), "t", ["text", "iso8601"]),
        ("t", pa.bool_(), "t", ["bool", "timestamp"]),
        ("t", pa.time64("us"), "t", ["time64"]),
        ("t", pa.decimal128(20, 0), "t", ["decimal", "unit"]),
        ("u", pa.float64(), None, ["distinct_id", "'u'", "double", "integers"]),
        ("u", pa.binary(), None, ["binary"]),
        ("e", pa.int64(), None, ["event", "int64", "text"]),
    ],
)
def test_check_schema_refuses(column: str, kind: pa.DataType, time: Any, words: list[str]) -> None:
    kinds = {"e": pa.string(), "u": pa.string(), "t": pa.timestamp("us"), column: kind}
    mapping = EventMapping(**{**BASE, **({} if time is None else {"time": time})})
    with pytest.raises(MappingError) as caught:
        check_schema(mapping, pa.schema(kinds.items()))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("kinds", "time"),
    [
        ({"t": pa.int64()}, TimeColumn("t", "s")),
        ({"t": pa.float32()}, TimeColumn("t", "ms")),
        ({"t": pa.large_string()}, TimeColumn("t", "iso8601")),
        ({"t": pa.date32()}, "t"),
        ({"t": pa.timestamp("ns", "UTC")}, "t"),
        ({"u": pa.uint16()}, "t"),
        ({"u": pa.decimal128(38, 0), "t": pa.decimal128(38, 0)}, TimeColumn("t", "ms")),
        ({"u": pa.dictionary(pa.int8(), pa.string()), "e": pa.string_view()}, "t"),
    ],
)
def test_check_schema_takes(kinds: dict[str, pa.DataType], time: Any) -> None:
    usual = {"e": pa.string(), "u": pa.string(), "t": pa.timestamp("us")}
    mapping = EventMapping(**{**BASE, "time": time})
    check_schema(mapping, pa.schema({**usual, **kinds}.items()))


def test_a_profile_mapping_needs_its_columns_only() -> None:
    mapping = ProfileMapping(distinct_id="u", set=["a"])
    check_schema(mapping, pa.schema([("u", pa.float64()), ("a", pa.binary())]))
    with pytest.raises(MappingError, match="names the column 'a'"):
        check_schema(mapping, pa.schema([("u", pa.string())]))
