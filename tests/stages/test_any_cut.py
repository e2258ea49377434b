"""What becomes of a record does not depend on the records that happen to be near it.

The same records are cut into blocks, files and bundles in random ways, and in random order; each
must become the same event or update, byte for byte, or fail for the same reason. Otherwise a retry,
or an import of files that are cut in another way, would send duplicates.

MIXPANEL_SINK_LONG=1 takes 5,000 seeds instead of 120; a failure names its seed.
"""

from __future__ import annotations

import collections
import csv
import datetime
import decimal
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink import ContentId, EventMapping, Privacy, ProfileMapping
from mixpanel_sink.api.endpoints import ENGAGE, IMPORT
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.errors import MappingError
from mixpanel_sink.inspect.verify.events import Event
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.read import csv as csv_format
from mixpanel_sink.read import json_lines
from mixpanel_sink.read.csv import CsvRows
from mixpanel_sink.read.json_lines import JsonLines
from mixpanel_sink.read.source import ALL_COLUMNS, Unit, columns_needed
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.project import Route
from tests.stages.converting import NOW, Converted, convert, job

SEEDS = 5_000 if os.environ.get("MIXPANEL_SINK_LONG") else 120
PARTS = 4
UTC = datetime.timezone.utc
Records = list[dict[str, Any]]

PLAIN: dict[str, list[Any]] = {
    "plan": ["pro", "free", None, 2, "1", True],
    "n": [1, 2, 3.5, 0, -7, None, "8", 2**53 + 1, 2**63, 2**64 - 1, 2**70, 10**40],
    "amount": [1.5, 2.25, 100.0, None, 3, "4.5", "x"],
    "list": [[1, 2], ["a"], [], None, [2**70], [1, "a"], [None], "a,b", [[1], [2]], [1.5, 2]],
    "object": [{"a": 1}, {"a": "x", "b": None}, {}, None, {"b": [1, {"c": 2}]}, 7, {"plan": "own"}],
    "pairs": [[{"key": "k", "value": 1}], [{"key": "plan", "value": "x"}], [], None],
    "tags": ["a,b,c", "d", "", None, ",", 5],
    "big": ["18446744073709551615", "5", "-3", None, 9, "x", "9223372036854775808"],
    "when": ["2024-05-06", "2024-05-06T07:08:09.123456789Z", "0001-01-01", None, "soon"],
    "own": ["x", None, "y"],
    "token": [None, None, None, "t"],
    "utm_a": ["x", None],
    "campaign_a": ["y", None],
    "$ignore": [None, None, False, True],
    "$city": ["Bonn", None],
}
"""Values that JSON has, by column."""
MORE: dict[str, list[Any]] = {
    "n": [decimal.Decimal("1.50"), decimal.Decimal("2.00"), decimal.Decimal("1e-30")],
    "amount": [float("nan"), decimal.Decimal("0.1000"), decimal.Decimal("1.23456789012345678901")],
    "when": [
        datetime.datetime(2024, 5, 6, 7, 8, 9),
        datetime.datetime(2024, 5, 6, 7, 8, 9, 5, tzinfo=UTC),
        datetime.date(2024, 5, 6),
    ],
    "own": [b"\xff\x00", datetime.timedelta(seconds=90), "\ud800", object],
    "object": [{"a": datetime.date(2024, 5, 6)}, {1: 2}],
    "pairs": [[{"key": "k", "value": datetime.date(2024, 5, 6)}]],
}
"""Others, which dicts may hold."""
PAYLOADS = [
    '{"plan":"pro","n":1}', '{"plan":2,"time":5}', '{"n":null}', "{}", None, "[1]", "x",
    '{"n":1.5,"o":{"a":[1,{"b":2}]}}', '{"n":123456789012345678901}', '{"token":"t"}',
    '{"own":"z","when":"2024-01-01"}', '{"user":"from json"}', '{"amount":0.5,"k":true}',
    '{"utm_a":"in json"}', '{"user":7}', '{"name":404}', '{"distinct_id":"d"}', '{"tags":["q"]}',
]  # fmt: skip
CONDITIONS: list[str] = [
    "plan = 'pro'", "n > 0", "n & 1 = 1", "amount / 3 >= 0.5", "COALESCE(amount, 5) || '' = '5'",
    "when >= DATE '2024-01-31'", "CAST(when AS BIGINT) > 1000", "own IS NULL", "k", "missing = 1",
    "COALESCE(n, 1) = 1", "big & 1 = 1", "CAST(tags AS INTEGER) > 4", "a = 1 OR n = 3.5",
    "LENGTH(plan) = 3", "n = CAST('x' AS INTEGER)", "plan || n = 'pro1'", "n + amount > 2",
    "object IS NOT NULL", "first = 'a'", "at = 'pro 1'", "big / 2 > 2", "ARRAY_LENGTH(list) = 1",
]  # fmt: skip


