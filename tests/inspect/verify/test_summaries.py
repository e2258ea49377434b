"""What is compared by hashes is what would be compared value by value."""

from __future__ import annotations

import dataclasses
import json
import os
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from mixpanel_sink import EventMapping, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.errors import RecordError
from mixpanel_sink.inspect.verify import compare
from mixpanel_sink.inspect.verify.canonical import hashes_of_cells
from mixpanel_sink.inspect.verify.columns import of_cells, property_of
from mixpanel_sink.inspect.verify.events import Event, _same, exported_event
from mixpanel_sink.inspect.verify.exact import exact_column
from mixpanel_sink.inspect.verify.expected import Expectation
from mixpanel_sink.inspect.verify.exported import Reading, _of_events
from mixpanel_sink.inspect.verify.sides import _slice, _summary_of_events
from mixpanel_sink.inspect.verify.tables import PlainTables, Summary
from mixpanel_sink.read.raw_export import Broken
from mixpanel_sink.settings.run_mark import RunMark
from tests.encode.arrow_tables import NOW, Case, cases
from tests.inspect.verify.test_agreement import encoded, expected
from tests.inspect.verify.test_mutations import source, stored, verified

__all__ = ["source", "stored", "verified"]  # fixtures
EXAMPLES = int(os.environ.get("MIXPANEL_SINK_PROOF_EXAMPLES", "60"))
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**53, 2**53 + 1, 2**62, 2**62 + 1, -(2**63), 2**63, 2**64 - 1),
    *(0.0, -0.0, 1.0, 0.1, 0.5, 1e-300, 1e300, float(2**53), float(2**62), float(2**63)),
    *(float(2**64), 0.1 + 1e-17, 0.1 + 1e-16, -1.0, "", "0", "1", "true", "null", "None", "a", "A"),
    *("a ", "ü" * 127, "ü" * 128, "ü" * 300, "x" * 255, "x" * 256, "x" * 300, "x" * 254),
    *([], [1], [1.0], ["1"], [True], [None], [1, None], [None, 1], [1, 2], [2, 1], [[1]], "[1]"),
    *({}, {"a": 1}, {"a": 1.0}, {"a": None}, {"b": 1}, {"a": 1, "b": None}, {"a": {"b": [None]}}),
    *({"b": 2, "a": 1}, {"a": 1, "b": 2}, {"a": "x" * 300}, {"a": "x" * 255}, ["x" * 300]),
]
EXPECTED_ONLY = [Decimal("0.1"), Decimal("0.5"), Decimal("12345678901234567.1"), [Decimal("0.1")]]


def test_equal_hashes_are_equal_values_for_all_pairs() -> None:
    mistaken, missed = [], []
    given = [*VALUES, *EXPECTED_ONLY]
    ours = [hashes_of_cells("v", [value], shortened=True)[0] for value in given]
    theirs = [hashes_of_cells("v", [value])[0] for value in VALUES]
    for value, one in zip(given, ours, strict=True):
        for other, two in zip(VALUES, theirs, strict=True):
            same = _same(orjson.loads(orjson.dumps(value, float)), other)
            if one == two and not same:
                mistaken.append((value, other))
            # Text that the export has not cut is looked at by its letters.
            if same and one != two and len(orjson.dumps(other)) < 256:
                missed.append((value, other))
    assert not mistaken
    # Of floats beyond 63 bits as well.
    assert missed == [(2**63, float(2**63)), (float(2**63), 2**63)]


def test_many_cells_of_several_types_are_hashed_as_each_alone() -> None:
    together = hashes_of_cells("v", VALUES)
    assert together.tolist() == [int(hashes_of_cells("v", [value])[0]) for value in VALUES]
    assert hashes_of_cells("w", ["a"]) != hashes_of_cells("v", ["a"]), "names count"


def summarized(case: Case) -> tuple[Summary | None, Any, dict[str, set[str]]]:
    table = case.table
    if case.file_key is not None:
        table = TableOrigin("f.parquet", case.file_key, case.first_row).attach(table)
    expectation = Expectation(case.mapping, case.limits, None, case.token, NOW, case.mark)
    kinds: dict[str, set[str]] = {}
    return PlainTables(expectation, kinds).summarize(table), expected(case), kinds


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_tables_are_summarized_as_their_rows_are(case: Case) -> None:
    found, events, kinds = summarized(case)
    if found is None:
        return
    for row, event in enumerate(events):
        if not found.sure[row]:
            continue
        assert isinstance(event, Event), (row, event)
        alone = _summary_of_events([event])
        assert alone.sure[0]
        assert (found.ids[row], found.names[row]) == (event.insert_id, event.event)
        assert found.times[row] == event.time
        assert found.contents[row] == alone.contents[0], event
    _check_export(case, found, kinds)


