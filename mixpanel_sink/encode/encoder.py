"""`Encoder`: turns the records of one project into the JSON texts of events or updates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import pyarrow as pa

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.blocks import Block
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.event_json import EncodedEvent
from mixpanel_sink.encode.keys import keys_of_events
from mixpanel_sink.encode.tables import EncodedSlice, encode_slice
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import FailedRecord


class Encoder(Protocol):
    """Encodes mapped events, raw events, or updates of profiles."""

    takes_columns: ClassVar[bool]
    """Whether it encodes tables by column; else their rows as dicts."""

    def encode(self, record: Mapping[Any, Any], source: RowOrigin | None = None) -> EncodedEvent:
        """One record.

        Raises:
            RecordError: with the reason why Mixpanel would not take it.
        """
        ...

    def table_of(self, block: Block) -> tuple[ColumnarEncoder, pa.Table] | None:
        """A table that makes the same events, and its encoder; None if there is none."""
        ...

    def id_of(self, record: Mapping[Any, Any], source: RowOrigin | None = None) -> str | None:
        """The `$insert_id` of a record that failed; None where only its event would tell."""
        ...

    def replay(self, failed: FailedRecord) -> EncodedEvent:
        """A record that failed before, with the `$insert_id` that it had or would have had.

        Raises:
            RecordError: with the reason why it fails again.
        """
        ...


def encode_block(encoder: Encoder, block: Block, limits: Limits) -> EncodedSlice:
    """Encodes a block: by column where its records make a table, the others one by one.

    Touches nothing but its arguments, so that it can run on any thread.
    """
    found = encoder.table_of(block) if block.together else None
    if found is None:
        result = EncodedSlice(odd=list(range(len(block))))
    else:
        result = encode_slice(*found, block.file_key, block.runs, limits)
    for at in range(0, len(result.odd), 2000):
        _encode_rows(encoder, block, result.odd[at : at + 2000], result)
    return result


def _encode_rows(encoder: Encoder, block: Block, rows: Sequence[int], result: EncodedSlice) -> None:
    keys = []
    for record, origin in zip(block.records(rows), block.origins(rows), strict=True):
        source = block.source(origin)
        try:
            encoded = block.encode(encoder, record, source)
        except RecordError as error:
            failed = block.failure(error, record, source)
            if failed.insert_id is None and block.together:
                failed = failed._replace(insert_id=encoder.id_of(record, source))
            result.failed.append((failed, origin))
        except Exception as error:  # a class of the user's; it must not cost the bundle
            unreadable = RecordError(
                "unreadable_value",
                f"The record holds something that cannot be read ({type(error).__name__}). Convert "
                "or exclude it.",
            )
            result.failed.append((block.failure(unreadable, record, source), origin))
        else:
            result.count(encoded)
            if encoded.key is not None:
                keys.append(encoded.key)
            result.rest.append((encoded.json, origin))
    if keys:
        result.keys.append(keys_of_events(keys))