def any_records(pick: random.Random, more: bool) -> Records:
    """Records of which each may lack some columns."""
    columns = {name: [*values] for name, values in PLAIN.items()}
    if more:
        for name, values in MORE.items():
            columns[name] += values
    chosen = pick.sample(list(columns), pick.randint(2, 7))
    for name in chosen:  # of few kinds, so that plain columns are usual
        columns[name] = pick.sample(columns[name], min(len(columns[name]), pick.randint(1, 4)))
    payloads = pick.sample(PAYLOADS, pick.randint(1, 5))
    lacking, odd_times = pick.choice([0, 0.1, 0.5]), pick.choice([0, 0, 0.2])
    records = []
    for number in range(pick.randint(2, 12)):
        record: dict[str, Any] = {
            "name": "View",
            "at_ms": NOW * 1000 - number * 10_000_000,
            "user": f"u{number}",
        }
        record |= {name: pick.choice(columns[name]) for name in chosen}
        record["payload"] = pick.choice(payloads)
        if pick.random() < odd_times:
            record["at_ms"] = pick.choice([record["at_ms"] - 0.5, str(record["at_ms"]), -1, True])
        for name in list(record):
            if pick.random() < lacking:
                if pick.random() < 0.5:
                    del record[name]
                else:
                    record[name] = None
        records.append(record)
    return records


def raw_event(pick: random.Random, record: dict[str, Any]) -> dict[str, Any]:
    """An event of a record's values, which may lack what an event needs."""
    names = {"user": "distinct_id", "at_ms": "time", "big": "$insert_id", "own": "ip"}
    names |= {"plan": pick.choice(["plan", "$device_id"])}
    properties = {names.get(name, name): value for name, value in record.items()}
    return {"event": record.get("name"), "properties": properties}


def any_shape(pick: random.Random) -> dict[str, Any] | None:
    """None in one of four."""
    names = [*PLAIN, "k", "first"]
    into = {"by": ",", "into": pick.choice([["first", "rest"], ["own", "plan"]])}
    kinds = ["text", "integer", "number", "boolean", "time"]
    casts = {name: pick.choice(kinds) for name in pick.sample(names, 2)}
    prefix = pick.choice(["", "", "p_"])
    steps: list[tuple[float, str, Any]] = [
        (0.5, "json", {"payload": prefix}),
        (0.4, "flatten", dict.fromkeys(pick.sample(["object", "pairs"], 1), prefix)),
        (0.2, "split", {"tags": pick.choice([",", into])}),
        (0.2, "join", {pick.choice(["at", "own"]): pick.sample(["plan", "n", "amount", "k"], 2)}),
        (0.3, "cast", pick.choice([casts, {"big": "integer"}, {"when": "time"}, {"n": "number"}])),
        (0.3, "defaults", {pick.choice(names): pick.choice(["free", 0, 1.5, True])}),
        (0.5, "where", pick.choice(CONDITIONS)),
        (0.1, "sample", {"column": pick.choice(["user", "n", "amount"]), "percent": 50}),
        (0.1, "drop", [pick.choice(["a*", "payload"])]),
        (0.2, "rename", pick.choice([{"utm_(.*)": "campaign_\\1"}, {"plan": "n"}])),
    ]
    shape = {name: value for share, name, value in steps if pick.random() < share}
    return None if pick.random() < 0.25 else shape


def any_mapping(pick: random.Random) -> Any:
    """Of events or, in one of four, of profiles."""
    common: dict[str, Any] = {
        "shape": any_shape(pick),
        "drop_nulls": pick.random() < 0.5,
        "non_finite": pick.choice(["fail", "drop"]),
        "rename": pick.choice([{}, {}, {"own": "plan"}]),
    }
    if pick.random() < 0.25:
        listed = pick.choice(["all", "all", ["plan", "n"]])
        if listed != "all":
            common["rename"] = {}
        append = pick.choice([[], ["k"]])
        return ProfileMapping(distinct_id="user", set=listed, append=append, **common)
    properties = pick.choice(["all", "all", ["plan", "n", "k"]])
    device = pick.choice([None, None, "own"])
    if properties != "all" or device:
        common["rename"] = {}
    return EventMapping(
        event=pick.choice(["name", {"column": "name", "if_null": "Unknown"}]),
        distinct_id=pick.choice(["user", {"column": "user", "if_null": "nobody"}]),
        device_id=device,
        time={"column": "at_ms", "unit": "ms"},
        insert_id=pick.choice([ContentId(), ContentId(), ["user", "n"], ["plan"]]),
        properties=properties,
        include_mapped=pick.random() < 0.2,
        filter=pick.choice([None, None, {"events": ["View"]}, {"first_day": "2025-06-15"}]),
        **common,
    )


