"""`ReplaceLookupTable`: a bounded PCollection becomes the content of a lookup table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from mixpanel_sink import coders
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.elements import check_elements
from mixpanel_sink.encode.lookup_table import RowReader, Rows, make_table
from mixpanel_sink.errors import SettingError
from mixpanel_sink.send.lookup_table import TableResult, replace_table
from mixpanel_sink.settings.credentials import Credentials
from mixpanel_sink.settings.lookup_table import TableJob
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.windowing import GLOBAL

coders.register()


class ReplaceLookupTable(beam.PTransform):
    """Replaces the content of a Mixpanel lookup table by the rows of a bounded PCollection, all or
    nothing: if one row is bad, the pipeline fails and the table stays as it was.

    Elements may be dicts, `beam.Row`s, named tuples, or `pyarrow.Table`s. The table's rows are
    gathered on one worker: Mixpanel takes 100 MB of CSV at most.

    Args:
        id: of the table, which must have been created on Mixpanel's page.
        credentials: a `ServiceAccount`, or an `ApiSecret`.
        key: the column with the key, which must be unique; it comes first. None if it does already.
        columns: to send, in their order; a row without one of them has an empty cell there. By
            default every row must have the same columns, and all are sent.
        region: "us" (default), "eu" or "in".
        endpoint: a base URL instead of a region, for tests and proxies.
        allow_http: permit an unencrypted endpoint on another machine.
        retry: how long to try; 100 replacements in 24 hours are allowed.
        checkpoint: a folder, local or gs://, that remembers what was sent: the same rows are not
            sent again.
        force: send them all the same.

    Returns:
        PCollection of one `TableResult`: id, columns, rows, bytes, replaced and requests.

    Raises:
        SettingError: when the pipeline is built, if a setting is wrong.
    """

    def __init__(
        self,
        id: str,
        credentials: Credentials,
        *,
        key: str | None = None,
        columns: Sequence[str] = (),
        region: str | None = None,
        endpoint: str | None = None,
        allow_http: bool = False,
        retry: RetryPolicy | None = None,
        checkpoint: str | None = None,
        force: bool = False,
    ) -> None:
        super().__init__()
        destination = Destination.of(region, endpoint, allow_http)
        policy = RetryPolicy() if retry is None else retry
        self._job = TableJob(id, credentials, destination, key, columns, policy, checkpoint, force)
        RowReader(key, self._job.columns)  # what is wrong with these shows now

    def display_data(self) -> dict[str, Any]:
        """What runners show; no secrets and no references to them."""
        job = self._job
        return {"table": job.id, "host": job.destination.host, "key": job.key or "(first column)"}

    def expand(self, rows: Any) -> Any:
        """Builds the flow: rows, as CSV in parts, and then one request."""
        check_elements(type(self).__name__, rows)
        if not rows.is_bounded:
            raise SettingError(
                "A lookup table is replaced as a whole, so its input must be bounded. Give "
                "ReplaceLookupTable a bounded PCollection."
            )
        parts = rows | "As CSV" >> beam.ParDo(_Read(self._job)).with_output_types(Rows)
        parts._windowing = GLOBAL
        once = rows.pipeline | "Once" >> beam.Create([None])
        return once | "Replace" >> beam.Map(
            _replace, beam.pvalue.AsIter(parts), self._job
        ).with_output_types(TableResult)


class _Read(beam.DoFn):
    """Gathers the rows of a bundle."""

    def __init__(self, job: TableJob) -> None:
        self._job = job

    def start_bundle(self) -> None:
        self._reader = RowReader(self._job.key, self._job.columns)

    def process(self, element: Any) -> None:
        self._reader.add(element)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        rows, self._reader = self._reader.rows, RowReader(self._job.key, self._job.columns)
        yield WindowedValue(rows, MIN_TIMESTAMP, (GlobalWindow(),))


def _replace(_: None, parts: Iterable[Rows], job: TableJob) -> TableResult:
    return replace_table(make_table(parts), job)
