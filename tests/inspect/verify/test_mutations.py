"""The proof is proven: an import that is broken in one small way is never called equal.

Each mutation changes the events that a correct import stores, as a mistake in the conversion
would, and `verify` must say that something is wrong.
"""

from __future__ import annotations

import copy
import datetime
import decimal
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import EventMapping, Privacy, TimeColumn
from mixpanel_sink.inspect.verify import Exporter, Verification, render, verify
from mixpanel_sink.read.raw_export import export_destination
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.stages.local import convert_tables
from tests.inspect.verify.conftest import Reply, Scripted, lines

ROWS = 12
AT = 1_704_067_200_123
EventDict = dict[str, Any]
MAPPING = EventMapping(
    event="name",
    distinct_id="user",
    time=TimeColumn("at", "ms"),
    insert_id="key",
    ip="client",
    drop_nulls=False,
)
PRIVACY = Privacy(drop=["password"], hash=["email"])


def table() -> pa.Table:
    day = datetime.datetime(2024, 5, 6, 7, 8, 9, 123456)
    rows = range(ROWS)
    return pa.table(
        {
            "name": [f"Order {i % 3}" for i in rows],
            "user": [f"User{i % 5}" for i in rows],
            "at": [AT + 3_600_000 * i for i in rows],
            "key": [f"key-{i}" for i in rows],
            "client": [f"10.0.0.{i}" for i in rows],
            "email": [f"{i}@example.com" for i in rows],
            "password": ["secret"] * ROWS,
            "text": [f" Some Text {i} " for i in rows],
            "long": ["ü" * (100 + 10 * i) for i in rows],
            "big": pa.array([2**62 + i for i in rows], pa.int64()),
            "huge": pa.array([2**63 + i for i in rows], pa.uint64()),
            "small": [0.1 * i for i in rows],
            "price": pa.array([decimal.Decimal(f"{i}.25") for i in rows], pa.decimal128(20, 2)),
            "flag": [i % 2 == 0 for i in rows],
            "maybe": [None if i % 2 else i for i in rows],
            "moment": pa.array([day] * ROWS, pa.timestamp("us", "Europe/Berlin")),
            "wall": pa.array([day] * ROWS, pa.timestamp("us")),
            "day": [day.date()] * ROWS,
            "clock": [day.time()] * ROWS,
            "took": pa.array([datetime.timedelta(milliseconds=1500)] * ROWS, pa.duration("ms")),
            "raw": [bytes([i, 255]) for i in rows],
            "tags": [["b", "a", None]] * ROWS,
            "nested": [{"n": i, "deep": {"x": 1.5}} for i in rows],
        }
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("input") / "a.parquet"
    pq.write_table(table(), path)
    return str(path)


@pytest.fixture(scope="module")
def stored() -> list[EventDict]:
    """What a correct import leaves in Mixpanel."""
    chunks = convert_tables([table()], MAPPING, privacy=PRIVACY)
    events = [orjson.loads(event) for chunk in chunks for event in chunk.events()]
    assert len(events) == ROWS
    for event in events:
        properties = event["properties"]
        del properties["ip"]
        if len(properties["long"]) > 127:
            properties["long"] = "ü" * 127  # as Mixpanel cuts it
    return events


@pytest.fixture
def verified(
    scripted: Scripted, source: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[EventDict]], Verification]:
    monkeypatch.setenv("VERIFY_SECRET", "s")

    def run(events: list[EventDict]) -> Verification:
        scripted.replies = [Reply(body=lines(*events))]
        destination = export_destination(endpoint=scripted.url)
        exporter = Exporter(destination, ApiSecret("env:VERIFY_SECRET"))
        zone_free = {"first": datetime.date(2024, 1, 1), "last": datetime.date(2024, 1, 3)}
        try:
            return verify([source], MAPPING, exporter, privacy=PRIVACY, **zone_free)
        finally:
            exporter.close()

    return run


def each(change: Callable[[EventDict], Any]) -> Callable[[list[EventDict]], Any]:
    """A mutation of every event's properties."""

    def mutate(events: list[EventDict]) -> None:
        for event in events:
            change(event["properties"])

    return mutate


def setting(name: str, make: Callable[[Any], Any]) -> Callable[[list[EventDict]], Any]:
    """A mutation of one property; of nulls only where there is one to change."""

    def change(properties: EventDict) -> None:
        properties[name] = make(properties[name])

    return each(change)


def first(name: str, make: Callable[[Any], Any]) -> Callable[[list[EventDict]], Any]:
    """A mutation of one property of one event."""

    def mutate(events: list[EventDict]) -> None:
        properties = events[0]["properties"]
        properties[name] = make(properties[name])

    return mutate


def renamed(properties: EventDict) -> None:
    properties["Text"] = properties.pop("text")


def swapped(properties: EventDict) -> None:
    properties["text"], properties["day"] = properties["day"], properties["text"]


def one_id(events: list[EventDict]) -> None:
    for event in events:
        event["properties"]["$insert_id"] = "key-0"


