"""The input that settings name. No Beam here, so that `init` starts quickly."""

from __future__ import annotations

from typing import Any

from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.bigquery_source import BigQuerySource, names_bigquery
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.registry import format_kind, format_name, make_format
from mixpanel_sink.settings.columns import PositionId
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.options import FORMAT, OPTIONS, Settings


def source_of(settings: Settings, format: str | None = None, mapping: Any = None) -> FileSource:
    """The files, or the table of BigQuery's, that the settings name.

    Args:
        settings: of the user.
        format: of the files where the settings do not say; None: as the mapping says, or by name
            or content.
        mapping: whose `source` says how files are read, where the settings do not.

    Raises:
        SettingError: for an unknown format, or an option that it does not have.
        InputError: if there are no files.
    """
    if names_bigquery(settings.input):
        return BigQuerySource(settings.input)
    source = FileSource(settings.input)
    stated = dict(getattr(mapping, "source", None) or {})
    meant = stated.pop("format", None)
    name = settings.format or format or meant or format_name(source.files[0].path)
    if meant is not None and format_kind(meant) is not format_kind(name):
        raise SettingError(f"The mapping is for {meant} files, and these are read as {name}.")
    parsers = {each.name: each.parse for each in format_kind(name).options}
    given = {
        each.name: parsers.get(each.name, str)(value)
        for each in OPTIONS
        if each.group == FORMAT and each.name != "format"
        if (value := getattr(settings, each.field)) is not None
    }
    return FileSource(settings.input, make_format(name, {**stated, **given}))


def check_positions(source: FileSource, mapping: Any) -> None:
    """Refuses ids from position for rows that have none.

    Raises:
        SettingError: what to use instead.
    """
    events = isinstance(source, BigQuerySource) and isinstance(mapping, EventMapping)
    if events and isinstance(mapping.insert_id, PositionId | None):
        raise SettingError(
            "BigQuery promises no order of rows, so that ids cannot come from their position. Name "
            "the columns of a key as insert_id in the mapping, or use {from: content}."
        )
