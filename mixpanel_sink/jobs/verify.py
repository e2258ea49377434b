"""Proves an import: reads back what Mixpanel holds, and compares it with the input.

    python -m mixpanel_sink.jobs.verify \\
        --input 'gs://bucket/events/*.parquet' \\
        --mapping configs/events.yaml \\
        --api-secret env:MIXPANEL_API_SECRET \\
        --report-dir verification

Give --input, --mapping and what changes events as for the import: ids from position hold for the
very paths that were sent. Exit codes: 0 if Mixpanel holds each event of the input once and as it
was sent; 1 if not, or if the export failed; 2 if a setting is wrong.
"""

from __future__ import annotations

import mixpanel_sink.jobs.launcher  # noqa: F401  # isort: skip
import dataclasses
import sys
from collections.abc import Callable, Sequence

from mixpanel_sink.configured import credentials_of, limits_of, privacy_of
from mixpanel_sink.errors import DestinationError, MappingError
from mixpanel_sink.inspect.verify import Exporter, Verification, export_destination, render, verify
from mixpanel_sink.interrupts import EXIT_INTERRUPTED
from mixpanel_sink.jobs.command import arguments, guarded, require
from mixpanel_sink.jobs.console import say_error
from mixpanel_sink.jobs.launcher import leave
from mixpanel_sink.jobs.mappings import mapping_of
from mixpanel_sink.jobs.notify import note, told
from mixpanel_sink.jobs.outcome import EXIT_FAILED, EXIT_OK
from mixpanel_sink.jobs.parse import parse_all
from mixpanel_sink.jobs.sources import source_of
from mixpanel_sink.settings.credentials import MASKED_TOKEN
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.options import Settings


def main(
    argv: Sequence[str] | None = None,
    *,
    prog: str = "python -m mixpanel_sink.jobs.verify",
    about: str | None = __doc__,
) -> int:
    """Verifies, prints the result, and returns the exit code."""
    return guarded(lambda: start(parse_all(arguments(argv), "verify", prog, about)))


def start(settings: Settings, after: Callable[[Verification], None] = lambda _: None) -> int:
    """Verifies as the settings say, prints the result, and returns the exit code.

    Args:
        settings: of the user.
        after: is called with the result once it is printed.

    Raises:
        SettingError, InputError: what is wrong, before anything is asked.
    """
    return told("verify", settings, lambda: _started(settings, after))


def _started(settings: Settings, after: Callable[[Verification], None]) -> int:
    try:
        result = verified(settings)
    except DestinationError as error:
        say_error(str(error), type(error).__name__)
        note(error=str(error))
        return EXIT_FAILED
    except KeyboardInterrupt:
        print("Interrupted. Nothing was changed.", file=sys.stderr)
        return EXIT_INTERRUPTED
    print(render(result))
    note(result=result.sentence)
    if settings.report_dir:
        print(f"Full lists: {settings.report_dir}")
    after(result)
    return EXIT_OK if result.proven else EXIT_FAILED


def check(settings: Settings) -> None:
    """Refuses settings that are wrong, as far as they tell by themselves; asks Mixpanel nothing.

    Raises:
        SettingError, InputError: what is wrong.
    """
    require(settings, "input")
    credentials_of(settings)
    mapping = mapping_of(settings)
    if not isinstance(mapping, EventMapping | None):
        raise MappingError("Events are compared, but this mapping is for profiles.")
    source_of(settings, mapping=mapping, whole=True)
    export_destination(settings.region, settings.endpoint, settings.allow_http)
    privacy_of(settings)


def verified(settings: Settings) -> Verification:
    """How the input and what Mixpanel holds compare.

    Raises:
        SettingError, InputError: what is wrong, before anything is asked.
        DestinationError: if the export fails.
    """
    require(settings, "input")
    credentials = credentials_of(settings)
    given = settings
    if not settings.limit:  # which counts records that the import's filter keeps
        # The days are compared in the project's time zone, not filtered in UTC.
        given = dataclasses.replace(settings, from_day=None, to_day=None)
    mapping = mapping_of(given)
    source = source_of(settings, mapping=mapping, whole=True)
    if source.format.states_columns:
        require(settings, "mapping")  # as for the import
    if not isinstance(mapping, EventMapping | None):
        raise MappingError("Events are compared, but this mapping is for profiles.")
    destination = export_destination(settings.region, settings.endpoint, settings.allow_http)
    exporter = Exporter(destination, credentials)
    try:
        return verify(
            source,
            mapping,
            exporter,
            first=settings.from_day,
            last=settings.to_day,
            zone=settings.project_timezone,
            all_events=settings.all_events,
            limit=settings.limit,
            token=MASKED_TOKEN if credentials.token is not None else None,
            limits=limits_of(settings),
            privacy=privacy_of(settings),
            report_dir=settings.report_dir,
            run_property=settings.run_property,
            run_id=settings.run_id,
        )
    finally:
        exporter.close()


if __name__ == "__main__":
    leave(main())
