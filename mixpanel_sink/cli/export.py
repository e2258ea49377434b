"""`mixpanel-sink export`: a project's events as files."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.settings.options import Settings


def run(
    settings: Settings,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="PREFIX", help="Prefix of the files' paths.")
    ],
    events: Annotated[
        list[str] | None,
        typer.Option("--event", metavar="NAME", help="Only this event; may be repeated."),
    ] = None,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write Parquet instead of JSON lines.")
    ] = False,
) -> None:
    """Write a project's events of some days to files, within the export's own quota.

    The JSON lines are raw events, which another project imports without a mapping.

    Example: mixpanel-sink export --from 2024-05-01 --to 2024-05-31 -o exports/may --region eu
    """
    from mixpanel_sink.jobs import export
    from mixpanel_sink.jobs.command import guarded

    kind: Literal["jsonl", "parquet"] = "parquet" if parquet else "jsonl"
    code = guarded(lambda: export.start(settings, output, events, kind))
    if not code and not parquet:
        files = f"'{output}-*.jsonl.gz'"
        common.next_step(f"mixpanel-sink import {files}, with another project's credentials")
    common.finish(code)