def other_rows(events: list[EventDict]) -> None:
    values = [event["properties"]["big"] for event in events]
    for event, value in zip(events, values[1:] + values[:1], strict=True):
        event["properties"]["big"] = value


def lower_name(events: list[EventDict]) -> None:
    for event in events:
        event["event"] = event["event"].lower()


def plus(seconds: int) -> Callable[[str], str]:
    def shift(text: str) -> str:
        moment = datetime.datetime.fromisoformat(text.removesuffix("Z"))
        moved = (moment + datetime.timedelta(seconds=seconds)).isoformat()
        return moved + "Z" * text.endswith("Z")

    return shift


MUTATIONS: dict[str, Callable[[list[EventDict]], Any]] = {
    "an integer becomes a float": setting("big", lambda v: float(v + 1)),
    "an unsigned integer becomes a float": setting("huge", lambda v: float(v + 1)),
    "an integer becomes text": setting("big", str),
    "an integer wraps around": setting("huge", lambda v: v - 2**64),
    "an integer is off by one": setting("big", lambda v: v + 1),
    "a fraction is rounded": setting("small", lambda v: round(v, 0)),
    "a fraction is of 32 bits": setting("small", lambda v: v + 1e-9),
    "a decimal is truncated": setting("price", int),
    "a decimal is scaled": setting("price", lambda v: v * 100),
    "a decimal becomes text": setting("price", str),
    "a boolean becomes an integer": setting("flag", int),
    "a boolean becomes text": setting("flag", lambda v: str(v).lower()),
    "text is stripped": setting("text", str.strip),
    "text is lowered": setting("text", str.lower),
    "text is cut": setting("text", lambda v: v[:5]),
    "text is cut too early": setting("long", lambda v: v[:126]),
    "text is another encoding's": setting("long", lambda v: v.encode().decode("latin-1")[:255]),
    "a null becomes empty": setting("maybe", lambda v: "" if v is None else v),
    "a null becomes zero": setting("maybe", lambda v: v or 0),
    "a value becomes null": first("maybe", lambda v: None),
    "a property is missing": each(lambda p: p.pop("small")),
    "a property is renamed": each(renamed),
    "a property is invented": each(lambda p: p.update(more=1)),
    "two properties are swapped": each(swapped),
    "a column moves by a row": other_rows,
    "a timestamp is shifted by its zone": setting("moment", plus(7200)),
    "a timestamp loses its zone": setting("moment", lambda v: v.removesuffix("Z")),
    "a timestamp gains a zone": setting("wall", lambda v: v + "Z"),
    "a timestamp loses its fraction": setting("moment", lambda v: v[:19] + "Z"),
    "a timestamp becomes a number": setting("moment", lambda v: AT),
    "a day is off by one": setting("day", lambda v: "2024-05-07"),
    "a clock loses its seconds": setting("clock", lambda v: v[:5]),
    "a duration is in milliseconds": setting("took", lambda v: v * 1000),
    "bytes are in hex": setting("raw", lambda v: "00ff"),
    "a list is sorted": setting("tags", lambda v: ["a", "b", None]),
    "a list loses its nulls": setting("tags", lambda v: v[:2]),
    "a list becomes text": setting("tags", lambda v: ",".join(v[:2])),
    "an object is flattened": setting("nested", lambda v: {**v, **v.pop("deep")}),
    "an object's number is rounded": setting("nested", lambda v: {**v, "deep": {"x": 2}}),
    "the time is in whole seconds": setting("time", lambda v: v // 1000 * 1000),
    "the time is shifted by an hour": setting("time", lambda v: v + 3_600_000),
    "the time is off by a day": setting("time", lambda v: v + 86_400_000),
    "the user is lowered": setting("distinct_id", str.lower),
    "all users are one": setting("distinct_id", lambda v: "User0"),
    "the event is lowered": lower_name,
    "ids are merged": one_id,
    "ids are cut": setting("$insert_id", lambda v: v[:-1]),
    "ids are new": setting("$insert_id", lambda v: f"n{v}"),
    "an event is missing": lambda events: events.pop(),
    "an event came twice under another id": lambda events: events.append(
        copy.deepcopy(events[0]) | {"properties": {**events[0]["properties"], "$insert_id": "x"}}
    ),
    "what was to be hashed is not": setting("email", lambda v: "0@example.com"),
    "what was to be hashed has another key": setting("email", lambda v: v[::-1]),
    "what was to be dropped is there": each(lambda p: p.update(password="secret")),
}


def test_a_correct_import_is_proven(
    stored: list[EventDict], verified: Callable[[list[EventDict]], Verification]
) -> None:
    result = verified(stored)
    assert result.proven, render(result)
    assert (
        result.sentence
        == f"Mixpanel holds all {ROWS} events of the input, each once and unaltered."
    )


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_mutation_is_noticed(
    name: str, stored: list[EventDict], verified: Callable[[list[EventDict]], Verification]
) -> None:
    events = copy.deepcopy(stored)
    MUTATIONS[name](events)
    assert orjson.dumps(events) != orjson.dumps(stored), "the mutation changes something"
    result = verified(events)
    assert not result.proven
    assert result.missing or result.altered or result.unexpected
