"""Avro files, such as BigQuery exports."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterator
from typing import Any, ClassVar

import fastavro

from mixpanel_sink.errors import InputError
from mixpanel_sink.read.connection import short
from mixpanel_sink.read.files import open_file, opened
from mixpanel_sink.read.records import RecordFormat, Row

_COUNTED_BLOCKS = 20
"""Blocks by which a file's records are estimated."""


@dataclasses.dataclass(frozen=True)
class AvroRecords(RecordFormat):
    """Reads Avro's records. Logical types become what they mean: timestamps, dates, decimals."""

    name: ClassVar[str] = "Avro"

    def columns(self, path: str) -> list[str]:
        """The fields of the file's schema.

        Raises:
            InputError: if its values are not records.
        """
        with opened(path) as file:
            reader: Any = fastavro.reader(file)
            schema = reader.writer_schema
            try:
                next(reader, None)
            except ValueError as error:  # a codec whose module is not there
                if "codec" not in str(error):
                    raise
                raise InputError(
                    f"{path} is compressed with {reader.metadata.get('avro.codec')}, which needs "
                    f"a package that is not installed ({short(error)}). Install "
                    "fastavro[codecs]."
                ) from None
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise InputError(
                f"{path} holds no records. Give an Avro file whose schema is a record."
            )
        return [field["name"] for field in schema["fields"]]

    def rows(self, path: str) -> Iterator[Row]:
        """The records."""
        with opened(path) as file:
            records: Any = fastavro.reader(file)
            yield from enumerate(records)

    def estimated_rows(self, path: str) -> int:
        """By its first blocks, each of which says how many records it has."""
        with open_file(path) as file:
            size = file.seek(0, os.SEEK_END) or file.tell()
        try:
            with opened(path) as file:
                blocks: Any = fastavro.block_reader(file)
                first = list(itertools.islice(blocks, _COUNTED_BLOCKS))
        except Exception:  # reading it will say what is wrong
            return 0
        counted = sum(block.num_records for block in first)
        if len(first) < _COUNTED_BLOCKS:
            return counted
        return max(counted, counted * size // max(1, sum(block.size for block in first)))
