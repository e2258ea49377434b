"""What an import would send: nothing is sent, and no secret is needed. No Beam here, unless a file
is not local."""

from __future__ import annotations

from mixpanel_sink.configured import privacy_of, target_of
from mixpanel_sink.errors import MappingError
from mixpanel_sink.inspect.preview import Preview, preview, render
from mixpanel_sink.jobs import console
from mixpanel_sink.jobs.command import require
from mixpanel_sink.jobs.mappings import check_input, mapping_of
from mixpanel_sink.jobs.outcome import EXIT_FAILED, EXIT_OK
from mixpanel_sink.jobs.sources import source_of
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.options import Settings


def start(settings: Settings, rows: str, format: str | None) -> int:
    """Shows what the import would send, and returns the exit code; raises as `previewed`."""
    shown = previewed(settings, rows, format)
    print(render(shown))
    return exit_code(shown)


def exit_code(shown: Preview) -> int:
    """0 if all of the input could be read and something of it would be accepted, or nothing is in
    it, or nothing is new."""
    if shown.nothing_new or shown.is_empty:
        return EXIT_OK
    return EXIT_FAILED if shown.files_unreadable or not shown.looked_at.events else EXIT_OK


def previewed(settings: Settings, rows: str, format: str | None = None) -> Preview:
    """What the import would send.

    Args:
        settings: of the user.
        rows: "all", or how many to look at.
        format: of the files where the settings do not say; None: by name or content.

    Raises:
        SettingError, InputError, CheckpointError: what is wrong.
    """
    require(settings, "input", "mapping")
    target = target_of(settings)
    mapping = mapping_of(settings)
    if not isinstance(mapping, EventMapping):
        raise MappingError("A dry run shows events, but this mapping is for profiles.")
    source = source_of(settings, format, mapping)
    check_input(source, mapping, settings)
    new: list[str] = []
    uncounted = False
    if settings.checkpoint:
        from mixpanel_sink.jobs.incremental import left_to_do  # `check` starts faster without it

        found = left_to_do(settings, source, mapping)
        source, new = found.source, list(found.lines)
        uncounted = found.since is not None and bool(found.since.marks)
    with console.printed_once():
        return preview(
            source,
            mapping,
            rows=None if rows == "all" else int(rows),
            limits=target.limits,
            quota=target.quota,
            token=target.credentials.token is not None,
            privacy=privacy_of(settings),
            uncounted=uncounted,
            new=new,
        )