def _check_export(case: Case, ours: Summary, kinds: dict[str, set[str]]) -> None:
    """Blocks of lines are summarized as each line, and match where the values do."""
    try:
        sent = [event for event in encoded_lines(case) if event is not None]
    except RecordError:
        return
    if not sent:
        return
    block = b"\n".join(sent)
    reading = Reading(kinds, None)
    fast, slow = reading.summary(block), _of_events([reading.event(line) for line in sent])
    for row in np.flatnonzero(fast.sure & slow.sure).tolist():
        assert fast.contents[row] == slow.contents[row], sent[row]
        assert (fast.ids[row], fast.times[row]) == (slow.ids[row], slow.times[row])


def encoded_lines(case: Case) -> list[bytes | None]:
    found: list[bytes | None] = []
    for event in encoded(case):
        if not isinstance(event, Event):
            found.append(None)
            continue
        properties = {
            **event.properties,
            **event.added,
            "time": event.time,
            "distinct_id": event.distinct_id,
            "$insert_id": event.insert_id,
        }
        found.append(orjson.dumps({"event": event.event, "properties": properties}))
    return found


def plain_table(**more: Any) -> pa.Table:
    rows = 4
    columns = {
        "name": ["a", "b", "a", "b"],
        "user": ["u1", "u2", "null", None],
        "at": [1_704_067_200_000 + row for row in range(rows)],
        "key": [f"k{row}" for row in range(rows)],
    }
    return pa.table({**columns, **more})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_durations_are_hashed_as_the_nearest_floats(unit: str) -> None:
    """Of 13 ms Polars would make 0.013000000000000001 s."""
    column = pa.chunked_array([pa.array([None, *range(2000)], pa.duration(unit))])
    one_by_one = of_cells("v", exact_column(column), drop=False)
    assert property_of("v", column, drop=False).hashes.tolist() == one_by_one.hashes.tolist()


@pytest.mark.parametrize("name", ["^a$", "*", ""])
def test_a_column_may_be_named_as_patterns_of_polars_are(name: str) -> None:
    column = pa.table({name: [True, None]}).column(0)
    one_by_one = of_cells(name, [True, None], drop=False)
    assert property_of(name, column, drop=False).hashes.tolist() == one_by_one.hashes.tolist()
    line = orjson.dumps({"event": "e", "properties": {"time": NOW, "distinct_id": "u", name: True}})
    fast = Reading({name: {"boolean"}}, None).summary(line)
    assert fast.contents[0] == _of_events([orjson.loads(line)]).contents[0]


def test_rows_of_a_file_that_are_left_out_count_in_positions() -> None:
    mapping = EventMapping(event="name", distinct_id="user", time=TimeColumn("at", "ms"))
    whole = TableOrigin("f.parquet", "0123456789abcdef0123", 7)
    expectation = Expectation(mapping, Limits(), None, None, NOW)
    table = plain_table(user=list("abcd"))
    for origin, rows in ((whole, [7, 8, 9, 10]), (whole.taking([1, 4, 5, 90]), [8, 11, 12, 97])):
        placed = origin.attach(table)
        found = PlainTables(expectation, {}).summarize(placed)
        assert found is not None
        assert found.ids.to_list() == [f"{origin.key}-{row}" for row in rows]
        alone = [event.insert_id for event in expectation.of([placed])]  # type: ignore[union-attr]
        assert alone == found.ids.to_list()
        for event in expectation.each(placed, [2]):
            assert isinstance(event, Event)
            assert event.insert_id == found.ids[2]
        sliced = _slice(placed, 2)
        found = PlainTables(expectation, {}).summarize(sliced)
        assert found is not None
        assert found.ids.to_list() == alone[2:]


