"""Whether a mapping fits a table's schema, before anything is read."""

from __future__ import annotations

import pyarrow as pa
from pyarrow import types

from mixpanel_sink.api.numbers import PER_SECOND
from mixpanel_sink.encode.columnar.arrow_types import decoded, is_text
from mixpanel_sink.encode.shape import shape_table
from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.columns import Column, TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping
from mixpanel_sink.settings.shape import Shape


def check_schema(mapping: EventMapping | ProfileMapping | GroupMapping, schema: pa.Schema) -> None:
    """Refuses a mapping of columns that the input does not have, or whose types can never serve
    as an event's name, time or id.

    Raises:
        MappingError: names the column, its type and the fix.
    """
    mapping.check_columns(schema.names)
    check_condition(mapping, schema)
    if isinstance(mapping, EventMapping) and mapping.shape is None:  # which changes types
        _check_types(mapping, schema)


def check_condition(
    mapping: EventMapping | ProfileMapping | GroupMapping, schema: pa.Schema
) -> None:
    """Refuses a condition that does not fit the types of the columns: it would end the job.

    Raises:
        MappingError: says why.
    """
    shape = mapping.shape
    if not isinstance(shape, Shape) or shape.where is None or shape.makes_columns():
        return  # of columns that are made, the data tell the types
    steps = Shape(cast=shape.cast, defaults=shape.defaults, where=shape.where)
    shape_table(schema.empty_table(), steps)


def _check_types(mapping: EventMapping, schema: pa.Schema) -> None:
    """Refuses columns whose type can never serve as event, time or id.

    Raises:
        MappingError: names the column, its type and what to do about it.
    """
    time = mapping.time
    assert isinstance(time, TimeColumn)
    kind = decoded(schema.field(time.name).type)
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        digits = types.is_integer(kind) and time.format is not None  # such as 20240131
        if time.unit not in PER_SECOND and not digits:
            raise MappingError(
                f"The time column {time.name!r} is {kind}, a number, and the mapping does not name "
                "its unit. Set it: s, ms, us or ns; or format: '%Y%m%d' for integers such as "
                "20240131."
            )
    elif is_text(kind):
        if not time.patterns():
            raise MappingError(
                f"The time column {time.name!r} is text. Set unit: iso8601 if it is ISO 8601, or a "
                "format such as '%m/%d/%Y %H:%M'."
            )
    elif not (types.is_timestamp(kind) or types.is_date(kind) or types.is_null(kind)):
        raise MappingError(
            f"The time column {time.name!r} is {kind}; it must be a timestamp, a date, a number "
            "with a unit, or ISO 8601 text."
        )
    for part in ("event", "distinct_id", "device_id", "user_id", "ip"):
        column = getattr(mapping, part)
        if not isinstance(column, Column):
            continue
        kind = decoded(schema.field(column.name).type)
        if is_text(kind) or types.is_null(kind):
            continue
        if part not in ("event", "ip") and (types.is_integer(kind) or types.is_decimal(kind)):
            continue
        also = "" if part in ("event", "ip") else " or integers"
        raise MappingError(
            f"The {part} column {column.name!r} is {kind}; it must be text{also}. Cast it where "
            "the file is made."
        )
