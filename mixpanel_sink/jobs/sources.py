"""The input that settings name. No Beam here, so that `init` starts quickly."""

from __future__ import annotations

from mixpanel_sink.read.registry import format_kind, format_name, make_format
from mixpanel_sink.read.source import FileSource
from mixpanel_sink.settings.options import FORMAT, OPTIONS, Settings


def source_of(settings: Settings, format: str | None = None) -> FileSource:
    """The files that the settings name.

    Args:
        settings: of the user.
        format: of the files where the settings do not say; None: by name or content.

    Raises:
        SettingError: for an unknown format, or an option that it does not have.
        InputError: if there are no files.
    """
    source = FileSource(settings.input)
    name = settings.format or format or format_name(source.files[0].path)
    parsers = {each.name: each.parse for each in format_kind(name).options}
    given = {
        each.name: parsers.get(each.name, str)(value)
        for each in OPTIONS
        if each.group == FORMAT and each.name != "format"
        if (value := getattr(settings, each.field)) is not None
    }
    return FileSource(settings.input, make_format(name, given))
