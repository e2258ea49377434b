"""`mixpanel-sink lookup-table`: replaces a lookup table, and lists those that there are."""

from __future__ import annotations

from typing import Annotated

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.settings.options import Settings


def upload(
    settings: Settings,
    id: Annotated[
        str, typer.Option("--id", metavar="ID", help="Id of the table; `list` shows them.")
    ],
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="COLUMN", help="Column with the unique key. Default: the first one."
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Send it although the checkpoint says that it is the same."),
    ] = False,
    as_json: common.AsJson = False,
) -> None:
    """Replace a lookup table with the rows of files or of a BigQuery table: all or nothing.

    --columns chooses columns and their order. With --checkpoint the table is only sent if it has
    changed since the last time.

    Example: mixpanel-sink lookup-table upload songs.csv --id 8b4f0a52 --region eu
    """
    from mixpanel_sink.jobs import lookup_table
    from mixpanel_sink.jobs.command import guarded

    common.finish(guarded(lambda: lookup_table.upload(settings, id, key, force, as_json)))


def list_all(settings: Settings, as_json: common.AsJson = False) -> None:
    """List the ids and names of a project's lookup tables.

    Example: mixpanel-sink lookup-table list --region eu
    """
    from mixpanel_sink.jobs import lookup_table
    from mixpanel_sink.jobs.command import guarded

    common.finish(guarded(lambda: lookup_table.list_all(settings, as_json)))
