"""`mixpanel-sink replay`: failed records once more, after a fix."""

from __future__ import annotations

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.cli.imports import kept, next_step
from mixpanel_sink.settings.options import Settings


def run(context: typer.Context, settings: Settings) -> None:
    """Send failed records again, with the same ids, so that nothing is doubled.

    What fails again is kept in the folder "failed" unless --failed-output names another place.
    Any option of Beam's may follow, such as --runner=PrismRunner.

    Example: mixpanel-sink replay 'failed/20240531-*.jsonl' -m events.yaml
    """
    from mixpanel_sink.jobs import replay
    from mixpanel_sink.jobs.beam_options import beam_options, check_others
    from mixpanel_sink.jobs.command import guarded

    def started() -> int:
        words = context.obj or []
        check_others(words, "replay")
        options = beam_options(settings, words)
        with kept(settings, options) as keeping:
            code = replay.start(keeping, options)
            next_step(keeping, None)
        return code

    common.finish(guarded(started))