def outcome(found: Converted) -> collections.Counter[Any]:
    """What became of the records, whatever their order and places."""
    sent = ((name, event) for name, chunk in found.chunks for event in chunk.events())
    failed = ((each.reason, each.field, each.message, each.insert_id) for each in found.failed)
    return collections.Counter([*sent, *failed])


def cuts(pick: random.Random, records: Records) -> Iterator[Records]:
    """The records in parts, in any order."""
    left = pick.sample(records, len(records))
    while left:
        size = pick.choice([1, 2, len(left)])
        yield left[:size]
        left = left[size:]


class Source:
    """Makes elements of parts of the records: what is read of them, or comes from a pipeline."""

    def __init__(self, kind: str, mapping: Any, folder: Path, more: list[str]) -> None:
        self.kind = kind
        self._columns = ALL_COLUMNS if mapping is None else columns_needed(mapping, more)
        self._folder = folder
        self._files = 0

    def elements(self, records: Records, schema: pa.Schema | None) -> list[Any]:
        """Of one part."""
        if self.kind in ("dicts", "raw"):
            return list(records)
        if self.kind == "blocks":
            return [RecordBlock(records, TableOrigin("a.avro", "k", 0))]
        if self.kind == "tables":
            return [pa.Table.from_pylist(records, schema)]
        self._files += 1
        unit = Unit(str(self._folder / f"{self._files}.{self.kind}"), "k")
        if self.kind == "jsonl":
            text = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
            Path(unit.path).write_text(text)
            return list(JsonLines().elements(unit, self._columns))
        names = ["user", "name", "at_ms", "payload", *PLAIN]
        with open(unit.path, "w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(records)
        types = {"at_ms": "integer", "n": "integer", "amount": "number"}
        return list(CsvRows(types).elements(unit, self._columns))


def check_proof(found: Converted, elements: list[Any], mapping: EventMapping) -> None:
    """`verify` expects the same ids and failures."""
    expected = list(Expectation(mapping, Limits(), None, "t", NOW * 1000).of(elements))
    ids = collections.Counter(e.insert_id for e in expected if isinstance(e, Event))
    assert ids == collections.Counter(each["$insert_id"] for each in found.properties)
    reasons = collections.Counter(e.reason for e in expected if isinstance(e, FailedRecord))
    assert reasons == collections.Counter(each.reason for each in found.failed)


def converted(
    elements: list[list[Any]], mapping: Any, proven: bool, **settings: Any
) -> collections.Counter[Any]:
    """The outcome of bundles; `proven` if `verify` reads such elements, too."""
    endpoint = ENGAGE if isinstance(mapping, ProfileMapping) else IMPORT
    given = job(mapping, endpoint=endpoint, token="t", **settings)
    bundles = [[each for each in part if not isinstance(each, FailedRecord)] for part in elements]
    found = convert(bundles, given)
    if proven and isinstance(mapping, EventMapping):
        check_proof(found, [each for part in bundles for each in part], mapping)
    unread = [each for part in elements for each in part if isinstance(each, FailedRecord)]
    return outcome(found) + collections.Counter(each.reason for each in unread)


def schema_of(pick: random.Random) -> pa.Schema:
    """Types that the columns of a table declare."""
    kinds: dict[str, list[pa.DataType]] = {
        "plan": [pa.string(), pa.large_string()],
        "n": [pa.int64(), pa.float64(), pa.decimal128(38, 3), pa.int8()],
        "amount": [pa.float64(), pa.decimal128(10, 4)],
        "list": [pa.list_(pa.string())],
        "object": [pa.struct([("a", pa.int64()), ("b", pa.string()), ("plan", pa.string())])],
        "pairs": [pa.map_(pa.string(), pa.string())],
        "tags": [pa.string()],
        "big": [pa.string(), pa.uint64()],
        "when": [pa.string(), pa.timestamp("ns"), pa.date32()],
        "own": [pa.string(), pa.null()],
        "token": [pa.string()],
        "utm_a": [pa.string()],
        "campaign_a": [pa.string()],
    }
    common = [("name", pa.string()), ("at_ms", pa.int64()), ("user", pa.string())]
    fields = [(name, pick.choice(kinds[name])) for name in pick.sample(list(kinds), 5)]
    return pa.schema([*common, ("payload", pa.string()), *fields])


def fitting(schema: pa.Schema, record: dict[str, Any]) -> dict[str, Any]:
    """A record with nulls in place of values that are not of the schema's types."""
    fit: dict[str, Any] = {}
    for field in schema:
        value = record.get(field.name)
        try:
            pa.array([value], field.type)
        except Exception:
            value = None
        fit[field.name] = value
    return fit


def try_seed(seed: int, folder: Path) -> bool:
    """Whether the mapping fitted."""
    pick = random.Random(seed)
    kind = pick.choice(["dicts", "blocks", "tables", "jsonl", "jsonl", "csv", "raw"])
    mapping = None if kind == "raw" else any_mapping(pick)
    records = any_records(pick, more=kind in ("dicts", "blocks", "raw"))
    if kind == "raw":
        records = [raw_event(pick, record) for record in records]
    schema = schema_of(pick) if kind == "tables" else None
    if schema is not None:
        records = [fitting(schema, record) for record in records]
    settings: dict[str, Any] = {}
    if pick.random() < 0.2:
        settings["privacy"] = Privacy(hash=["own", "user"])
    if pick.random() < 0.1:
        settings |= {"route": Route("plan"), "names": ("pro", "free")}
    source = Source(kind, mapping, folder, ["plan"] if "route" in settings else [])
    proven = kind in ("tables", "jsonl", "csv") and not settings
    alone: collections.Counter[Any] | None = collections.Counter()
    for record in records:
        try:
            one = converted([source.elements([record], schema)], mapping, proven, **settings)
        except MappingError:
            alone = None
            break
        alone += one
    for _ in range(3):
        parts = [source.elements(part, schema) for part in cuts(pick, records)]
        bundles = parts if pick.random() < 0.5 else [[each for part in parts for each in part]]
        try:
            together = converted(bundles, mapping, proven, **settings)
        except MappingError:
            together = None
        if alone is None or together is None:
            assert together == alone
            return False
        assert together == alone, (alone - together, together - alone)
    return True


@pytest.mark.parametrize("part", range(PARTS))
def test_any_cut(part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = 0
    for seed in range(part, SEEDS, PARTS):
        size = random.Random(seed).choice([60, 200, 1 << 20])
        monkeypatch.setattr(json_lines, "BLOCK_BYTES", size)
        monkeypatch.setattr(csv_format, "BLOCK_BYTES", size)
        try:
            fitted += try_seed(seed, tmp_path)
        except BaseException:
            print("seed", seed)
            raise
    assert fitted > SEEDS / PARTS / 2


def of_payloads(payloads: list[str | None], **settings: Any) -> Converted:
    """What records of these payloads become, as one block."""
    mapping = EventMapping(
        **{
            "event": "name",
            "distinct_id": "user",
            "time": {"column": "at_ms", "unit": "ms"},
            "insert_id": ContentId(),
            "exclude": ["row"],
            "shape": {"json": ["payload"]},
            **settings,
        }
    )
    own = {"name": "View", "user": "u", "at_ms": NOW * 1000}
    records = [{**own, "row": row, "payload": each} for row, each in enumerate(payloads)]
    return convert([records], job(mapping))


def test_an_event_has_the_nulls_that_its_own_record_states() -> None:
    payloads = ['{"a":1,"b":null}', '{"b":2}', "{}", None]
    stated = [{"a": 1, "b": None}, {"b": 2}, {}, {}]
    for first in range(len(payloads)):
        found = of_payloads(payloads[first:], drop_nulls=False).properties
        got = [{key: each[key] for key in ("a", "b") if key in each} for each in found]
        assert got == stated[first:]


def test_a_key_that_the_sink_writes_itself_costs_its_record_only() -> None:
    found = of_payloads(['{"token":"t"}', '{"plan":"pro"}', '{"token":null}'])
    assert [failed.reason for failed in found.failed] == ["duplicate_property"]
    assert len(found.events) == 2


def test_the_bits_of_large_integers_are_their_own() -> None:
    shape = {"json": ["payload"], "cast": {"n": "integer"}, "where": "n & 1 = 1"}
    numbers = [2**63 + 1, 3, 4, -1, 2**64 - 2]
    found = of_payloads([f'{{"n":"{number}"}}' for number in numbers] + ["{}"], shape=shape)
    assert not found.failed
    assert sorted(each["n"] for each in found.properties) == [-1, 3, 2**63 + 1]


def test_values_of_several_types_stay_what_they_are_as_names_and_ids() -> None:
    payloads = ['{"what":"a","id":1}', '{"what":7,"id":"1"}', '{"what":"b","id":1.5}', "{}"]
    found = of_payloads(payloads, event="what", insert_id=["id", "user"])
    alone = [of_payloads([each], event="what", insert_id=["id", "user"]) for each in payloads]
    assert [failed.reason for failed in found.failed] == ["event_wrong_type", "event_null"]
    ids = [each["$insert_id"] for one in alone for each in one.properties]
    assert sorted(each["$insert_id"] for each in found.properties) == sorted(ids)


def test_a_number_that_json_does_not_have_counts_only_where_it_is_used() -> None:
    odd: list[Any] = [[2**70], {"a": [float("nan"), "x"]}, {"a": {"b": 2**65}}]
    records = [
        {"name": "View", "user": "u", "at_ms": NOW * 1000, "row": row, "odd": each}
        for row, each in enumerate(odd)
    ]
    settings: dict[str, Any] = {
        "event": "name",
        "distinct_id": "user",
        "time": {"column": "at_ms", "unit": "ms"},
        "insert_id": ContentId(),
    }
    shapes: list[dict[str, Any]] = [{"drop": ["x"]}, {"drop": ["odd"]}, {"where": "row < 0"}]
    used, dropped, left_out = (
        convert([records], job(EventMapping(shape=shape, non_finite="drop", **settings)))
        for shape in shapes
    )
    assert [failed.reason for failed in used.failed] == ["integer_too_large"] * 2
    assert [each["odd"] for each in used.properties] == [{"a": [None, "x"]}]
    assert len(dropped.events) == len(records)
    assert not left_out.failed
    assert not left_out.events


def test_a_condition_that_is_an_object_is_wrong_for_the_proof_too() -> None:
    records = [
        {"name": "View", "user": "u", "at_ms": NOW * 1000, "object": each}
        for each in ({"a": 1}, {}, None, True)
    ]
    mapping = EventMapping(
        event="name",
        distinct_id="user",
        time={"column": "at_ms", "unit": "ms"},
        insert_id=ContentId(),
        shape={"where": "object"},
    )
    block = RecordBlock(records, TableOrigin("a.avro", "k", 0))
    found = convert([[block]], job(mapping, token="t"))
    assert [failed.reason for failed in found.failed] == ["shape_failed"] * 2
    assert len(found.events) == 1
    check_proof(found, [block], mapping)


@pytest.mark.parametrize(
    ("odd", "shape", "events"),
    [
        pytest.param(
            pa.array([[("a", 1)], [("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())),
            {"defaults": {"odd": 1}},
            1,
            id="two-keys-of-one-name",
        ),
        pytest.param(
            pa.array([0, 10**7], pa.date32()), {"defaults": {"odd": 1}}, 1, id="far-years"
        ),
        pytest.param(
            pa.array([0, 10**7], pa.date32()),
            {"where": "odd IS NOT NULL", "drop": ["odd"]},
            2,
            id="far-years-in-a-condition",
        ),
        pytest.param(
            pa.array([[(1, 1)], []], pa.map_(pa.int64(), pa.int64())),
            {"flatten": ["odd"]},
            1,
            id="keys-that-are-numbers",
        ),
    ],
)
def test_no_value_of_a_table_is_lost_in_its_shape(
    odd: pa.Array, shape: dict[str, Any], events: int
) -> None:
    mapping = EventMapping(
        event="name",
        distinct_id="user",
        time={"column": "at_ms", "unit": "ms"},
        insert_id=ContentId(),
        shape=shape,
    )
    table = pa.table({"name": ["View"] * 2, "user": ["u"] * 2, "at_ms": [NOW * 1000] * 2})
    table = table.append_column("row", pa.array([1, 2])).append_column("odd", odd)
    found = convert([[table]], job(mapping, token="t"))
    assert (len(found.events), len(found.failed)) == (events, 2 - events)
    expected = list(Expectation(mapping, Limits(), None, "t", NOW * 1000).of([table]))
    ids = [each.insert_id for each in expected if isinstance(each, Event)]
    assert sorted(map(str, ids)) == sorted(each["$insert_id"] for each in found.properties)
    assert len(expected) == 2
