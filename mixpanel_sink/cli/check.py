"""`mixpanel-sink check`: what an import would send. It sends nothing, and needs no secret."""

from __future__ import annotations

import dataclasses
import json

from mixpanel_sink.cli import common
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.settings.options import Settings


def run(settings: Settings, as_json: common.AsJson = False) -> None:
    """Show what an import would send, what would fail, and how long it would take.

    Example: mixpanel-sink check events.parquet --mapping events.yaml
    """
    from mixpanel_sink.inspect.preview import SAMPLE_ROWS, render
    from mixpanel_sink.jobs.check import exit_code, previewed

    rows = "all" if settings.every_row else settings.rows or str(SAMPLE_ROWS)
    try:
        shown = previewed(settings, rows)
    except (SettingError, InputError) as error:
        common.fail(error)
    code = exit_code(shown)
    if as_json:
        print(json.dumps(dataclasses.asdict(shown), indent=2, default=str))
        common.finish(code)
        return
    print(render(shown).replace("--dry-run=all", "--all"))
    if not code:
        common.next_step(common.following("import", settings, settings.mapping))
    elif shown.looked_at.events == 0:
        again = common.following("check", settings, settings.mapping)
        print("\nNothing would be accepted.")
        common.next_step(f"edit {settings.mapping}, then {again}")
    common.finish(code)
