"""Whether a mapping fits an input, before any of it is read or sent."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa

from mixpanel_sink.encode.schema import check_condition, check_schema
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.source import Format
from mixpanel_sink.settings.project import Route

FILES_CHECKED = 20
"""Files whose columns are looked at."""


def check_fit(source: FileSource, mapping: Any, destination: str | None = None) -> set[str] | None:
    """Refuses a mapping, or a column for the project, that fits none of the files looked at; others
    may differ later.

    Args:
        source: the input.
        mapping: of any kind; None if its records are Mixpanel events already.
        destination: the column that names the project, if there is one.

    Returns:
        The columns of those files; None if their format does not state them.

    Raises:
        InputError: if none of them can be read.
        SettingError: for what does not fit.
    """
    columns: set[str] = set()
    misfit: SettingError | None = None
    unreadable: InputError | None = None
    readable = fits = False
    for path, *_ in itertools.islice(source.files, FILES_CHECKED):
        if not source.selection.wants(path):
            continue
        try:
            schema = source.schema_of(path)
        except InputError as error:
            unreadable = unreadable or error
            continue
        readable = True
        columns.update(schema.names)
        try:
            _check(source.format, schema, mapping)
            if destination and source.format.states_columns:
                Route(destination).check_columns(schema.names)
            fits = True
        except SettingError as error:
            misfit = misfit or error
    if not fits and misfit is not None:
        raise misfit
    if not readable and unreadable is not None and len(source.files) <= FILES_CHECKED:
        raise unreadable
    return columns if source.format.states_columns and readable else None


def _check(format: Format, schema: pa.Schema, mapping: Any) -> None:
    if mapping is None:
        return
    if format.states_types:
        check_schema(mapping, schema)
    elif format.states_columns:
        mapping.check_columns(schema.names)
        check_condition(mapping, schema)
    elif schema.names:  # other lines may have more keys; but all events need these
        needed = mapping.named_columns() if mapping.columns() is None else mapping.mapped_columns()
        others = {*mapping.rename, *mapping.exclude, *(mapping.columns() or ())} - needed.keys()
        mapping.check_columns(dict.fromkeys([*schema.names, *sorted(others)]))
