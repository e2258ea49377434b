"""Events and ids are those of earlier versions: a change doubles what Mixpanel has."""

import hashlib
import json
import pathlib

import pytest

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from tests.encode.sample_tables import NOW, TABLES, sample

STORED = json.loads(pathlib.Path(__file__).with_name("samples.json").read_text())
"""Of each table: rows that became events, those left over, and a hash of the events' bytes."""
FIRST_ROW = 5


@pytest.mark.parametrize("number", range(TABLES))
def test_events_are_as_they_were(number: int) -> None:
    table, mapping, token, key = sample(number)
    one_by_one = MappedEventEncoder(mapping, Limits(), token, lambda: NOW)
    events, again, left = hashlib.sha256(), hashlib.sha256(), 0
    rows = 0
    for part in ColumnarEncoder(mapping, Limits(), token, lambda: NOW).encode(
        table, key, FIRST_ROW
    ):
        events.update(b"".join(part.texts.lines(0, len(part.texts))))
        left += len(part.leftover)
        numbers = part.rows.tolist()
        rows += len(numbers)
        for row, record in zip(numbers, rows_as_records(table, numbers), strict=True):
            place = None if key is None else RowOrigin("f", key, FIRST_ROW + row)
            again.update(b"\n," + one_by_one.encode(record, place).json)
    assert [rows, left, events.hexdigest()[:32]] == STORED[number]
    assert again.digest() == events.digest()
