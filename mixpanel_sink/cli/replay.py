"""`mixpanel-sink replay`: failed records once more, after a fix."""

from __future__ import annotations

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.settings.options import Settings


def run(context: typer.Context, settings: Settings) -> None:
    """Send failed records again, with the ids that they had: nothing doubles.

    Any option of Beam's may follow, such as --runner=PrismRunner.

    Example: mixpanel-sink replay 'failed/*.jsonl' -m events.yaml --failed-output failed-again
    """
    from mixpanel_sink.jobs import replay
    from mixpanel_sink.jobs.command import guarded
    from mixpanel_sink.jobs.parse import beam_options, check_others

    def started() -> int:
        words = context.obj or []
        check_others(words, "replay")
        return replay.start(settings, beam_options(settings, words))

    common.finish(guarded(started))
