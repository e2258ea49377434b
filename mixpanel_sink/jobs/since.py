"""`--since COLUMN`: of a table or of files that are written again as a whole, what came since the
last run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from mixpanel_sink.checkpoint.manifest import Manifest
from mixpanel_sink.checkpoint.plan import Plan
from mixpanel_sink.checkpoint.since import Mark, mark_of, name_of
from mixpanel_sink.configured import AnyMapping
from mixpanel_sink.errors import SettingError
from mixpanel_sink.read.bigquery import BigQueryTable
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.read.listing import File, Listing
from mixpanel_sink.read.since import Since
from mixpanel_sink.read.tables import TableSource
from mixpanel_sink.read.watermark import Watermark, condition
from mixpanel_sink.settings.columns import PositionId, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.profile_mapping import UpdateMapping

_MOST_FILES = 1000
"""Each has a watermark of its own, in a file that every run reads and writes."""
_SAMPLE_ROWS = 1000


def rows_of_table(
    settings: Settings,
    source: TableSource,
    mapping: AnyMapping | None,
    watermarks: Mapping[str, Any],
) -> tuple[TableSource, str, str]:
    """The rows of a table that came since the last run, the name of its watermark, and what to say.

    Raises:
        SettingError: if the table or the mapping cannot be read so.
    """
    column = settings.since
    if column is None:
        return source, "", "The table is read as a whole: --since COLUMN reads only what is new."
    if not isinstance(source.table, BigQueryTable):
        raise SettingError("--since is for files and BigQuery.")
    _check_updates(mapping)
    table = source.table
    chosen = table.query or table.where
    name = f"{table.name} {column}" + (f" {_short(chosen)}" if chosen else "")
    if name not in watermarks:
        return source.after(table, column), name, ""
    last = Watermark(*watermarks[name]["value"])
    said = f"Rows up to {column} {last.text} were imported before; reading from there on."
    table = table.since(condition(column, last, settings.overlap))
    return source.after(table, column), name, said


def _short(text: str) -> str:
    """The part of a watermark's name that tells queries and restrictions apart."""
    return blake3(text.encode()).hexdigest()[:8]


def _check_updates(mapping: AnyMapping | None) -> None:
    for operation in ("add", "append", "remove"):
        if isinstance(mapping, UpdateMapping) and mapping.columns_of(operation):
            raise SettingError(
                f"--since reads the latest rows again, and the mapping's {operation} would be "
                "applied twice. Give each day's rows to a run of their own, without --since."
            )


def check_since(settings: Settings, mapping: AnyMapping | None) -> None:
    """Refuses what --since cannot do with files.

    Raises:
        SettingError: says why, and what to do instead.
    """
    if settings.since is None:
        return
    if mapping is None:
        raise SettingError("--since names a column, and needs --mapping.")
    if settings.on_changed == "skip":
        raise SettingError(
            "--since reads what is new of changed files, and --on-changed skip leaves them: drop "
            "one of the two."
        )
    _check_updates(mapping)
    if isinstance(mapping, EventMapping) and isinstance(mapping.insert_id, PositionId | None):
        raise SettingError(
            "--since reads the latest rows again, and ids from position are other ones in a file "
            "that was written again: rows would be stored twice. Name the columns of a key as "
            "insert_id in the mapping, or use {from: content}."
        )


def rows_of_files(
    settings: Settings,
    source: FileSource,
    mapping: AnyMapping | None,
    plan: Plan,
    known: Manifest,
) -> tuple[Since, Manifest, list[str]]:
    """Which rows of the new and changed files are wanted, the manifest with the watermarks that
    still count, and what to say.

    A file is read as a whole where it is not certain that all that is left out was seen: without
    a watermark, or with another kind or overlap.

    Raises:
        SettingError: if the column cannot tell what is new, or there are too many files.
    """
    column = settings.since
    assert column is not None
    reading = [*plan.new, *plan.changed]
    if len(reading) > _MOST_FILES:
        raise SettingError(
            f"--since is for up to {_MOST_FILES:,} files that are written again, and there are "
            f"{len(reading):,} to read. Without it, files that are new are read as a whole."
        )
    time = getattr(mapping, "time", None)
    if not isinstance(time, TimeColumn) or time.name != column:
        time = TimeColumn(column)
    files = source.only(Listing.of(File(*each) for each in reading))
    since = Since.of(time, files.sample(_SAMPLE_ROWS), settings.overlap)
    watermarks = dict(known.watermarks)
    marks: dict[str, Mark] = {}
    changed = {each.path for each in plan.changed} if settings.on_changed != "import" else ()
    for each in reading:
        mark = mark_of(watermarks, each.path, column)
        fits = mark is not None and (mark.kind, mark.step) == (since.kind, since.step)
        if mark is not None and fits and each.path in changed:
            marks[each.path] = mark
        else:
            watermarks.pop(name_of(each.path, column), None)
    since = dataclasses.replace(since, marks=marks)
    whole = [each.path for each in plan.changed if each.path not in marks]
    lines = []
    for path in marks:
        last = Watermark(*watermarks[name_of(path, column)]["value"])
        lines.append(f"{path}: rows up to {column} {last.text} were imported before.")
    lines += [f"{path} is read as a whole: there is no watermark that fits." for path in whole]
    return since, dataclasses.replace(known, watermarks=watermarks), _few(lines)


def _few(lines: list[str]) -> list[str]:
    left = len(lines) - 5
    return lines if left <= 0 else [*lines[:5], f"and {left:,} more such files."]
