"""Tables of other systems on a pipeline's workers, as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa

from mixpanel_sink import coders
from mixpanel_sink.read.bigquery import BigQueryTable
from mixpanel_sink.read.source import Element
from mixpanel_sink.read.tables import Table
from mixpanel_sink.read.transform import ReadResult
from mixpanel_sink.results import FailedRecord

coders.register()


class ReadTable(beam.PTransform):
    """Reads a table; its parts side by side, by as many workers as there are.

    A table that breaks off fails the pipeline: nothing is unreadable.

    Args:
        table: to read.
        columns: of it; None for all.

    Returns:
        ReadResult: elements, and an empty PCollection of unreadable files.
    """

    def __init__(self, table: Table, columns: Sequence[str] | None = None) -> None:
        super().__init__()
        self._table = table
        self._columns = columns

    def expand(self, pbegin: Any) -> ReadResult:
        """Builds the flow: the table, its parts, their rows."""
        elements = (
            pbegin
            | "Table" >> beam.Create([b""])
            | "List parts" >> beam.ParDo(_ListParts(self._table, self._columns))
            | "Spread parts" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_ReadPart(self._table)).with_output_types(pa.Table)
        )
        failed = pbegin | "None unreadable" >> beam.Create([])
        failed.element_type = FailedRecord
        return ReadResult(elements, failed)

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return {"table": self._table.name}


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
        yield from self._table.parts(self._columns)


class _ReadPart(beam.DoFn):
    def __init__(self, table: Table) -> None:
        self._table = table

    def process(self, part: bytes) -> Iterator[Element]:
        yield from self._table.elements(part)
