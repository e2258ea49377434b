"""Hive's partitions: the keys in a path such as `in/day=2024-05-01/land=DE/a.parquet` are columns.

Their values are text, as in the path with %XX decoded; Hive's name for null is null. They take the
place of columns of the same name in the file, as with Spark.
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

import pyarrow as pa

from mixpanel_sink.batch.origin import RecordBlock
from mixpanel_sink.results import FailedRecord

if TYPE_CHECKING:
    from mixpanel_sink.read.source import Columns, Element

_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_keys(path: str) -> dict[str, str | None]:
    """The keys of the folders that a file is in, and their values."""
    keys: dict[str, str | None] = {}
    for folder in path.split("/")[:-1]:
        name, sign, value = folder.partition("=")
        if name and sign:
            text = urllib.parse.unquote(value)
            keys[urllib.parse.unquote(name)] = None if text == _NULL else text
    return keys


def schema_with_keys(schema: pa.Schema, path: str) -> pa.Schema:
    """A file's columns, and its path's."""
    for name in partition_keys(path):
        if name in schema.names:
            schema = schema.remove(schema.get_field_index(name))
        schema = schema.append(pa.field(name, pa.string()))
    return schema


def with_keys(element: Element, path: str, columns: Columns) -> Element:
    """An element with those of its path's keys that are wanted."""
    keys = partition_keys(path) if columns.keys else {}
    if not keys or isinstance(element, FailedRecord):
        return element
    wanted = {name: keys[name] for name in columns.among(list(keys))}
    if isinstance(element, RecordBlock):
        records = [{**record, **wanted} for record in element.records]
        return RecordBlock(records, element.origin, element.offsets)
    for name, value in wanted.items():
        if name in element.schema.names:
            element = element.drop_columns([name])
        values = pa.repeat(pa.scalar(value, pa.string()), len(element))
        element = element.append_column(name, values)
    return element
