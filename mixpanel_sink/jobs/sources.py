"""The input that settings name. No Beam here, so that `init` starts quickly."""

from __future__ import annotations

import os
from typing import Any

from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.registry import (
    format_kind,
    format_name,
    make_format,
    make_table,
    table_scheme,
)
from mixpanel_sink.read.selection import Selection
from mixpanel_sink.read.tables import TableSource
from mixpanel_sink.settings.columns import PositionId
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import named
from mixpanel_sink.settings.options import OPTIONS, Settings
from mixpanel_sink.settings.options_to_read import BIGQUERY, FORMAT


def source_of(
    settings: Settings, format: str | None = None, mapping: Any = None, whole: bool = False
) -> FileSource:
    """The files, or the table, that the settings name.

    Args:
        settings: of the user.
        format: of the files where the settings do not say; None: as the mapping says, or by name
            or content.
        mapping: whose `source` says how files are read, where the settings do not, and whose
            filters say what need not be read.
        whole: whether all is read but files whose partitions tell that nothing in them is wanted.

    Raises:
        SettingError: for an unknown format, or an option that it does not have.
        InputError: if there are no files.
    """
    for_tables = {name: value for name, value in _given(settings, BIGQUERY).items() if value}
    if table_scheme(settings.input) is not None:
        if for_files := [name for name, value in _given(settings, FORMAT).items() if value]:
            option = named("--", for_files[0])
            raise SettingError(f"{option} is for files, and the input is a table.")
        if settings.limit:
            raise SettingError("--limit is for files. Use a query with LIMIT, or fewer days.")
        return make_table(settings.input, for_tables)
    if for_tables:
        raise SettingError(
            f"{named('--', next(iter(for_tables)))} is for BigQuery, and the input is files. "
            "Give the table as bq://PROJECT.DATASET.TABLE, or bq://PROJECT for a query."
        )
    for folder in settings.input:
        if os.path.isdir(os.path.join(folder, "_delta_log")):  # its files hold deleted rows, too
            raise SettingError(f"{folder} is a Delta table: write delta:{folder}.")
    source = FileSource(settings.input)
    stated = dict(getattr(mapping, "source", None) or {})
    meant = stated.pop("format", None)
    name = settings.format or format or meant or format_name(source.files[0].path)
    if meant is not None and format_kind(meant) is not format_kind(name):
        raise SettingError(f"The mapping is for {meant} files, and these are read as {name}.")
    parsers = {each.name: each.parse for each in format_kind(name).options}
    given = {
        option: parsers.get(option, str)(value)
        for option, value in _given(settings, FORMAT).items()
        if option != "format" and value is not None
    }
    selection = Selection(mapping, None if whole else settings.limit, statistics=not whole)
    return source.read_as(make_format(name, {**stated, **given}), selection)


def _given(settings: Settings, group: str) -> dict[str, Any]:
    """The values of a group of options, by name."""
    return {each.name: getattr(settings, each.field) for each in OPTIONS if each.group == group}


def check_positions(source: FileSource, mapping: Any) -> None:
    """Refuses ids from position for rows that have none.

    Raises:
        SettingError: what to use instead.
    """
    if not isinstance(source, TableSource) or not isinstance(mapping, EventMapping):
        return
    if isinstance(mapping.insert_id, PositionId | None):
        raise SettingError(
            f"{source.kind} promises no order of rows, so that ids cannot come from their "
            "position. Name the columns of a key as insert_id in the mapping, or use {from: "
            "content}."
        )
