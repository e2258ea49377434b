"""`mixpanel-sink import`: files to Mixpanel, on this machine or on any runner."""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import typer

from mixpanel_sink.cli import common
from mixpanel_sink.jobs.following import after_sending
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
    from mixpanel_sink.jobs.beam_options import beam_options, check_others
    from mixpanel_sink.jobs.command import guarded

    def started(given: Settings) -> int:
        words = context.obj or []
        check_others(words, "import")
        options = beam_options(given, words)
        # Profiles are not read back, and `verify` looks at one project.
        proven = given.endpoint_kind in ("import", "track") and not given.projects
        with kept(given, options) as keeping:
            code = import_files.start(keeping, options)
            if given.dry_run is None and not runners.runs_remotely(options):
                proof = common.following("verify", given, given.mapping) if proven else None
                next_step(keeping, proof if code == 0 else None)
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


@contextlib.contextmanager
def kept(settings: Settings, options: Any) -> Iterator[Settings]:
    """The settings, with a folder for failed records unless they name one. Removes that folder
    afterwards if it is empty."""
    from mixpanel_sink.jobs import runners
    from mixpanel_sink.jobs.outputs import tidy

    if settings.failed_output is not None or runners.runs_remotely(options):
        yield settings
        return
    prefix = default_failed_output()
    try:
        yield dataclasses.replace(settings, failed_output=prefix)
    finally:
        tidy(prefix)


def next_step(settings: Settings, otherwise: str | None) -> None:
    """Prints what to do next: replay what failed, complete what is not, or else `otherwise`."""
    from mixpanel_sink.jobs.status import left_after

    prefix, left = settings.failed_output, left_after(settings)
    if left and left.failures:  # perhaps of earlier runs, whose failures are not shown above
        kept = dataclasses.replace(settings, failed_output=prefix or left.failures[0], only=())
        ((_, again),) = after_sending(kept, failed=True, verify=False, files=left.failures)
        common.next_step(f"fix the causes of the failures that are left, then {again}")
    elif left and left.is_incomplete:
        common.next_step("run the same import again; it goes on with files that are not complete")
    elif left is None and prefix and "://" not in prefix and files_of(prefix):
        ((_, again),) = after_sending(settings, failed=True, verify=False)
        common.next_step(f"fix the causes of the failures above, then {again}")
    elif otherwise:
        common.next_step(otherwise)


def default_failed_output() -> str:
    """A prefix for this run alone, so that no run removes or hides what another one left."""
    prefix = f"{FAILED_FOLDER}/{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while files_of(f"{prefix}-{number}" if number > 1 else prefix):
        number += 1
    return f"{prefix}-{number}" if number > 1 else prefix


def files_of(prefix: str) -> list[str]:
    """The files of failed records with that prefix."""
    return glob.glob(f"{glob.escape(prefix)}-*.jsonl")
