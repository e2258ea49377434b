"""`mixpanel-sink status`: what a checkpoint knows."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.errors import CheckpointError


def run(
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="Its folder.")],
    files: Annotated[bool, typer.Option("--files", help="List every imported file.")] = False,
    as_json: common.AsJson = False,
) -> None:
    """Show what was imported by day, the last runs, and failed records that were not replayed.

    Example: mixpanel-sink status checkpoints/events
    """
    from mixpanel_sink.jobs.status import render, status_of

    try:
        status = status_of(checkpoint, files)
    except CheckpointError as error:
        common.fail(error)
    print(json.dumps(status, indent=2) if as_json else render(status))
