"""Each kind of value on each way into the sink: the table of docs/decisions/testing.md.

One row of one value a way, in this process; whole pipelines over each format are in tests/jobs.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import json
import pathlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import apache_beam as beam
import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import Constant, ContentId, EventMapping, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.inspect.preview import preview
from mixpanel_sink.inspect.verify.events import Event, differences, exported_event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.read.file_source import as_source
from mixpanel_sink.read.source import columns_needed
from tests.stages.converting import NOW, convert, job

AT = NOW - 60
MAPPING = EventMapping(
    event=Constant("E"),
    distinct_id=Constant("u"),
    time=TimeColumn("t", "s"),
    insert_id=ContentId(),
    ip=None,
)
DAY = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A value.

    Attributes:
        column: one of it.
        expected: its JSON in an event; None if it is left out.
        text: as CSV and JSON lines hold it; None if they have no such value.
        avro: its type there; None if there is none.
    """

    column: pa.Array
    expected: Any
    text: str | None = None
    avro: Any = None

    @property
    def value(self) -> Any:
        """As a dict holds it."""
        (record,) = rows_as_records(pa.table({"p": self.column}), range(1))
        return record["p"]


def _decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


WHOLE = 1234567890123456789
KINDS = {
    "text": Kind(pa.array(["Ünï"]), "Ünï", "Ünï", avro="string"),
    "boolean": Kind(pa.array([True]), True, "true", avro="boolean"),
    "integer": Kind(pa.array([WHOLE]), WHOLE, str(WHOLE), avro="long"),
    "unsigned integer": Kind(pa.array([2**64 - 1], pa.uint64()), 2**64 - 1, str(2**64 - 1)),
    "float": Kind(pa.array([0.1]), 0.1, "0.1", avro="double"),
    "32-bit float": Kind(pa.array([0.1], pa.float32()), 0.10000000149011612, avro="float"),
    "whole decimal": Kind(
        pa.array([Decimal(WHOLE)], pa.decimal128(38, 0)), WHOLE, avro=_decimal(38, 0)
    ),
    "decimal": Kind(pa.array([Decimal("0.10")], pa.decimal128(9, 2)), 0.1, avro=_decimal(9, 2)),
    "decimal of 20 digits": Kind(
        pa.array([Decimal("0.12345678901234567890")], pa.decimal128(38, 20)),
        0.12345678901234568,
        avro=_decimal(38, 20),
    ),
    "timestamp": Kind(
        pa.array([DAY], pa.timestamp("us")),
        "2024-02-29T01:02:03.456789",
        avro={"type": "long", "logicalType": "local-timestamp-micros"},
    ),
    "timestamp with a zone": Kind(
        pa.array([DAY], pa.timestamp("us", "UTC")),
        "2024-02-29T01:02:03.456789Z",
        avro={"type": "long", "logicalType": "timestamp-micros"},
    ),
    "nanoseconds": Kind(pa.array([1], pa.timestamp("ns")), "1970-01-01T00:00:00.000000001"),
    "the last day": Kind(
        pa.array([datetime.datetime(9999, 12, 31)], pa.timestamp("us")), "9999-12-31T00:00:00"
    ),
    "date": Kind(
        pa.array([DAY.date()]), "2024-02-29", avro={"type": "int", "logicalType": "date"}
    ),
    "time of day": Kind(
        pa.array([DAY.time()]),
        "01:02:03.456789",
        avro={"type": "long", "logicalType": "time-micros"},
    ),
    "duration": Kind(pa.array([datetime.timedelta(seconds=1.5)]), 1.5),
    "binary": Kind(pa.array([b"\0\xff"]), base64.b64encode(b"\0\xff").decode(), avro="bytes"),
    "list": Kind(
        pa.array([[1, None, 3]]),
        [1, None, 3],
        "[1, null, 3]",
        avro={"type": "array", "items": ["null", "long"]},
    ),
    "list of a fixed size": Kind(
        pa.array([[0.5, None]], pa.list_(pa.float64(), 2)), [0.5, None], "[0.5, null]"
    ),
    "object": Kind(
        pa.array([{"a": {"b": 1}}]), {"a": {"b": 1}}, '{"a": {"b": 1}}',
        avro={
            "type": "record",
            "name": "o",
            "fields": [
                {
                    "name": "a",
                    "type": {
                        "type": "record",
                        "name": "i",
                        "fields": [{"name": "b", "type": "long"}],
                    },
                }
            ],
        },
    ),
    "map": Kind(
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        {"k": 1},
        '{"k": 1}',
        avro={"type": "map", "values": "long"},
    ),
    "null": Kind(pa.array([None], pa.int64()), None, "null", avro=["null", "long"]),
}  # fmt: skip
_PLAIN_TEXT = ("text", "boolean", "integer", "unsigned integer", "float")
"""What CSV has a form for: all of it is text there, unless a shape casts it."""
_OF_TEXT = dataclasses.replace(MAPPING, time=TimeColumn("t", "iso8601"))


