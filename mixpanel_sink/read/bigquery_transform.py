"""`ReadBigQueryTables`: a BigQuery table or query on a pipeline's workers, as Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa

from mixpanel_sink import coders
from mixpanel_sink.read.bigquery import BigQueryTable, open_session, read_stream
from mixpanel_sink.read.transform import ReadResult
from mixpanel_sink.results import FailedRecord

coders.register()


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
        return (
            pbegin
            | "Session" >> beam.Create([None])
            | "List streams" >> beam.ParDo(_ListStreams(self._source))
            | "Spread streams" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_ReadStream(self._source)).with_output_types(pa.Table)
        )

    def display_data(self) -> dict[str, Any]:
        """What runners show."""
        return {"source": self._source.name}


class ReadBigQuery(beam.PTransform):
    """`ReadBigQueryTables` as a source's transform: gives a `ReadResult`."""

    def __init__(self, source: BigQueryTable) -> None:
        super().__init__()
        self._source = source

    def expand(self, pbegin: Any) -> ReadResult:
        """Builds the flow. A table that breaks off fails the pipeline: nothing is unreadable."""
        elements = pbegin | "Tables" >> ReadBigQueryTables(self._source)
        failed = pbegin | "None unreadable" >> beam.Create([])
        failed.element_type = FailedRecord
        return ReadResult(elements, failed)


class _ListStreams(beam.DoFn):
    def __init__(self, source: BigQueryTable) -> None:
        self._source = source

    def process(self, _: None) -> Iterator[tuple[bytes, str]]:
        session = open_session(self._source)
        schema = session.schema.serialize().to_pybytes()
        for stream in session.streams:
            yield schema, stream


class _ReadStream(beam.DoFn):
    def __init__(self, source: BigQueryTable) -> None:
        self._source = source

    def process(self, element: tuple[bytes, str]) -> Iterator[pa.Table]:
        schema, stream = element
        yield from read_stream(self._source, pa.ipc.read_schema(pa.py_buffer(schema)), stream)
