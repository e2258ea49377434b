"""What BigQuery's REST API is asked before rows are read: to run a query, and how a table is
partitioned. And what its refusals mean."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mixpanel_sink import extras
from mixpanel_sink.errors import InputError, SettingError

if TYPE_CHECKING:
    from mixpanel_sink.read.bigquery import BigQueryTable

_FORMS = {4: "%Y", 6: "%Y%m", 8: "%Y%m%d", 10: "%Y%m%d%H"}
"""Partitions by the number of their digits: years, months, days, hours."""


def run_query(source: BigQueryTable) -> str:
    """Runs the query to its end; gives the table that BigQuery keeps its result in for a day.

    Raises:
        InputError: if it fails.
    """
    with errors_of(source):
        job = _client(source.payer).query(source.query)
        job.result(max_results=1)
        found = job.destination
    if found is None:
        raise InputError(
            f"{source.name}: BigQuery stores no result for it. Give a SELECT statement."
        )
    return f"{found.project}.{found.dataset_id}.{found.table_id}"


def partition_filter(source: BigQueryTable) -> str:
    """The rows of the partitions, as a condition in SQL.

    Raises:
        InputError: if the table is missing or forbidden, or not partitioned by time.
    """
    first, end = span_of(source.partitions)
    with errors_of(source):
        table = _client(source.payer).get_table(".".join(source.path.split("/")[1::2]))
    by = table.time_partitioning
    if by is None:
        raise InputError(
            f"{source.name}: the table is not partitioned by time. Leave the partitions out, and "
            "filter its rows with a row restriction."
        )
    column = by.field or "_PARTITIONTIME"
    types = {field.name: field.field_type for field in table.schema}
    kind = types.get(column, "TIMESTAMP")
    shown = [f"{moment:%Y-%m-%d}" if kind == "DATE" else str(moment) for moment in (first, end)]
    return f"{column} >= {kind} '{shown[0]}' AND {column} < {kind} '{shown[1]}'"


def span_of(partitions: str) -> tuple[datetime.datetime, datetime.datetime]:
    """The first moment of the partitions, and the first one after them.

    Raises:
        SettingError: if the text names none.

    >>> span_of("202402")
    (datetime.datetime(2024, 2, 1, 0, 0), datetime.datetime(2024, 3, 1, 0, 0))
    """
    first, _, last = partitions.partition("-")
    try:
        begin, end = _moment(first), _after(last or first)
    except (ValueError, KeyError):
        raise SettingError(
            f"{partitions!r} does not name partitions. Write one, such as 20240501 (a day) or "
            "202405 (a month), or a range such as 20240501-20240531."
        ) from None
    if begin >= end:
        raise SettingError(f"The partitions {partitions!r} end before they begin.")
    return begin, end


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, _FORMS[len(text)])


def _after(text: str) -> datetime.datetime:
    moment = _moment(text)
    if len(text) == 4:
        return moment.replace(year=moment.year + 1)
    if len(text) == 6:
        return (moment + datetime.timedelta(days=31)).replace(day=1)
    return moment + (datetime.timedelta(days=1) if len(text) == 8 else datetime.timedelta(hours=1))


def _client(project: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    anonymous = AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None  # type: ignore[no-untyped-call]
    return bigquery.Client(project, credentials=anonymous)


@contextlib.contextmanager
def errors_of(source: BigQueryTable) -> Iterator[None]:
    """One sentence for whatever BigQuery refuses."""
    extras.require("bq://")
    from google.api_core import exceptions
    from google.auth import exceptions as auth

    try:
        yield
    except exceptions.NotFound as error:
        what = "names a table that does not exist" if source.query else "does not exist"
        told = f" ({error.message})" if source.query else ""
        raise InputError(
            f"{source.name} {what}{told}. Check project, dataset and table, and the region."
        ) from None
    except exceptions.Forbidden as error:
        more = ", and roles/bigquery.jobUser to run a query" if source.query else ""
        raise InputError(
            f"{source.name} is forbidden ({error.message}). The account needs "
            "roles/bigquery.dataViewer on the table and roles/bigquery.readSessionUser on the "
            f"project {source.payer}{more}."
        ) from None
    except (exceptions.BadRequest, exceptions.FailedPrecondition) as error:
        raise InputError(f"{source.name} cannot be read: {error.message}.") from None
    except exceptions.GoogleAPIError as error:
        raise InputError(f"{source.name} cannot be read to its end: {error}.") from None
    except auth.GoogleAuthError as error:
        raise InputError(
            f"{source.name}: no Google credentials ({error}). Run gcloud auth application-default "
            "login, or set GOOGLE_APPLICATION_CREDENTIALS."
        ) from None
