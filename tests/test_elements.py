"""What cannot be written is refused when the pipeline is built, with what to put before it."""

from __future__ import annotations

import inspect
import pathlib
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mixpanel_sink as mp
from mixpanel_sink.errors import MappingError, SettingError

MAPPING = mp.EventMapping(event="name", time=mp.TimeColumn("at", unit="s"), distinct_id="user")
SECRET, TOKEN = mp.ApiSecret("env:SECRET"), mp.ProjectToken("env:TOKEN")
SINKS: dict[str, Callable[[], Any]] = {
    "events": lambda: mp.WriteToMixpanel(MAPPING, SECRET),
    "raw events": lambda: mp.WriteToMixpanel(credentials=SECRET),
    "profiles": lambda: mp.WriteProfilesToMixpanel(credentials=TOKEN),
    "groups": lambda: mp.WriteGroupsToMixpanel(credentials=TOKEN),
    "a lookup table": lambda: mp.ReplaceLookupTable("songs", SECRET),
    "a function": lambda: mp.MapRecords(dict),
}
EVENT = {"name": "Visit", "user": "u1", "at": 1_704_067_200}


def texts(_: Any) -> Any:
    return ["a"]


STATED = beam.typehints.Iterable[str]


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize(
    ("elements", "says"),
    [
        (["{}"], "is given str elements. The sink takes dicts, beam.Row,"),
        ([b"{}"], "parse the text first, such as with beam.Map(json.loads)."),
        ([1], "is given int elements."),
        ([("u1", EVENT)], "is given tuple elements. The sink takes"),
        ([("u1", EVENT)], "keep the values with beam.Values()"),
        ([[EVENT]], "take each apart first, with beam.FlatMap(list)."),
        ([{"u1"}], "is given set elements."),
    ],
)
def test_elements_that_cannot_be_records(sink: str, elements: list[Any], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        beam.Pipeline() | beam.Create(elements) | SINKS[sink]()
    assert says in str(caught.value)


@pytest.mark.parametrize("sink", SINKS)
def test_types_that_transforms_state(sink: str) -> None:
    pairs = beam.Pipeline() | beam.Create([("u1", EVENT)])
    for number, (collection, says) in enumerate(
        [
            (pairs | beam.GroupByKey(), "tuple elements"),
            (pairs | beam.BatchElements(), "list elements"),
            (pairs | beam.Map(texts).with_output_types(STATED), "list elements"),
            (pairs | "One" >> beam.FlatMap(texts).with_output_types(str), "str elements"),
        ]
    ):
        with pytest.raises(SettingError, match=says):
            collection | f"Write {number}" >> SINKS[sink]()


@pytest.mark.parametrize("sink", SINKS)
def test_what_is_no_pcollection(sink: str) -> None:
    pipeline = beam.Pipeline()
    first, second = (pipeline | name >> beam.Create([EVENT]) for name in ("First", "Second"))
    for given, says in (
        (pipeline, "cannot begin a pipeline: apply it to a PCollection"),
        ((first, second), "takes one PCollection, not a tuple. Join several with beam.Flatten"),
        ({"first": first}, "takes one PCollection, not a dict"),
        (
            mp.ReadParquetTables("a").expand(pipeline),
            "one of its parts, such as .tables",
        ),
    ):
        with pytest.raises(SettingError, match=says):
            given | says >> SINKS[sink]()


@pytest.mark.parametrize(
    "elements",
    [
        [EVENT],
        [EVENT, "text"],  # only one of them is bad
        [None],
        [],
        [beam.Row(**EVENT)],
        [pa.Table.from_pylist([EVENT])],
        [pa.RecordBatch.from_pylist([EVENT])],
    ],
    ids=lambda elements: ", ".join(type(each).__name__ for each in elements) or "none",
)
def test_elements_that_may_be_records(elements: list[Any]) -> None:
    created = beam.Pipeline() | beam.Create(elements)
    _ = created | "Mapped" >> SINKS["a function"]() | SINKS["events"]()
    _ = created | "Events" >> SINKS["events"]()


@pytest.mark.parametrize(
    ("sink", "missing"),
    [("raw events", "'event'"), ("profiles", "'\\$distinct_id'"), ("groups", "'\\$group_key'")],
)
def test_rows_need_a_mapping(sink: str, missing: str) -> None:
    rows = beam.Pipeline() | beam.Create([beam.Row(**EVENT)])
    with pytest.raises(MappingError, match=f"the input has no {missing}: its columns are 'name',"):
        rows | SINKS[sink]()


def test_rows_that_are_raw_events() -> None:
    rows = beam.Pipeline() | beam.Create([beam.Row(event="Visit", properties={"time": 1})])
    assert rows | SINKS["raw events"]()


def test_records_of_parquet_one_by_one_are_warned_of(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "a.parquet")
    pq.write_table(pa.table({name: [value] for name, value in EVENT.items()}), path)
    for as_rows in (False, True):
        _ = beam.Pipeline() | beam.io.ReadFromParquet(path, as_rows=as_rows) | SINKS["events"]()
        assert "use beam.io.ReadFromParquetBatched instead" in caplog.text
        one_by_one, batched = (
            set(inspect.signature(reader).parameters)
            for reader in (beam.io.ReadFromParquet, beam.io.ReadFromParquetBatched)
        )
        assert f"the same arguments except {', '.join(one_by_one - batched)}." in caplog.text
        caplog.clear()
    _ = beam.Pipeline() | beam.io.ReadFromParquetBatched(path) | SINKS["events"]()
    records = beam.Pipeline() | beam.io.ReadFromParquet(path)
    _ = records | beam.Map(lambda record: record | {"a": 1}) | SINKS["events"]()
    assert not caplog.text
