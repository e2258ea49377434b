"""Whether a mapping fits a table's schema, before anything is read."""

from __future__ import annotations

import pyarrow as pa

from mixpanel_sink.encode.columnar import check_types
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping


def check_schema(mapping: EventMapping | ProfileMapping | GroupMapping, schema: pa.Schema) -> None:
    """Refuses a mapping of columns that the input does not have, or whose types can never serve
    as an event's name, time or id.

    Raises:
        MappingError: names the column, its type and the fix.
    """
    mapping.check_columns(schema.names)
    if isinstance(mapping, EventMapping):
        check_types(mapping, schema)
