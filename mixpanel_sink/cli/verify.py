"""`mixpanel-sink verify`: what Mixpanel holds, compared with the files."""

from __future__ import annotations

from mixpanel_sink.cli import common
from mixpanel_sink.settings.options import Settings


def run(settings: Settings) -> None:
    """Read back what Mixpanel holds, and compare it with the input.

    The exit code is 0 only if they are equal.

    Example: mixpanel-sink verify events.parquet -m events.yaml --region eu
    """
    from mixpanel_sink.jobs import verify
    from mixpanel_sink.jobs.command import guarded

    code = guarded(lambda: verify.start(settings))
    if code == 1:
        again = common.following("import", settings, settings.mapping)
        common.next_step(f"import what is missing; nothing is doubled: {again}")
    common.finish(code)
