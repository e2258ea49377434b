"""What a column of each type, and each kind of dict, costs to encode: microseconds of CPU an event.

    python -m benchmarks.types --rows 20000

The orders of the other benchmarks with one more column, or as dicts.
"""

from __future__ import annotations

import argparse
import datetime
import decimal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from benchmarks import data, mappings, report
from benchmarks.events import to_event
from mixpanel_sink import EventMapping
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.chunk import EventChunk
from mixpanel_sink.batch.runs import Run
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.event_tables import EventTables
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.raw_events import RawEventEncoder
from mixpanel_sink.encode.tables import encode_slice, table_of

MOMENT = datetime.datetime(2024, 2, 29, 12, 30, 15, 250_000)
_MAP = pa.map_(pa.string(), pa.int32())
COLUMNS: dict[str, Callable[[int], pa.Array]] = {
    "none more": lambda rows: pa.nulls(rows),
    "text": lambda rows: pa.array([f"text {i}" for i in range(rows)]),
    "text with quotes": lambda rows: pa.array([f'"text" {i}' for i in range(rows)]),
    "timestamp with fractions": lambda rows: pa.array([MOMENT] * rows),
    "decimal, 38 digits": lambda rows: _decimals(rows, pa.decimal128(38, 2)),
    "decimal, 256 bits": lambda rows: _decimals(rows, pa.decimal256(50, 2)),
    "binary": lambda rows: pa.array([b"binary"] * rows),
    "dictionary of integers": lambda rows: pa.array(
        [i % 9 for i in range(rows)]
    ).dictionary_encode(),
    "list of text": lambda rows: pa.array([["a", "b"]] * rows),
    "struct": lambda rows: pa.array([{"a": 1, "b": "x"}] * rows),
    "list of struct": lambda rows: pa.array([[{"a": 1, "b": "x"}]] * rows),
    "map": lambda rows: pa.array([[("b", 1), ("a", 2)]] * rows, _MAP),
    "list of map": lambda rows: pa.array([[[("a", 1)]]] * rows, pa.list_(_MAP)),
    "list view": lambda rows: pa.array([["a", "b"]] * rows, pa.list_view(pa.string())),
    "decimal of negative scale": lambda rows: _decimals(rows, pa.decimal128(6, -2), "1.2E+4"),
    "extension type": lambda rows: pa.array([b"0123456789abcdef"] * rows, pa.uuid()),
}
COLUMNAR = "columnar"
TIME_AS_TEXT = "time as text (iso8601)"


def cost(column: pa.Array | None, table: pa.Table, mapping: EventMapping) -> tuple[float, str]:
    """Microseconds of CPU an event, and the way that the table goes."""
    if column is not None:
        table = table.append_column("more", column)
    columnar = ColumnarEncoder(mapping, Limits())
    records = MappedEventEncoder(mapping, Limits())
    found, odd = [], 0
    for _ in range(3):
        start, odd = time.process_time(), 0
        for piece in columnar.encode(table):
            rows = piece.leftover.tolist()
            odd += len(rows)
            for record in rows_as_records(table, rows):
                records.encode(record)
        found.append((time.process_time() - start) / len(table) * 1e6)
    way = "row by row" if odd else "value by value" if columnar.by_value(table.schema) else COLUMNAR
    return statistics.median(found), way


def costs(rows: int) -> Iterator[tuple[str, float, str]]:
    """Each type of column, its cost, and the table's way."""
    table = next(data.tables(rows))
    mapping = EventMapping.from_yaml(mappings.MAPPING_BY_COLUMN)
    for name, make in COLUMNS.items():
        yield name, *cost(make(rows), table, mapping)
    texts = pa.array([MOMENT.isoformat()] * rows)
    table = table.set_column(table.schema.get_field_index("occurred_at"), "occurred_at", texts)
    by_text = mappings.MAPPING_BY_COLUMN.replace("unit: ms", "unit: iso8601")
    yield TIME_AS_TEXT, *cost(None, table, EventMapping.from_yaml(by_text))


RECORDS: dict[str, Callable[[int, dict[str, Any]], dict[str, Any]]] = {
    "as they are": lambda number, record: record,
    "with a list and an object": lambda number, record: (
        record | {"tags": ["a", "b"], "page": {"url": "/", "number": number}}
    ),
    "every third without a key": lambda number, record: (
        record | {"coupon": "C"} if number % 3 else record
    ),
    "integers and floats in one key": lambda number, record: (
        record | {"price": number} if number % 2 else record
    ),
    "with a decimal": lambda number, record: record | {"price": decimal.Decimal(number)},
}


EVENTS = "raw events"


def record_costs(rows: int) -> Iterator[tuple[str, float, float]]:
    """Kinds of dicts, and their cost together and one by one, compression included."""
    mapping = EventMapping.from_yaml(mappings.MAPPING_BY_COLUMN)
    plain = rows_as_records(next(data.tables(rows)), range(rows))
    columnar = ColumnarEncoder(mapping, Limits())
    one_by_one = MappedEventEncoder(mapping, Limits())

    def together(records: Sequence[dict[str, Any]]) -> None:
        table = table_of(records, mapping)
        assert table is not None
        encode_slice(columnar, table, None, [Run(len(records), 0, ())], Limits())

    def singly(records: Sequence[dict[str, Any]]) -> None:
        _compress([one_by_one.encode(record).json for record in records])

    for name, change in RECORDS.items():
        records = [change(number, record) for number, record in enumerate(plain)]
        yield name, _microseconds(together, records), _microseconds(singly, records)

    tables, checker = EventTables(Limits()), RawEventEncoder(Limits())

    def events_together(events: Sequence[dict[str, Any]]) -> None:
        found = tables.table_of(events)
        assert found is not None
        encode_slice(*found, None, [Run(len(events), 0, ())], Limits())

    def events_singly(events: Sequence[dict[str, Any]]) -> None:
        _compress([checker.encode(event).json for event in events])

    made = list(map(to_event, plain))
    yield EVENTS, _microseconds(events_together, made), _microseconds(events_singly, made)


def _compress(events: Sequence[bytes]) -> None:
    for at in range(0, len(events), 2000):
        EventChunk.of(events[at : at + 2000], [])


def _microseconds(
    way: Callable[[Sequence[dict[str, Any]]], None], records: Sequence[dict[str, Any]]
) -> float:
    found = []
    for _ in range(5):
        start = time.process_time()
        way(records)
        found.append(time.process_time() - start)
    return statistics.median(found) / len(records) * 1e6


def _decimals(rows: int, kind: pa.DataType, value: str = "1234.56") -> pa.Array:
    return pa.array([decimal.Decimal(value)] * rows, kind)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.types", description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()
    found: list[Any] = [
        [name, f"{microseconds:.1f}", way] for name, microseconds, way in costs(options.rows)
    ]
    print(report.table(("tables with one more column", "us an event", "way"), found))
    found = [[name, f"{a:.1f}", f"{b:.1f}"] for name, a, b in record_costs(options.rows // 2)]
    print(report.table(("dicts", "us an event together", "one by one"), found))


if __name__ == "__main__":
    main()