def _table(kind: Kind) -> pa.Table:
    return pa.table({"p": kind.column, "t": [AT]})


def _elements(path: pathlib.Path) -> list[Any]:
    source = as_source(str(path), MAPPING)
    return list(source.elements(columns_needed(MAPPING)))


def _ways(name: str, kind: Kind, folder: pathlib.Path) -> Iterable[tuple[str, list[Any]]]:
    """By the name of a way, what comes to the sink on it."""
    record = {"p": kind.value, "t": AT}
    pq.write_table(_table(kind), folder / "a.parquet")
    yield "tables", [_table(kind)]
    yield "Parquet", _elements(folder / "a.parquet")
    yield "dicts", [record]
    yield "blocks of dicts", [RecordBlock([record], None)]
    yield "beam.Row", [beam.Row(**record)]
    if kind.text is not None:
        text = json.dumps(kind.text) if name == "text" else kind.text
        (folder / "a.jsonl").write_text(f'{{"p": {text}, "t": {AT}}}\n')
        yield "JSON lines", _elements(folder / "a.jsonl")
        yield "stream", [json.loads((folder / "a.jsonl").read_text())]
    if name in _PLAIN_TEXT:
        (folder / "a.csv").write_text(f"p,t\n{kind.text},2024-02-29T01:02:03Z\n")
        yield "CSV", _elements(folder / "a.csv")
    if kind.avro is not None:
        fields = [{"name": "p", "type": kind.avro}, {"name": "t", "type": "long"}]
        schema = fastavro.parse_schema({"type": "record", "name": "r", "fields": fields})
        with open(folder / "a.avro", "wb") as file:
            held = dict(record["p"]) if name == "map" else record["p"]
            fastavro.writer(file, schema, [{**record, "p": held}])
        yield "Avro", _elements(folder / "a.avro")


@pytest.mark.parametrize("name", KINDS)
def test_each_way_makes_the_same_event_of_a_kind(name: str, tmp_path: pathlib.Path) -> None:
    kind = KINDS[name]
    for way, elements in _ways(name, kind, tmp_path):
        mapping, wanted = MAPPING, kind.expected
        if way == "CSV":
            mapping, wanted = _OF_TEXT, kind.text
        found = convert([elements], job(mapping))
        assert found.failed == [], (way, found.failed)
        (event,) = found.events
        assert repr(event["properties"].get("p")) == repr(wanted), way
        if way in ("stream", "dicts", "beam.Row"):
            record = elements[0].as_dict() if way == "beam.Row" else elements[0]
            elements = [RecordBlock([record], None)]
        (expected,) = Expectation(mapping, Limits(), None, None, NOW * 1000).of(elements)
        assert isinstance(expected, Event), way
        actual = exported_event(event)
        assert differences(Event.from_line(expected.to_line()), actual) == {}, way
        assert expected.insert_id == actual.insert_id, way
    shown = preview(str(tmp_path / "a.parquet"), MAPPING, clock=lambda: NOW)
    assert repr(shown.examples[0]["properties"].get("p")) == repr(kind.expected)
