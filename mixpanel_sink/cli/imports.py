"""`mixpanel-sink import`: files to Mixpanel, on this machine or on any runner."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import pathlib
import sys
import tempfile
import time

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.settings.options import Settings

FAILED_FOLDER = "failed"
"""Where failed records are kept unless --failed-output says."""


def run(
    context: typer.Context,
    settings: Settings,
    as_json: common.AsJson = False,
) -> None:
    """Send files to Mixpanel: Parquet, CSV, JSON lines, Avro, ORC, Arrow or Excel.

    Failed records are kept in the folder "failed" unless --failed-output names another place. Any
    option of Beam's may follow, such as --runner=PrismRunner.

    Example: mixpanel-sink import events.parquet -m events.yaml --region eu
    """
    from mixpanel_sink.jobs import import_files, runners
    from mixpanel_sink.jobs.command import guarded
    from mixpanel_sink.jobs.outputs import tidy
    from mixpanel_sink.jobs.parse import beam_options, check_others

    def started(given: Settings) -> int:
        words = context.obj or []
        check_others(words, "import")
        options = beam_options(given, words)
        if given.failed_output is None and not runners.runs_remotely(options):
            given = dataclasses.replace(given, failed_output=default_failed_output())
        try:
            code = import_files.start(given, options)
        finally:
            tidy(given.failed_output if settings.failed_output is None else None)
        events = given.endpoint_kind in ("import", "track")  # profiles are not read back
        if code == 0 and events and not given.dry_run and not runners.runs_remotely(options):
            print(f"\nNext: {next_step(given)}")
        return code

    if not as_json:
        common.finish(guarded(lambda: started(settings)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report = settings.report or f"{folder}/run.html"
        # People's words go to stderr: a machine reads stdout.
        with contextlib.redirect_stdout(sys.stderr):
            code = guarded(lambda: started(dataclasses.replace(settings, report=report)))
        path = pathlib.Path(report.removesuffix(".html") + ".json")
        if "://" not in str(path) and path.exists():
            print(path.read_text(encoding="utf-8"))
    common.finish(code)


def next_step(settings: Settings) -> str:
    """What to do after an import that went well: replay what failed, or verify the rest."""
    mapping = f" --mapping {settings.mapping}" if settings.mapping else ""
    prefix = settings.failed_output
    if prefix and "://" not in prefix and glob.glob(f"{glob.escape(prefix)}-*.jsonl"):
        return (
            "correct what the failures above say, then mixpanel-sink replay "
            f"'{prefix}*.jsonl'{mapping}"
        )
    return common.following("verify", settings, settings.mapping)


def default_failed_output() -> str:
    """A prefix of this run's own, so that no run removes or hides what another one left."""
    return f"{FAILED_FOLDER}/{time.strftime('%Y%m%d-%H%M%S')}"
