"""Mappings for the documented exports of other tools: `mixpanel-sink init --from ga4`.

Each is a complete mapping with comments, in a YAML file of its own beside this module.
"""

from __future__ import annotations

import pathlib

from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import near

_FOLDER = pathlib.Path(__file__).parent
PRESETS = tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def preset(name: str) -> str:
    """The mapping for one tool's export, as YAML with comments.

    Raises:
        SettingError: if no preset has that name.
    """
    if name not in PRESETS:
        raise SettingError(
            f"--from {name}: there is no such preset.{near(name, PRESETS)} There are: "
            f"{', '.join(PRESETS)}."
        )
    return (_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def check_preset(name: str, columns: list[str]) -> None:
    """Refuses a preset for a file that is not that tool's export.

    Raises:
        InputError: names the columns that are missing.
    """
    mapping = EventMapping.from_yaml(preset(name))
    missing = [column for column in mapping.mapped_columns() if column not in columns]
    if missing:
        raise InputError(
            f"The input does not look like an export of {name}: it lacks the columns "
            f"{', '.join(missing)}. It has: {', '.join(columns[:20])}."
        )
