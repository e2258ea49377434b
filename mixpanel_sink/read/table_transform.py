"""Tables of other systems on a pipeline's workers, as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from mixpanel_sink import coders
from mixpanel_sink.read.bigquery import BigQueryTable
from mixpanel_sink.read.in_turns import AllOfThem
from mixpanel_sink.read.shown import shown
from mixpanel_sink.read.source import Element
from mixpanel_sink.read.tables import Table
from mixpanel_sink.read.transform import ReadResult
from mixpanel_sink.read.watermark import Watermark, largest
from mixpanel_sink.report import lineage
from mixpanel_sink.results import FailedRecord

coders.register()
_WATERMARK = "watermark"


class ReadTable(beam.PTransform):
    """Reads a table; its parts side by side, by as many workers as there are.

    A table that breaks off fails the pipeline: nothing is unreadable.

    Args:
        table: to read.
        columns: of it; None for all.
        in_turns: one part after the other, each in a bundle of its own.
        since: column of which the largest value is wanted.

    Returns:
        ReadResult: elements, and an empty PCollection of unreadable files.
    """

    def __init__(
        self,
        table: Table,
        columns: Sequence[str] | None = None,
        *,
        in_turns: bool = False,
        since: str | None = None,
    ) -> None:
        super().__init__()
        self._since = since
        self._table = table
        self._columns = columns
        self._in_turns = in_turns

    def expand(self, pbegin: Any) -> ReadResult:
        """Builds the flow: the table, its parts, their rows."""
        parts = (
            pbegin
            | "Table" >> beam.Create([b""])
            | "List parts"
            >> beam.ParDo(_ListParts(self._table, self._columns)).with_output_types(bytes)
        )
        if self._in_turns:
            parts = parts | "Gather parts" >> beam.combiners.ToList()
            read: beam.DoFn = _ReadInTurns(self._table, self._since)
        else:
            parts = parts | "Spread parts" >> beam.Reshuffle()
            read = _ReadPart(self._table, self._since)
        watermarks = None
        if self._since is None:
            elements = parts | "Read" >> beam.ParDo(read)
        else:
            found = parts | "Read" >> beam.ParDo(read).with_outputs(_WATERMARK, main="elements")
            elements, watermarks = found.elements, found[_WATERMARK]
        elements.element_type = self._table.element_type  # for its coder
        failed = pbegin | "None unreadable" >> beam.Create([])
        failed.element_type = FailedRecord
        return ReadResult(elements, failed, watermarks=watermarks)

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return shown(
            table=self._table.name,
            columns=self._columns,
            since=self._since,
            in_turns=self._in_turns or None,
        )


class ReadBigQueryTables(beam.PTransform):
    """Reads a BigQuery table, or the result of a query, as `pyarrow.Table`s.

    The session is opened, and the query run, when the pipeline runs; its streams are then read by
    as many workers as there are. BigQuery promises no order, so rows have no position: give the
    mapping an `insert_id` of key columns, or `ContentId()`.

    Args:
        source: what to read; a text is a table, "bq://PROJECT.DATASET.TABLE".

    Returns:
        A PCollection of `pyarrow.Table`, for `WriteToMixpanel`.

    Raises:
        InputError: on the workers, if the table is missing or forbidden, or the query fails.
    """

    def __init__(self, source: BigQueryTable | str) -> None:
        super().__init__()
        self._source = BigQueryTable(source) if isinstance(source, str) else source

    def expand(self, pbegin: Any) -> Any:
        """Builds the flow: one session, its streams, their tables."""
        return (pbegin | "BigQuery" >> ReadTable(self._source)).elements

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return {"source": self._source.name}


class _ListParts(beam.DoFn):
    def __init__(self, table: Table, columns: Sequence[str] | None) -> None:
        self._table = table
        self._columns = columns

    def process(self, _: bytes) -> Iterator[bytes]:
        if isinstance(self._table, BigQueryTable) and self._table.table:
            lineage.read_table(self._table.path)
        yield from self._table.parts(self._columns)


class _ReadPart(beam.DoFn):
    """Reads a part, and tells its largest value at the end, if that is wanted."""

    def __init__(self, table: Table, since: str | None) -> None:
        self._table = table
        self._since = since

    def process(self, part: bytes) -> Iterator[Any]:
        found: list[Watermark] = []
        for element in self._table.elements(part):
            if self._since is not None and isinstance(element, pa.Table):
                last = largest(element, self._since)
                found = [max([*found, last])] if last is not None else found
            yield element
        for last in found:
            yield beam.pvalue.TaggedOutput(_WATERMARK, tuple(last))


class _ReadInTurns(_ReadPart):
    """Reads a list of parts, one a bundle."""

    def process(  # type: ignore[override]
        self,
        parts: Sequence[bytes],
        tracker: Any = beam.DoFn.RestrictionParam(AllOfThem()),  # noqa: B008
    ) -> Iterator[Element]:
        number = tracker.current_restriction().start
        if number < len(parts) and tracker.try_claim(number):
            yield from super().process(parts[number])
            tracker.defer_remainder()
