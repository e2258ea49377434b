"""A run's mark in events, on every path, and ids that it does not change. (That both encoders and
the proof agree about marks and salts is in test_agreement.py.)"""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest

from mixpanel_sink import ContentId, PositionId
from mixpanel_sink.api.insert_ids import salted_id
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.event_tables import EventTables
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.raw_events import RawEventEncoder
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.columns import ColumnsId
from mixpanel_sink.settings.run_mark import RunMark
from tests.encode.encoding import NOW, clock, error_of, mapping_of

ONE, TWO = RunMark("run", "one"), RunMark("run", "two")
RECORD = {"e": "Buy", "u": "ann", "t": 1_700_000_000, "a": 1, "k": "k-1"}
SOURCE = RowOrigin("f.parquet", "0123456789abcdef0123", 3)
RULES = [ContentId, PositionId, lambda salt="": ColumnsId(("k",), salt)]


def events(rule: Any, mark: RunMark | None, token: str | None = None) -> list[dict[str, Any]]:
    """The properties of one record by both encoders."""
    mapping = mapping_of(insert_id=rule)
    one = MappedEventEncoder(mapping, Limits(), token, clock, mark).encode(RECORD, SOURCE).json
    columnar = ColumnarEncoder(mapping, Limits(), token, clock, mark)
    (part,) = columnar.encode(pa.Table.from_pylist([RECORD]), SOURCE.key, SOURCE.row)
    assert not len(part.leftover)
    assert part.texts.events() == [one]
    return [orjson.loads(one)["properties"]]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("token", [None, "tok"])
def test_ids_are_those_of_an_unmarked_event(number: int, token: str | None) -> None:
    rule = RULES[number]()
    (plain,), (marked,) = events(rule, None, token), events(rule, ONE, token)
    assert marked == {**plain, "run": "one"}


@pytest.mark.parametrize("number", range(3))
def test_a_salt_renews_ids(number: int) -> None:
    make = RULES[number]
    ids = [events(make(salt), ONE)[0]["$insert_id"] for salt in ("", "2", "3")]
    assert len(set(ids)) == 3
    assert ids[1:] == [salted_id(ids[0], "2"), salted_id(ids[0], "3")]
    failed = MappedEventEncoder(mapping_of(insert_id=make("2")), Limits(), clock=clock)
    assert failed.id_of(RECORD, SOURCE) == (None if number == 0 else ids[1])


def test_a_column_of_that_name_is_refused_by_both() -> None:
    mapping = mapping_of()
    record = {**RECORD, "run": "mine"}
    encoder = MappedEventEncoder(mapping, Limits(), None, clock, ONE)
    error = error_of(lambda: encoder.encode(record))
    assert (error.reason, error.field) == ("duplicate_property", "run")
    columnar = ColumnarEncoder(mapping, Limits(), None, clock, ONE)
    (part,) = columnar.encode(pa.Table.from_pylist([record]))
    assert part.leftover.tolist() == [0]


def test_raw_events_are_marked_again() -> None:
    """An export of events that another run has sent."""
    raw = {
        "event": "Buy",
        "properties": {"distinct_id": "u", "time": NOW, "a": 1, "run": "before"},
    }
    unmarked = {"event": "Buy", "properties": {"distinct_id": "u", "time": NOW, "a": 1}}
    encoder = RawEventEncoder(Limits(), clock=clock, mark=TWO)
    bare = RawEventEncoder(Limits(), clock=clock)
    one = encoder.encode(raw).json
    expected = orjson.loads(bare.encode(unmarked).json)["properties"]
    assert orjson.loads(one)["properties"] == {**expected, "run": "two"}
    found = EventTables(Limits(), None, clock, TWO).table_of([raw])
    assert found is not None
    (part,) = found[0].encode(found[1])
    assert part.texts.events() == [one]


def test_a_replay_is_marked_with_its_own_run() -> None:
    mapped = MappedEventEncoder(mapping_of(), Limits(), None, clock, TWO)
    raw = RawEventEncoder(Limits(), clock=clock, mark=TWO)
    event = orjson.loads(
        MappedEventEncoder(mapping_of(), Limits(), None, clock, ONE).encode(RECORD).json
    )
    assert event["properties"]["run"] == "one"
    failed = FailedRecord("gave_up", "It was.", event_json=orjson.dumps(event).decode())
    for encoder in (mapped, raw):
        again = orjson.loads(encoder.replay(failed).json)["properties"]
        assert again == {**event["properties"], "run": "two"}


def test_a_checkpoint_knows_a_chunk_whichever_run_sent_it() -> None:
    def chunk(mark: RunMark | None) -> EventChunk:
        encoder = MappedEventEncoder(mapping_of(), Limits(), "tok", clock, mark)
        return EventChunk.of([encoder.encode(RECORD).json], [Run(1, 0, ("",))])

    names = {chunk(mark).identity(mark.json) for mark in (ONE, TWO)}
    assert names == {chunk(None).identity()}
    assert chunk(ONE).identity() != chunk(TWO).identity()
