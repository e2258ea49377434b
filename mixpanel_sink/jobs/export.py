"""Writes a project's raw export to files."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mixpanel_sink.configured import credentials_of
from mixpanel_sink.errors import DestinationError
from mixpanel_sink.inspect.export import Exported, Format, export_events
from mixpanel_sink.inspect.verify import Exporter, export_destination
from mixpanel_sink.interrupts import EXIT_INTERRUPTED
from mixpanel_sink.jobs.command import require
from mixpanel_sink.jobs.console import say_error
from mixpanel_sink.jobs.notify import note, told
from mixpanel_sink.jobs.outcome import EXIT_FAILED, EXIT_OK
from mixpanel_sink.settings.options import Settings


def start(
    settings: Settings, prefix: str, events: Sequence[str] | None = None, format: Format = "jsonl"
) -> int:
    """Exports the days of the settings, prints what was written, and returns the exit code.

    Args:
        settings: of the user: credentials, region, first and last day.
        prefix: of the files' paths.
        events: names; None for all.
        format: of the files.

    Raises:
        SettingError: what is wrong, before anything is asked.
    """
    return told("export", settings, lambda: _started(settings, prefix, events, format))


def _started(settings: Settings, prefix: str, events: Sequence[str] | None, format: Format) -> int:
    require(settings, "from_day", "to_day")
    assert settings.from_day is not None
    assert settings.to_day is not None
    destination = export_destination(settings.region, settings.endpoint, settings.allow_http)
    exporter = Exporter(destination, credentials_of(settings))
    try:
        done = export_events(
            exporter,
            settings.from_day,
            settings.to_day,
            prefix,
            events=events,
            format=format,
            progress=lambda path, count: print(f"{path}: {count:,} events"),
        )
    except DestinationError as error:
        say_error(str(error), type(error).__name__)
        note(error=str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("Interrupted. Files that are named above are complete.", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        exporter.close()
    said = _sentence(done, exporter.host)
    note(result=said)
    print(said)
    return EXIT_OK


def _sentence(done: Exported, host: str) -> str:
    files = "1 file" if len(done.files) == 1 else f"{len(done.files):,} files"
    return f"{done.events:,} events of {host} in {files}."
