"""Mappings for the documented exports of other tools: `mixpanel-sink init --from ga4`.

Each is a complete mapping with comments, in a YAML file of its own beside this module.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mixpanel_sink.api.limits import MIN_TIME_MS
from mixpanel_sink.errors import InputError, SettingError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import near
from mixpanel_sink.settings.profile_mapping import ProfileMapping
from mixpanel_sink.settings.yaml import load_yaml

if TYPE_CHECKING:
    import pyarrow as pa

    from mixpanel_sink.read.source import Source

_FOLDER = pathlib.Path(__file__).parent
_SECONDS = (
    "unit: ms}                  # milliseconds, as mixpanel-sink asks for them",
    "unit: s}                   # seconds, as the input has them",
)
_LOOSE = ("mixpanel", "mixpanel-parquet")
"""Presets that `init` does not choose by itself: their columns may be those of any events."""
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


def mapping_of_preset(name: str) -> EventMapping | ProfileMapping:
    """The mapping, of events or of users' profiles."""
    settings = load_yaml(preset(name))
    kind = EventMapping if "event" in settings else ProfileMapping
    return kind.from_dict(settings)


def preset_for(name: str, source: Source) -> str:
    """The mapping for one tool's export, made to fit this one.

    Raises:
        SettingError: if no preset has that name.
        InputError: if the input is not that tool's export.
    """
    check_preset(name, source.schema().names)
    return proposed_for_raw_events(source) if name == "mixpanel" else preset(name)


def proposed_for_raw_events(source: Source) -> str:
    """A mapping of raw Mixpanel events, with ids made of their content if they have none."""
    text = _raw_events_text(source)
    inner = _fields_of(source.schema(), "properties")
    if inner and "$insert_id" not in inner:
        return text.replace("\ninsert_id: $insert_id", "\ninsert_id: {from: content}")
    return text


def _raw_events_text(source: Source) -> str:
    """The mapping of raw Mixpanel events, with the unit that their times have."""
    text = preset("mixpanel")
    return text.replace(*_SECONDS) if in_seconds(source) else text


def _fields_of(schema: pa.Schema, name: str) -> set[str]:
    """The fields of a column of objects; none of another column's."""
    from pyarrow import types  # here: the help needs no Arrow

    kind = schema.field(name).type if name in schema.names else None
    return {field.name for field in kind} if kind and types.is_struct(kind) else set()


def recognized(schema: pa.Schema) -> str | None:
    """The preset for what an input surely is: raw Mixpanel events, or a tool's export of events."""
    names = schema.names
    if "event" in names and {"distinct_id", "time"} <= _fields_of(schema, "properties"):
        return "mixpanel"
    events = [name for name in PRESETS if not name.endswith("-users") and name not in _LOOSE]
    return next((name for name in events if not _missing(name, names)), None)


def check_preset(name: str, columns: list[str]) -> None:
    """Refuses a preset for a file that is not that tool's export.

    Raises:
        InputError: names the columns that are missing, and the preset that fits.
    """
    missing = _missing(name, columns)
    if not missing:
        return
    fitting = [other for other in PRESETS if not _missing(other, columns)]
    if _may_be_inside(name, columns) and not fitting:
        return
    hint = f" It looks like one of {fitting[0]}." if fitting else ""
    raise InputError(
        f"The input does not look like an export of {name}: it lacks the columns "
        f"{', '.join(missing)}. It has: {', '.join(columns[:20])}.{hint}"
    )


def _missing(name: str, columns: list[str]) -> list[str]:
    """The columns that the preset's mapping needs and the input lacks."""
    mapping = mapping_of_preset(name)
    if isinstance(mapping, EventMapping):
        needed = mapping.mapped_columns()
    else:
        needed = mapping.named_columns()
    return [column for column in needed if column not in columns]


def _may_be_inside(name: str, columns: list[str]) -> bool:
    """Whether the input has a column that the preset unpacks, which may hold what is missing."""
    shape: Any = mapping_of_preset(name).shape
    unpacked = {} if shape is None else {**shape.json, **shape.flatten}
    return any(column in columns and not prefix for column, prefix in unpacked.items())


def in_seconds(source: Source) -> bool:
    """Whether raw events have their time in seconds: Mixpanel's own export has, and ours has
    milliseconds."""
    from mixpanel_sink.batch.origin import RecordBlock  # here: the help needs no Arrow

    for element in source.spread(1):
        if isinstance(element, FailedRecord):
            continue
        rows = element.records if isinstance(element, RecordBlock) else element.to_pylist()
        for event in rows:
            properties = event.get("properties")
            time = properties.get("time") if isinstance(properties, Mapping) else None
            if isinstance(time, int | float):
                return time < MIN_TIME_MS
    return False
