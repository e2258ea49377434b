"""`MapRecords`: a Python function for each record, between a reader and the sink.

Records stay together in blocks: one Beam element for thousands of them, with their file and row.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import apache_beam as beam
import pyarrow as pa

from mixpanel_sink import coders
from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.elements import check_elements
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.records import as_mapping
from mixpanel_sink.encode.tables import slice_rows
from mixpanel_sink.errors import RecordError, kind_of
from mixpanel_sink.report import metrics
from mixpanel_sink.results import FUNCTION_FAILED, FailedRecord
from mixpanel_sink.results.shown import record_as_json

coders.register()

BLOCK_RECORDS = 10_000
"""Records of one block: as dicts they take ten times the memory of Arrow's form."""


class MapRecords(beam.PTransform):
    """Applies a Python function to each record; put it right before `WriteToMixpanel`.

        tables = pipeline | ReadParquetTables("gs://shop/orders/*.parquet")
        tables.tables | MapRecords(with_margin) | WriteToMixpanel(mapping, credentials)

    It takes all that `WriteToMixpanel` takes, such as tables and the blocks of `ReadRecords`, and
    gives blocks, for the sink alone. Where the file and row of a record are known they stay known,
    for position ids, the checkpoint and failures; and a record costs a fraction of what it does as
    a Beam element of its own.

    Args:
        fn: takes a record as a dict, which it may change, and returns the record that goes on: the
            same dict or another, or a Mixpanel event where the sink has no mapping. None leaves
            the record out (counter `records_left_out`). Of a table, values are Python's, with
            timestamps in UTC if they have a zone; one that Python has no form for (digits
            beyond microseconds) is an Arrow scalar. If fn raises, the record is a `FailedRecord`
            of the sink (`function_failed`), and the others go on.

    Raises:
        TypeError: when the pipeline is built, if fn is not a function.
        SettingError: when it is applied to what holds no records, such as lines of text.
    """

    def __init__(self, fn: Callable[[dict[Any, Any]], Any]) -> None:
        super().__init__()
        if not callable(fn):
            raise TypeError(f"MapRecords takes a function of a record, not {kind_of(fn)}.")
        self._fn = fn

    def expand(self, records: Any) -> Any:
        """Builds the flow: one stage."""
        check_elements(type(self).__name__, records)
        mapped = records | "Map" >> beam.ParDo(_Map(self._fn))
        mapped.element_type = RecordBlock  # for its coder; there are failed records among them
        return mapped

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return {"fn": _name(self._fn)}

    def default_label(self) -> str:
        """As Beam's own Map has it."""
        return f"MapRecords({_name(self._fn)})"


class _Map(beam.DoFn):
    def __init__(self, fn: Callable[[dict[Any, Any]], Any]) -> None:
        self._fn = fn

    def process(self, element: Any) -> Iterator[Any]:
        if isinstance(element, pa.RecordBatch):
            element = pa.Table.from_batches([element])
        if isinstance(element, pa.Table):
            yield from self._table(element)
        elif isinstance(element, RecordBlock):
            records = element.records
            fresh = map(dict, records)
            yield from self._block(fresh, records.__getitem__, element.origin, element.offsets)
        elif isinstance(element, FailedRecord):
            yield element
        else:
            yield from self._one(element)

    def _table(self, table: pa.Table) -> Iterator[Any]:
        place = TableOrigin.of(table)
        step = min(BLOCK_RECORDS, slice_rows(table, 1))
        for start in range(0, len(table), step):
            part = table.slice(start, step)

            def as_read(row: int, part: pa.Table = part) -> Mapping[Any, Any]:
                return rows_as_records(part, [row])[0]

            fresh = rows_as_records(part, range(len(part)))
            first, offsets = (None, None) if place is None else place.at(start).parts()
            yield from self._block(fresh, as_read, first, offsets)

    def _block(
        self,
        fresh: Iterable[dict[Any, Any]],
        as_read: Callable[[int], Mapping[Any, Any]],
        origin: TableOrigin | None,
        offsets: Any,
    ) -> Iterator[Any]:
        """One block of what the function makes of them, and those that fail.

        Args:
            fresh: the records, which the function may change.
            as_read: gives one of them by its number, unchanged.
            origin: of the block.
            offsets: of the records from there, as in `RecordBlock`.
        """
        fn = self._fn
        made: list[Mapping[Any, Any]] = []
        gone: set[int] = set()
        count = left_out = 0
        for number, record in enumerate(fresh):
            count += 1
            try:
                result = fn(record)
                if result is not None:
                    # One dict may be given again and again, and a defaultdict makes up keys.
                    made.append(record if result is record else dict(as_mapping(result)))
                    continue
                left_out += 1
            except Exception as error:  # whatever the function may raise
                failed = _failed(error, fn, as_read(number))
                if origin is not None:
                    place = origin.source(number if offsets is None else offsets[number])
                    failed = failed._replace(file=place.file, row=place.row)
                yield failed
            gone.add(number)
        if left_out:
            metrics.count("records_left_out", left_out)
        if gone:
            stay = (number for number in range(count) if number not in gone)
            offsets = [number if offsets is None else offsets[number] for number in stay]
        if made:
            yield RecordBlock(made, origin, offsets)

    def _one(self, element: Any) -> Iterator[Any]:
        try:
            record = as_mapping(element)
        except RecordError:  # the sink says what it is
            yield element
            return
        for block in self._block([dict(record)], lambda _: record, None, None):
            yield from block.records if isinstance(block, RecordBlock) else [block]


def _failed(error: Exception, fn: Any, record: Mapping[Any, Any]) -> FailedRecord:
    # The text of an exception may hold values that privacy hides; its kind and place do not.
    if isinstance(error, RecordError):
        what = "gave something that is neither a record nor None"
    else:
        own = traceback.extract_tb(error.__traceback__)[1:2]  # below the call of it
        at = "".join(f" at {os.path.basename(frame.filename)}:{frame.lineno}" for frame in own)
        what = f"raised {type(error).__name__}{at}"
    return FailedRecord(
        reason=FUNCTION_FAILED,
        message=f"{_name(fn)} {what}. Call it with this record to see more, fix it, and run the "
        "pipeline again.",
        record_json=record_as_json(dict(record)),
    )


def _name(fn: Any) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__))