def test_what_is_refused_or_not_certain_is_not_sure() -> None:
    mapping = EventMapping(
        event="name", distinct_id="user", time=TimeColumn("at", "ms"), insert_id="key"
    )
    expectation = Expectation(mapping, Limits(), None, None, NOW)
    tables = PlainTables(expectation, {})
    found = tables.summarize(plain_table())
    assert found is not None
    assert found.sure.tolist() == [True, True, False, False], "a reserved user, and none"
    deep = {"x": {"y": {"z": {"q": 1}}}}
    found = tables.summarize(plain_table(deep=[None, deep, None, None]))
    assert found is not None
    assert found.sure.tolist() == [True, False, False, False]
    assert tables.summarize(plain_table(mp_lib=[1, 2, 3, 4])) is None, "Mixpanel's own names"
    assert tables.summarize(plain_table(**{"$ignore": [True] * 4})) is None
    marked = dataclasses.replace(mapping, constants={"run": "x"})
    twice = Expectation(marked, Limits(), None, None, NOW, RunMark("run", "r"))
    assert PlainTables(twice, {}).summarize(plain_table()) is None, "refused, row by row"


@pytest.mark.parametrize(
    "lines",
    [
        b'{"event":"a","properties":{}} x\n',
        b'{"event":"a"}\n',
        b'{"event":1,"properties":{}}\n',
        b'{"event":"a","properties":{}}{"event":"b","properties":{}}\n',
        b'{"event":"a","properties":{"v":"\xff"}}\n',
        b"[]\n",
    ],
)
def test_a_line_that_is_not_one_event_breaks_the_export(lines: bytes) -> None:
    good = b'{"event":"a","properties":{"v":"x"}}\n'
    reading = Reading({"v": {"text"}}, None)
    assert len(reading.summary(good + b"\n" + good).sure) == 2
    for block in (lines, good + lines, lines + good):
        with pytest.raises(Broken):
            reading.summary(block)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("integer", [1, 2**62, 2**63, 1.0, 1.5, "1", True, None]),
        ("float", [1, 0.1, 2**53 + 1, 1e300, "0.1", None, 2**63]),
        ("text", ["a", "2024-01-01T00:00:00Z", 1, [1], None, "x" * 300]),
        ("boolean", [True, 1, "true", None]),
        ("unsigned", [2**64 - 1, 0, -1, 1.0]),
    ],
)
def test_values_of_other_types_than_the_inputs_are_not_made_alike(
    kind: str, values: list[Any]
) -> None:
    for value in values:
        properties = {"v": value, "time": 1_704_067_200_000, "distinct_id": "u"}
        line = json.dumps({"event": "e", "properties": properties}).encode()
        fast = Reading({"v": {kind}}, None).summary(line)
        slow = Reading({"v": {"more"}}, None).summary(line)
        assert not fast.sure[0] or fast.contents[0] == slow.contents[0], value
    unknown = Reading({}, None).summary(line)
    assert unknown.sure[0] == (values[-1] is None), "a property that the input does not have"


def test_any_run_may_have_sent_an_event() -> None:
    properties = {"run": "r-1", "time": 1_704_067_200_000, "distinct_id": "u", "v": [1]}
    line = json.dumps({"event": "e", "properties": properties}).encode()
    other = line.replace(b"r-1", b"r-2")
    mark = RunMark("run", "expected")
    for kinds in ({"run": {"text"}, "v": {"more"}}, {"run": {"text"}}):
        any_run = Reading(kinds, mark).summary(line + b"\n" + other)
        assert any_run.contents[0] == any_run.contents[1]
        each = Reading(kinds, None).summary(line + b"\n" + other)
        assert each.contents[0] != each.contents[1]


def test_the_usual_types_need_no_look_at_single_values(
    stored: list[dict[str, Any]], verified: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at = []
    match = compare.match

    def spied(expected: Any, actual: Any, zone: Any = None) -> Any:
        expected, actual = list(expected), list(actual)
        looked_at.append((len(expected), len(actual)))
        return match(expected, actual, zone)

    monkeypatch.setattr(compare, "match", spied)
    assert verified(stored).proven
    assert looked_at == [(0, 0)]
    assert exported_event(stored[0]).insert_id == "key-0"
    stored[3]["properties"]["small"] += 1
    assert verified(stored).altered == 1
    assert looked_at[1:] == [(1, 3)], "each of three queries gave it"
    stored[3]["properties"]["small"] -= 1
