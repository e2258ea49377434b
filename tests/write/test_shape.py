"""A mapping with a shape, through the sink: every kind of element, failures, hidden columns."""

from __future__ import annotations

import json
import pathlib
import time
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixpanel_sink import ApiSecret, EventMapping, Privacy, ReadParquetTables, WriteToMixpanel
from mixpanel_sink.emulator.testing import Emulator
from tests.running import FAST, Ran, failures, reasons, run

AT = int(time.time() * 1000) - 86_400_000
SHAPE = {"json": ["payload"], "cast": {"amount": "number"}, "where": "amount > 1"}
MAPPING = EventMapping.from_dict(
    {
        "event": "name",
        "distinct_id": "user",
        "time": {"column": "at", "unit": "ms"},
        "shape": SHAPE,
    }
)


def row(number: int, **payload: Any) -> dict[str, Any]:
    given = {"user": f"u{number}", "amount": str(number), "tags": [number], **payload}
    return {"name": "Order", "at": AT, "payload": json.dumps(given)}


def write(mixpanel: Emulator, mapping: EventMapping = MAPPING, **more: Any) -> WriteToMixpanel:
    secret = ApiSecret("env:TEST_API_SECRET")
    return WriteToMixpanel(mapping, secret, endpoint=mixpanel.url, quota="none", retry=FAST, **more)


def stored(mixpanel: Emulator) -> dict[str, dict[str, Any]]:
    events = [event["properties"] for event in mixpanel.events()]
    return {each["distinct_id"]: each for each in events}


@pytest.mark.parametrize("kind", ["dicts", "rows", "table"])
def test_every_kind_of_element(mixpanel: Emulator, kind: str) -> None:
    rows = [row(n) for n in range(6)]
    elements: list[Any] = rows
    if kind == "rows":
        elements = [beam.Row(**each) for each in rows]
    elif kind == "table":
        elements = [pa.Table.from_pylist(rows)]
    ran = run(elements, write(mixpanel))
    assert not ran.failed
    found = stored(mixpanel)
    assert sorted(found) == ["u2", "u3", "u4", "u5"]
    assert found["u3"]["amount"] == 3.0
    assert found["u3"]["tags"] == [3]
    assert "payload" not in found["u3"]
    assert ran.counters["records_left_out"] == 2
    assert ran.counters["records_read"] == 4


def test_a_record_that_does_not_fit_fails_alone(mixpanel: Emulator) -> None:
    rows = [row(2), {**row(3), "payload": "{"}, row(4, amount="many"), row(5)]
    ran = run([pa.Table.from_pylist(rows)], write(mixpanel))
    assert reasons(ran) == ["shape_failed", "shape_failed"]
    assert {failure.field for failure in failures(ran)} == {"payload", "amount"}
    assert sorted(stored(mixpanel)) == ["u2", "u5"]
    assert not any(failure.can_be_sent for failure in failures(ran))


def test_hidden_columns_stay_hidden(mixpanel: Emulator) -> None:
    """Of what was unpacked, too; and a record that did not fit shows nothing."""
    rows = [row(2, email="a@example.com"), {**row(3), "payload": '{"email": "b@example.com"'}]
    privacy = Privacy(drop=["email"])
    ran = run([pa.Table.from_pylist(rows)], write(mixpanel, privacy=privacy))
    assert "email" not in stored(mixpanel)["u2"]
    (failure,) = failures(ran)
    assert "example.com" not in failure.to_json()


def ids_of(
    path: pathlib.Path, mixpanel: Emulator, mapping: EventMapping
) -> tuple[Ran, dict[str, str]]:
    source = beam.Create([None]) | ReadTables(path)
    ran = run(source, write(mixpanel, mapping))
    return ran, {user: each["$insert_id"] for user, each in stored(mixpanel).items()}


class ReadTables(beam.PTransform):
    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self._path = path

    def expand(self, pbegin: Any) -> Any:
        return (pbegin.pipeline | ReadParquetTables(str(self._path))).tables


def test_position_ids_are_those_of_the_files_rows(mixpanel: Emulator, tmp_path: Any) -> None:
    path = tmp_path / "orders.parquet"
    pq.write_table(pa.Table.from_pylist([row(n) for n in range(100)]), path)
    shape = {**SHAPE, "where": "amount >= 90"}
    some = EventMapping.from_dict({**MAPPING.to_dict(), "shape": shape})
    ran, few = ids_of(path, mixpanel, some)
    assert len(few) == 10
    mixpanel.reset()
    _, many = ids_of(path, mixpanel, MAPPING)
    assert len(many) == 98
    assert {user: many[user] for user in few} == few
    assert few["u90"].endswith("-90")
    assert ran.counters["records_left_out"] == 90
