"""The proof and the encoders, which share no code, agree about any table: the same events, exact
values, ids and refusals. What this finds is a mistake in one of them."""

from __future__ import annotations

import os
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings

from mixpanel_sink.batch.origin import RowOrigin, TableOrigin
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.errors import RecordError
from mixpanel_sink.inspect.verify.events import Event, differences, exported_event
from mixpanel_sink.inspect.verify.expected import Expectation
from tests.encode.arrow_tables import NOW, Case, cases

EXAMPLES = int(os.environ.get("MIXPANEL_SINK_PROOF_EXAMPLES", "150"))


def expected(case: Case) -> list[Any]:
    table = case.table
    if case.file_key is not None:
        table = TableOrigin("f.parquet", case.file_key, case.first_row).attach(table)
    expectation = Expectation(case.mapping, case.limits, None, case.token, NOW, case.mark)
    return list(expectation.of([table]))


def encoded(case: Case) -> list[Any]:
    """Of each row the event, as Mixpanel would give it back, or the reason of its failure."""
    encoder = MappedEventEncoder(case.mapping, case.limits, case.token, lambda: NOW, case.mark)
    found: list[Any] = []
    for row, record in enumerate(rows_as_records(case.table, range(len(case.table)))):
        place = None
        if case.file_key is not None:
            place = RowOrigin("f.parquet", case.file_key, case.first_row + row)
        try:
            found.append(exported_event(orjson.loads(encoder.encode(record, place).json)))
        except RecordError as error:
            found.append(error.reason)
    return found


def check(case: Case) -> int:
    """Compares all values; gives how many rows were events."""
    events = 0
    for ours, theirs in zip(expected(case), encoded(case), strict=True):
        if isinstance(ours, Event) and isinstance(theirs, Event):
            events += 1
            ours = Event.from_line(ours.to_line())
            assert differences(ours, theirs) == {}
            assert ours.insert_id == theirs.insert_id
        else:
            assert not isinstance(theirs, Event), (ours, theirs)
            assert not isinstance(ours, Event), (ours, theirs)
    return events


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_the_proof_and_the_encoders_agree(case: Case) -> None:
    check(case)
