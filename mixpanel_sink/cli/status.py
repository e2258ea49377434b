"""`mixpanel-sink status`: what a checkpoint knows."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.errors import CheckpointError, OutputError, SettingError


def run(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Its folder.")],
    files: Annotated[bool, typer.Option("--files", help="List every imported file.")] = False,
    as_json: common.AsJson = False,
    html: Annotated[
        str, typer.Option("--html", metavar="FILE", help="Write a page about all runs.")
    ] = "",
) -> None:
    """Show what was imported by day, the last runs, and failed records to replay.

    Example: mixpanel-sink status checkpoints/events
    """
    from mixpanel_sink.jobs.status import next_step_after, render, status_of, write_page

    try:
        status = status_of(checkpoint, files)
        if html:
            write_page(status, html)
    except (CheckpointError, OutputError, SettingError) as error:
        common.fail(error)
    if as_json:
        print(json.dumps(status, indent=2))
        return
    print(render(status))
    if step := next_step_after(status):
        common.next_step(step)
