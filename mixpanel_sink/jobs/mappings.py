"""The mapping that settings name, and whether it fits the input. No Beam here, so that a check
starts quickly."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection

from mixpanel_sink.configured import MAPPINGS, AnyMapping, text_of
from mixpanel_sink.errors import MappingError, SettingError
from mixpanel_sink.jobs.sources import check_positions
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.settings.columns import PositionId
from mixpanel_sink.settings.filter import Filter
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.names import named, near
from mixpanel_sink.settings.options import Settings
from mixpanel_sink.settings.shape import Shape

_LOGGER = logging.getLogger(__name__)


def is_private(settings: Settings) -> bool:
    """Whether the text of a bad line may hold what must not leave the workers."""
    return bool(settings.drop_properties or settings.hash_properties)


def mapping_of(settings: Settings) -> AnyMapping | None:
    """The mapping in the settings' file, if there is one. Ids of events are from position where it
    does not say: real tables hold rows that are equal and yet two events.

    Raises:
        SettingError: if it cannot be read, or is wrong.
    """
    if not settings.mapping:
        if settings.from_day or settings.to_day or settings.events or settings.where:
            raise SettingError("--from, --to, --events and --where need --mapping.")
        return None
    text = text_of(settings.mapping, "mapping")
    mapping = filtered(_read(text, settings.endpoint_kind), settings)
    if isinstance(mapping, EventMapping) and mapping.insert_id is None:
        return dataclasses.replace(mapping, insert_id=PositionId())
    return mapping


def _read(text: str, kind: str) -> AnyMapping:
    """A mapping of that endpoint_kind.

    Raises:
        MappingError: if it is wrong; says so where it is one of another kind.
    """
    try:
        return MAPPINGS[kind].from_yaml(text)
    except MappingError as error:
        if other := next((name for name in MAPPINGS if _fits(text, name)), None):
            raise MappingError(f"{error} It is a mapping for --endpoint-kind {other}.") from None
        raise


def _fits(text: str, kind: str) -> bool:
    try:
        MAPPINGS[kind].from_yaml(text)
    except MappingError:
        return False
    return True


def filtered(mapping: AnyMapping, settings: Settings) -> AnyMapping:
    """The mapping with the settings' filters beside its own. Of days and names the settings' count.

    Raises:
        SettingError: for filters of events where there are none, or a condition that is wrong.
    """
    if settings.where:
        shape = mapping.shape if isinstance(mapping.shape, Shape) else Shape()
        alone = dataclasses.replace(shape, where=settings.where)  # it must be right by itself
        both = f"({shape.where}) AND ({settings.where})" if shape.where else settings.where
        mapping = dataclasses.replace(mapping, shape=dataclasses.replace(alone, where=both))
    given = {
        "first_day": settings.from_day, "last_day": settings.to_day, "events": settings.events
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value}
    if not given:
        return mapping
    if not isinstance(mapping, EventMapping):
        raise SettingError("--from, --to and --events are for events; use --where for profiles.")
    own = mapping.filter if isinstance(mapping.filter, Filter) else Filter()
    return dataclasses.replace(mapping, filter=dataclasses.replace(own, **given))  # type: ignore[arg-type]


def check_input(source: FileSource, mapping: AnyMapping | None, settings: Settings) -> None:
    """Refuses a mapping, or columns for the project or to hide, that do not fit the input.

    Raises:
        InputError, SettingError: what is wrong.
    """
    from mixpanel_sink.inspect.fit import check_fit  # which imports the encoders

    check_positions(source, mapping)
    destination = settings.destination if mapping is not None else None
    columns = check_fit(source, mapping, destination)
    if columns is None:
        return
    check_privacy(settings, columns)
    _check_condition(mapping, columns)


def _check_condition(mapping: AnyMapping | None, columns: Collection[str]) -> None:
    """Warns of a column in `where` that no file has: the condition may leave everything out."""
    shape = getattr(mapping, "shape", None)
    if not isinstance(shape, Shape) or shape.makes_columns():
        return
    for name in shape.condition_columns():
        if name not in columns and name not in shape.defaults:
            _LOGGER.warning(
                "where names %r, which the input does not have; there it counts as null.", name
            )


def check_privacy(settings: Settings, columns: Collection[str]) -> None:
    """Refuses a misspelt column to drop or hash: what was to be hidden would be sent. Another that
    is not there may be meant for other files: that is said only.

    Raises:
        SettingError: names it.
    """
    for option in ("drop_properties", "hash_properties"):
        for name in getattr(settings, option):
            if name in columns:
                continue
            said = f"{named('--', option)} names {name!r}, which the input does not have."
            if meant := near(name, sorted(columns)):
                raise SettingError(f"{said}{meant} Nothing was sent.")
            _LOGGER.warning("%s", said)
