"""Convert: every kind of element goes the same way, and makes the same events."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import apache_beam as beam
import pyarrow as pa
import pytest

from mixpanel_sink import Privacy
from mixpanel_sink.api.endpoints import ENGAGE
from mixpanel_sink.api.insert_ids import fitting_id
from mixpanel_sink.api.limits import RESERVED_DISTINCT_IDS, Limits
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.results.shown import record_as_json
from mixpanel_sink.settings.columns import PositionId
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.project import Route
from tests.stages.converting import NOW, convert, job

BY_KEY = EventMapping.from_yaml(
    "event: name\ndistinct_id: user\ntime: {column: at, unit: s}\ninsert_id: key"
)


class Visit(NamedTuple):
    name: str
    user: str | None
    at: int
    key: str
    n: int


@dataclasses.dataclass
class VisitClass:
    name: str
    user: str | None
    at: int
    key: str
    n: int


def visit(n: int, **more: Any) -> dict[str, Any]:
    return {"name": "Visit", "user": f"u{n}", "at": NOW - 60, "key": f"k{n}", "n": n, **more}


def raw(record: dict[str, Any]) -> dict[str, Any]:
    rest = {k: v for k, v in record.items() if k not in ("name", "user", "at", "key")}
    ids = {"distinct_id": record["user"], "time": record["at"], "$insert_id": record["key"]}
    return {"event": record["name"], "properties": {**rest, **ids}}


def failed(record: dict[str, Any]) -> FailedRecord:
    return FailedRecord("gave_up", "", record_json=record_as_json(record))


ELEMENTS: dict[str, Callable[[list[dict[str, Any]]], list[Any]]] = {
    "dicts": lambda records: records,
    "beam.Row": lambda records: [beam.Row(**record) for record in records],
    "table": lambda records: [pa.Table.from_pylist(records)],
    "batch": lambda records: pa.Table.from_pylist(records).to_batches(),
    "block": lambda records: [RecordBlock(records, None)],
    "failed": lambda records: list(map(failed, records)),
    "table of raw events": lambda records: [pa.Table.from_pylist(list(map(raw, records)))],
    "raw events": lambda records: list(map(raw, records)),
    "block of raw events": lambda records: [RecordBlock(list(map(raw, records)), None)],
    "failed raw events": lambda records: [failed(raw(record)) for record in records],
    "failed events": lambda records: [
        FailedRecord("refused", "", event_json=json.dumps(raw(record))) for record in records
    ],
}
"""Every way in; those with "raw" in their name need no mapping."""


def of(way: str) -> EventMapping | None:
    return None if "raw" in way else BY_KEY


@pytest.fixture(params=ELEMENTS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def by_key(events: list[dict[str, Any]]) -> dict[str, Any]:
    return {event["properties"]["$insert_id"]: event for event in events}


def test_every_way_makes_the_same_events(way: str) -> None:
    records = [visit(n) for n in range(5)]
    found = convert([ELEMENTS[way](records)], job(of(way)))
    assert (found.failed, found.read) == ([], {"shop": 5})
    one_by_one = convert([[record] for record in records], job(BY_KEY))
    if way == "failed events":  # which are sent as they were
        assert by_key(found.events).keys() == by_key(one_by_one.events).keys()
    else:
        assert by_key(found.events) == by_key(one_by_one.events)


@pytest.mark.parametrize("element", [Visit, VisitClass])
def test_classes_of_records(element: Any) -> None:
    found = convert([[element(**visit(n)) for n in range(3)]], job(BY_KEY))
    assert by_key(found.events) == by_key(convert([map(visit, range(3))], job(BY_KEY)).events)


@pytest.mark.parametrize("way", [way for way in ELEMENTS if way != "failed events"])
def test_a_bad_record_fails_alone_on_every_way(way: str) -> None:
    records = [visit(n) for n in range(5)]
    records[2]["user"] = None
    found = convert([ELEMENTS[way](records)], job(of(way)))
    assert {p["$insert_id"] for p in found.properties} == {"k0", "k1", "k3", "k4"}
    (failure,) = found.failed
    assert failure.reason == "distinct_id_null"
    assert failure.destination == "shop"
    assert found.read == {"shop": 5}


@pytest.mark.parametrize("way", [way for way in ELEMENTS if way != "failed events"])
def test_each_record_goes_to_its_project_on_every_way(way: str) -> None:
    records = [visit(n, shop=["a", "b", "c"][n % 3]) for n in range(9)]
    found = convert([ELEMENTS[way](records)], job(of(way), names=("a", "b"), route=Route("shop")))
    assert {key for key, _ in found.chunks} == {"a/import#0", "b/import#0"}
    for key, chunk in found.chunks:
        names = {json.loads(event)["properties"]["shop"] for event in chunk.events()}
        assert names == {key[0]}
    assert [failure.reason for failure in found.failed] == ["destination_unknown"] * 3
    assert found.read == {"a": 3, "b": 3, "": 3}


@pytest.mark.parametrize("way", [way for way in ELEMENTS if not way.startswith("failed")])
def test_nothing_leaves_that_must_not_on_any_way(way: str) -> None:
    records = [visit(n, mail="jane@example.com", phone="123") for n in range(4)]
    records[1]["user"] = None
    privacy = Privacy(drop=["mail"], hash=["phone"])
    found = convert([ELEMENTS[way](records)], job(of(way), privacy=privacy))
    assert len(found.events) == 3
    assert len({p["phone"] for p in found.properties}) == 1
    for text in (repr(found.events), repr(found.failed)):
        assert "jane@" not in text
        assert "'123'" not in text


def test_rows_of_a_file_keep_their_place() -> None:
    table = TableOrigin("visits.parquet", "f1", 100).attach(
        pa.Table.from_pylist([visit(0), visit(1, user=None), visit(2)])
    )
    by_position = dataclasses.replace(BY_KEY, insert_id=PositionId())
    found = convert([[table]], job(by_position))
    assert [p["$insert_id"] for p in found.properties] == ["f1-100", "f1-102"]
    (failure,) = found.failed
    assert (failure.file, failure.row, failure.insert_id) == ("visits.parquet", 101, "f1-101")


@pytest.mark.parametrize("how", ["none", "dropped", "routed", "of a file"])
def test_records_of_tables_that_have_no_columns_left_fail(how: str) -> None:
    """Such tables lose their rows in Arrow, when they are cut, joined or marked."""
    table, more = pa.table({"x": ["shop", "shop", "shop"]}), {}
    if how == "none":
        table = table.select([])
    elif how == "routed":
        more = {"route": Route("x")}  # which has no place beside the parts of a raw event
    else:
        more = {"privacy": Privacy(drop=["x"])}
    if how == "of a file":
        table = TableOrigin("visits.parquet", "f1", 100).attach(table)
    mapping, reason = (None, "not_an_event") if how == "routed" else (BY_KEY, "missing_column")
    found = convert([[table, table]], job(mapping, **more))
    assert [failure.reason for failure in found.failed] == [reason] * 6
    assert [failure.row for failure in found.failed] == (
        [100, 101, 102] * 2 if how == "of a file" else [None] * 6
    )
    assert found.read == {"shop": 6}


def test_elements_that_are_no_records() -> None:
    found = convert([[object(), 5, visit(0)]], job(BY_KEY))
    assert [failure.reason for failure in found.failed] == ["unsupported_record"] * 2
    assert (len(found.events), found.read) == (1, {"shop": 3})


def test_updates_keep_their_order_whatever_brings_them() -> None:
    def update(n: int) -> dict[str, Any]:
        return {"$distinct_id": "u", "$set": {"n": n}}

    elements = [
        update(0),
        pa.Table.from_pylist([update(1), update(2)]),
        update(3),
        RecordBlock([update(4)], None),
        update(5),
    ]
    found = convert([elements], job(None, endpoint=ENGAGE, token="t"))
    assert [event["$set"]["n"] for event in found.events] == list(range(6))


RESERVED = sorted({word for word in RESERVED_DISTINCT_IDS if word.replace("-", "").isalnum()})


class TestReservedIds:
    """Mixpanel refuses some words as `$insert_id`: they are hashed."""

    @pytest.mark.parametrize("word", [*RESERVED, "NULL", "Unknown"])
    def test_text(self, way: str, word: str) -> None:
        found = convert([ELEMENTS[way]([visit(0, key=word)])], job(of(way)))
        ((insert_id,),) = [[p["$insert_id"] for p in found.properties]]
        assert insert_id == fitting_id(word)
        assert insert_id.lower() not in RESERVED_DISTINCT_IDS

    def test_a_key_that_counts_from_zero(self, way: str) -> None:
        records = [visit(0, key=key) for key in (-1, 0, 1)]
        found = convert([ELEMENTS[way](records)], job(of(way)))
        ids = {p["$insert_id"] for p in found.properties}
        if way == "failed events":  # whose ids are text; others are made from the content
            assert len(ids) == 1
        else:
            assert ids == {fitting_id("-1"), fitting_id("0"), "1"}

    def test_a_replay_of_a_failed_record_with_such_an_id(self) -> None:
        old = failed(visit(0))._replace(insert_id="0")
        assert convert([[old]], job(BY_KEY)).properties[0]["$insert_id"] == fitting_id("0")


class TestWhatMixpanelDrops:
    @pytest.mark.parametrize("value", [True, 1, "yes"])
    def test_ignored_events_are_refused(self, way: str, value: Any) -> None:
        found = convert([ELEMENTS[way]([visit(0, **{"$ignore": value}), visit(1)])], job(of(way)))
        assert [p["$insert_id"] for p in found.properties] == ["k1"]
        (failure,) = found.failed
        assert (failure.reason, failure.field) == ("event_ignored", "$ignore")

    @pytest.mark.parametrize("value", [False, None])
    def test_others_are_not(self, way: str, value: Any) -> None:
        found = convert([ELEMENTS[way]([visit(0, **{"$ignore": value})])], job(of(way)))
        assert len(found.events) == 1

    @pytest.mark.parametrize("name", ["bucket", "$bucket", "$distinct_id", "$time", "$event_name"])
    def test_reserved_names_are_counted(
        self, way: str, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        counted: dict[str, int] = {}
        monkeypatch.setattr(
            "mixpanel_sink.report.metrics.count",
            lambda what, amount=1: counted.__setitem__(what, counted.get(what, 0) + amount),
        )
        records = [visit(0, **{name: "x"}), visit(1, **{name: None}), visit(2, **{name: "y"})]
        found = convert([ELEMENTS[way](records)], job(of(way)))
        assert len(found.events) == 3
        assert counted["reserved_properties"] == 2


def test_events_that_mixpanel_deletes_for_their_age_are_counted(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: dict[str, int] = {}
    monkeypatch.setattr(
        "mixpanel_sink.report.metrics.count",
        lambda what, amount=1: counted.__setitem__(what, counted.get(what, 0) + amount),
    )
    year = 365 * 86_400
    ages = [60, 2 * year - 60, 2 * year + 60, 5 * year - 60, 5 * year + 60]
    records = [visit(n, at=NOW - at) for n, at in enumerate(ages)]
    found = convert([ELEMENTS[way](records)], job(of(way)))
    assert len(found.events) == 5
    assert (counted["old_events"], counted["old_events_5_years"]) == (3, 1)


def test_large_records_are_bounded_by_bytes() -> None:
    """At most some of them are in memory at once, however many come in one bundle."""
    size, count = 900_000, 120

    def records() -> Any:
        for n in range(count):
            yield visit(n, text=f"{n:09d}" * (size // 9))

    tracemalloc.start()
    try:
        found = convert([records()], job(BY_KEY, limits=Limits()))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.events) == count
    kept = sum(len(json.dumps(event)) for event in found.events)
    assert peak - kept < 100_000_000


@pytest.mark.parametrize("as_text", [False, True])
def test_mixpanels_limits_are_those_of_properties_and_not_of_what_is_unpacked(
    as_text: bool,
) -> None:
    """Of an object that a shape unpacks, each member may be as deep as a property may."""
    inner = [
        {"deep": {"a": [1, {"b": 2}]}, "mixed": 1, "unwanted": 1},
        {"deep": {"a": 1}, "mixed": "x", "unwanted": {"a": {"b": {"c": {"d": 1}}}}},
        {"deep": {"a": {"b": {"c": 1}}}, "mixed": 2, "unwanted": 1},
        {"many": dict.fromkeys(map(str, range(300)), 1), "mixed": 3, "unwanted": 1},
        {"deep": [0] * 300, "mixed": 4, "unwanted": list(range(300))},
    ]
    shape = {"json" if as_text else "flatten": "of", "drop": ["unwanted"]}
    mapping = dataclasses.replace(BY_KEY, shape=shape)
    records = [visit(n, of=json.dumps(each) if as_text else each) for n, each in enumerate(inner)]
    found = convert([records], job(mapping))
    made = [(each["deep"], each["mixed"]) for each in found.properties]
    assert made == [({"a": [1, {"b": 2}]}, 1), ({"a": 1}, "x")]
    assert [(each.reason, each.field) for each in found.failed] == [
        ("nested_too_deep", "deep"),
        ("too_many_keys", "many"),
        ("list_too_long", "deep"),
    ]
