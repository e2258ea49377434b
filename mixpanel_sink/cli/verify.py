"""`mixpanel-sink verify`: what Mixpanel holds, compared with the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixpanel_sink.cli import common
from mixpanel_sink.settings.options import Settings

if TYPE_CHECKING:
    from mixpanel_sink.inspect.verify import Verification


def run(settings: Settings) -> None:
    """Read back what Mixpanel holds, and compare it with the input.

    The exit code is 0 only if they are equal.

    Example: mixpanel-sink verify events.parquet -m events.yaml --region eu
    """
    from mixpanel_sink.jobs import verify
    from mixpanel_sink.jobs.command import guarded

    def after(result: Verification) -> None:
        if result.whole and result.missing and not result.may_have_other_ids:
            again = common.following("import", settings, settings.mapping)
            common.next_step(f"import what is missing; nothing is doubled: {again}")

    common.finish(guarded(lambda: verify.start(settings, after)))
