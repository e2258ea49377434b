"""Avro files, such as BigQuery exports."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import fastavro

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.records import BadRecord, opened


@dataclasses.dataclass(frozen=True)
class AvroRecords:
    """Reads Avro's records. Logical types become what they mean: timestamps, dates, decimals."""

    def columns(self, path: str) -> list[str]:
        """The fields of the file's schema.

        Raises:
            InputError: if its values are no records.
        """
        with opened(path) as file:
            schema: Any = fastavro.reader(file).writer_schema
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise InputError(
                f"{path} holds no records. Give an Avro file whose schema is a record."
            )
        return [field["name"] for field in schema["fields"]]

    def rows(self, path: str) -> Iterator[tuple[int, dict[str, Any] | BadRecord]]:
        """Each record."""
        with opened(path) as file:
            records: Any = fastavro.reader(file)
            yield from enumerate(records)
