"""The proof notices an encoder that is broken at its root.

Here nothing is done to the events afterwards: a function of the conversion itself is replaced by
one with a mistake, the import's own code makes the events of it, and `verify` must not call them
equal. If the proof used that function, it would make the same mistake and notice nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import types

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.inspect.verify import Verification, render
from mixpanel_sink.stages.local import convert_tables
from tests.inspect.verify.test_mutations import MAPPING, PRIVACY, source, table, verified

__all__ = ["source", "verified"]  # fixtures

Verified = Callable[[list[dict[str, Any]]], Verification]
_COLUMNAR = "mixpanel_sink.encode.columnar"
_RECORDS = "mixpanel_sink.encode.mapped_events"
_VALUES = "mixpanel_sink.api.values"


def on(
    is_kind: Callable[[pa.DataType], bool], change: Callable[[pl.Expr], pl.Expr]
) -> Callable[[Any], Any]:
    """A mistake in the columns of one type."""

    def broken(convert: Any) -> Any:
        def wrong(expr: pl.Expr, kind: pa.DataType) -> pl.Expr:
            right: pl.Expr = convert(expr, kind)
            return change(right) if is_kind(kind) else right

        return wrong

    return broken


def after(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A mistake in what a function gives."""
    return lambda right: lambda *given, **named: change(right(*given, **named))


def later(time: Any) -> Any:
    return dataclasses.replace(time, ticks=time.ticks + 3_600_000)


def swapped(plan: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Two columns under each other's names."""
    other = {"text": "day", "day": "text"}
    return [(name, other.get(column, column)) for name, column in plan]


def truncated(_: Any) -> Any:
    return lambda values, kind: pl.Series(
        values.name,
        [
            None if value is None else {"text": str(int(value)), "exact": None}
            for value in values.to_list()
        ],
        pl.Struct({"text": pl.String, "exact": pl.String}),
    )


TABLES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "fractions are rounded": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_float64, lambda expr: expr.round(0)),
    ),
    "integers are cut to 32 bits": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_int64, lambda expr: expr % 2**32),
    ),
    "unsigned integers become floats": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_uint64, lambda expr: expr.cast(pl.Float64) + 4096.0),
    ),
    "booleans are inverted": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_boolean, lambda expr: ~expr),
    ),
    "texts are stripped": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_string, lambda expr: expr.str.strip_chars()),
    ),
    "texts are cut": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_string, lambda expr: expr.str.head(100)),
    ),
    "bytes are in hex": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_binary, lambda expr: expr.str.decode("base64").bin.encode("hex")),
    ),
    "days are off by one": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_date, lambda expr: expr.str.replace("-06", "-07")),
    ),
    "times of day lose their fraction": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_time, lambda expr: expr.str.head(8)),
    ),
    "durations are in milliseconds": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_duration, lambda expr: expr * 1000),
    ),
    "nulls become zero": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_int64, lambda expr: expr.fill_null(0)),
    ),
    "nulls in lists are dropped": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_list, lambda expr: expr.list.drop_nulls()),
    ),
    "lists are sorted": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_list, lambda expr: expr.list.sort(nulls_last=True)),
    ),
    "objects lose a key": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_struct, lambda expr: pl.struct(expr.struct.field("n"))),
    ),
    "decimals are truncated": (f"{_COLUMNAR}.columns.texts", truncated),
    "timestamps are shifted by their zone": (
        f"{_COLUMNAR}.columns.timestamp_texts",
        after(lambda texts: texts.str.replace("T07", "T09")),
    ),
    "timestamps lose their fraction": (
        f"{_COLUMNAR}.columns.timestamp_texts",
        after(lambda texts: texts.str.replace(r"\.\d+", "")),
    ),
    "timestamps lose their zone": (
        f"{_COLUMNAR}.columns.timestamp_texts",
        after(lambda texts: texts.str.strip_suffix("Z")),
    ),
    "columns move by a row": (
        f"{_COLUMNAR}.columns.convert",
        on(types.is_uint64, lambda expr: expr.shift(1).fill_null(0)),
    ),
    "events are an hour late": (f"{_COLUMNAR}.plan.time_of", after(later)),
    "users are merged": (
        f"{_COLUMNAR}.identity._user_text",
        after(lambda found: (pl.lit("User0").repeat_by(1).list.first(), found[1])),
    ),
    "users are lowered": (
        f"{_COLUMNAR}.identity._user_text",
        after(lambda found: (found[0].str.to_lowercase(), found[1])),
    ),
    "ids are cut": (
        f"{_COLUMNAR}.identity._insert_id",
        after(lambda part: dataclasses.replace(part, expr=part.expr.str.head(5))),
    ),
    "ids are merged": (
        f"{_COLUMNAR}.identity._insert_id",
        after(lambda part: dataclasses.replace(part, expr=part.expr.str.head(3) + "-x")),
    ),
    "hashes have no key and no name": (
        "mixpanel_sink.encode.redaction.Masker._hashed_column",
        lambda right: (
            lambda masker, column, name: pa.chunked_array([pa.array(["same"] * len(column))])
        ),
    ),
    "two columns are swapped": (
        "mixpanel_sink.settings.mapping.EventMapping.plan",
        after(swapped),
    ),
    "the last column is left out": (
        "mixpanel_sink.settings.mapping.EventMapping.plan",
        after(lambda plan: plan[:-1]),
    ),
}

RECORDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "fractions are rounded": (f"{_RECORDS}._as_json", after(
        lambda value: round(value) if type(value) is float else value
    )),
    "decimals are truncated": (f"{_VALUES}._decimal", after(int)),
    "timestamps lose their fraction": (
        f"{_VALUES}.timestamp_text",
        after(lambda text: text[:19] + "Z" * text.endswith("Z")),
    ),
    "timestamps keep the clock of their zone": (
        f"{_VALUES}.timestamp_text",
        lambda right: lambda value, field: right(
            (value + datetime.timedelta(hours=2)) if value.tzinfo else value, field
        ),
    ),
    "durations are in microseconds": (
        f"{_VALUES}.seconds",
        lambda right: lambda ticks, unit: ticks,
    ),
    "keys of objects are renamed": (
        f"{_RECORDS}.json_text",
        after(lambda text: text and text.replace(',"n":', ',"m":')),
    ),
    "events are an hour late": (f"{_RECORDS}.to_ms", after(lambda ms: ms + 3_600_000)),
    "users are merged": (f"{_RECORDS}.user_id", after(lambda user: "User0")),
    "ids are merged": (f"{_RECORDS}.fitting_id", after(lambda given: "key-0")),
}  # fmt: skip


def _events(element: Any) -> list[dict[str, Any]]:
    """What the import stores of the input, as Mixpanel would give it back."""
    outputs = convert_tables([element], MAPPING, privacy=PRIVACY)
    events = [orjson.loads(event) for chunk in outputs for event in chunk.events()]
    for event in events:
        del event["properties"]["ip"]
    return events


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> RecordBlock:
    """The same rows as dicts, which go one by one."""
    monkeypatch.setattr(MappedEventEncoder, "table_of", lambda *_: None)
    return RecordBlock(rows_as_records(table(), range(len(table()))), None)


def test_both_ways_are_proven_unbroken(block: RecordBlock, verified: Verified) -> None:
    for element in (table(), block):
        result = verified(_events(element))
        assert result.proven, render(result)


@pytest.mark.parametrize("name", TABLES)
def test_a_broken_columnar_encoder_is_noticed(
    name: str, verified: Verified, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _events(table())
    _break(monkeypatch, *TABLES[name])
    events = _events(table())
    assert orjson.dumps(events) != orjson.dumps(whole), "the mistake changes something"
    assert not verified(events).proven


@pytest.mark.parametrize("name", RECORDS)
def test_a_broken_record_encoder_is_noticed(
    name: str, block: RecordBlock, verified: Verified, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _events(block)
    _break(monkeypatch, *RECORDS[name])
    events = _events(block)
    assert orjson.dumps(events) != orjson.dumps(whole), "the mistake changes something"
    assert not verified(events).proven


def _break(monkeypatch: pytest.MonkeyPatch, path: str, broken: Callable[[Any], Any]) -> None:
    module, _, name = path.rpartition(".")
    if module.rpartition(".")[2][0].isupper():  # a method
        outer, _, cls = module.rpartition(".")
        owner = getattr(__import__(outer, fromlist=[cls]), cls)
    else:
        owner = __import__(module, fromlist=[name])
    monkeypatch.setattr(owner, name, broken(getattr(owner, name)))
