"""Replaces a lookup table by the rows of an input, and lists those that there are.

Exit codes: 0 if the table holds the input's rows; 1 if Mixpanel did not take them; 2 if a setting
or a row is wrong, and nothing was sent.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.configured import credentials_of, retry_of
from mixpanel_sink.encode.lookup_table import LookupTable, RowReader, check_columns, make_table
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.interrupts import EXIT_INTERRUPTED
from mixpanel_sink.jobs.command import require
from mixpanel_sink.jobs.console import say_error
from mixpanel_sink.jobs.notify import note, told
from mixpanel_sink.jobs.outcome import EXIT_FAILED, EXIT_OK
from mixpanel_sink.jobs.sources import source_of
from mixpanel_sink.read.source import Columns
from mixpanel_sink.send.lookup_table import TableResult, list_tables, replace_table
from mixpanel_sink.settings.credentials import ApiSecret
from mixpanel_sink.settings.lookup_table import TableJob, check_table_credentials
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.retry import RetryPolicy

_TO_LIST = " Uploads take an API secret, but a list of tables asks for a service account."


def upload(
    settings: Settings,
    id: str,
    key: str | None = None,
    force: bool = False,
    as_json: bool = False,
) -> int:
    """Reads and checks all rows, replaces the table, prints a summary, and returns the exit code.

    Args:
        settings: of the user: input, columns, credentials, region, retries, checkpoint.
        id: of the table.
        key: the column that comes first.
        force: whether to send what the checkpoint knows to be there.
        as_json: whether the summary is for machines.

    Raises:
        SettingError, InputError: what is wrong, before anything is sent.
    """
    return told("lookup-table upload", settings, lambda: _upload(settings, id, key, force, as_json))


def _upload(settings: Settings, id: str, key: str | None, force: bool, as_json: bool) -> int:
    require(settings, "input")
    job = TableJob(
        id,
        credentials_of(settings),
        _destination(settings),
        key,
        settings.columns,
        retry_of(settings) or RetryPolicy(),
        settings.checkpoint,
        force,
    )
    job.credentials.resolve()  # a bad reference shows before the input is read
    try:
        result = replace_table(_table_of(settings, job), job)
    except DestinationError as error:
        note(error=str(error))
        return _failed(error, as_json)
    except KeyboardInterrupt:
        note(error="Interrupted.")
        print("Interrupted. Run it again: sending a table twice is harmless.", file=sys.stderr)
        return EXIT_INTERRUPTED
    said = _sentence(result, job.destination.host)
    note(result=said)
    _show(result._asdict(), said, as_json)
    return EXIT_OK


def list_all(settings: Settings, as_json: bool = False) -> int:
    """Prints a project's tables and returns the exit code.

    Raises:
        SettingError: what is wrong, before anything is asked.
    """
    credentials = credentials_of(settings)
    check_table_credentials(credentials)
    retry = retry_of(settings) or RetryPolicy()
    try:
        tables = list_tables(credentials, _destination(settings), retry)
    except DestinationError as error:
        needs = isinstance(credentials, ApiSecret) and "does not accept" in str(error)
        return _failed(DestinationError(f"{error}{_TO_LIST}") if needs else error, as_json)
    lines = [f"{each.id}  {each.name}" for each in tables]
    text = "\n".join(lines) or "The project has no lookup tables; Mixpanel's page creates them."
    _show({"lookup_tables": [each._asdict() for each in tables]}, text, as_json)
    return EXIT_OK


def _table_of(settings: Settings, job: TableJob) -> LookupTable:
    """The rows of the input."""
    reader = RowReader(job.key, job.columns)
    # Of any source, whereas for an import they are BigQuery's.
    source = source_of(dataclasses.replace(settings, columns=()))
    if reader.rows.columns and source.format.states_columns:
        check_columns(reader.rows.columns, source.schema().names)
    for element in source.elements(Columns(reader.rows.columns or None)):
        reader.add(element)
    return make_table([reader.rows])


def _destination(settings: Settings) -> Destination:
    return Destination.of(settings.region, settings.endpoint, settings.allow_http)


def _failed(error: DestinationError, as_json: bool) -> int:
    say_error(str(error), type(error).__name__)
    if as_json:
        print(json.dumps({"error": str(error)}))
    return EXIT_FAILED


def _show(summary: dict[str, Any], text: str, as_json: bool) -> None:
    print(json.dumps(summary, ensure_ascii=False) if as_json else text)


def _sentence(result: TableResult, host: str) -> str:
    size = f"{result.rows:,} rows, {len(result.columns)} columns, {result.bytes:,} bytes"
    if not result.replaced:
        return f"The table {result.id} of {host} has not changed ({size}); nothing was sent."
    return f"The table {result.id} of {host} now holds {size}."
