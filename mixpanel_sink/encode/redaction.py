"""Drops or hashes columns before anything leaves the worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import pyarrow as pa
from blake3 import blake3

from mixpanel_sink.api.values import ColumnsOfOneName, id_text, to_json
from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.encode.blocks import Block, Failure, TableBlock
from mixpanel_sink.encode.hashing import blake3_hex
from mixpanel_sink.encode.json_columns import SparseType, sparse_column
from mixpanel_sink.errors import RecordError, kind_of
from mixpanel_sink.results import FUNCTION_FAILED, FailedRecord
from mixpanel_sink.results.shown import CANNOT_BE_SHOWN, record_as_json
from mixpanel_sink.secrets import resolve
from mixpanel_sink.settings.privacy import Privacy

_HEX = 32
"""Hex digits of a hash: 128 bits."""


def redact(block: Block, masker: Masker, failed: list[Failure]) -> Iterator[Block]:
    """The block without what must not leave the worker, in one or several blocks.

    Args:
        block: the records.
        masker: what is done.
        failed: takes the records whose values cannot be hashed, without their data.
    """
    table = None if masker.raw else block.as_table()
    if table is not None:
        try:
            yield TableBlock.made(block.key, block.runs, masker.table(table))
            return
        except RecordError:  # which costs one record only
            pass
    for part in block.slices(1):
        redacted: list[Any] = []
        rows: list[int] = []
        for row, record in enumerate(part.records()):
            try:
                redacted.append(part.redact(masker, record))
                rows.append(row)
            except RecordError as error:
                (origin,) = part.origins([row])
                lost = part.failure(error, {}, part.source(origin))
                failed.append((lost._replace(record_json=None), origin))
        if rows:
            yield part.as_records(redacted, rows)


class Masker:
    """Applies a `Privacy` on a worker, with its key resolved.

    Args:
        privacy: what to do.
        raw: whether records are events or updates, whose properties lie deeper.

    Raises:
        CredentialsError: if the key does not resolve.
    """

    def __init__(self, privacy: Privacy, raw: bool = False) -> None:
        self.raw = raw
        self._drop = frozenset(privacy.drop)
        self._hash = frozenset(privacy.hash)
        key = "" if privacy.key is None else resolve(privacy.key, "The key of Privacy")
        self._key = f"{key}\0"

    def record(self, record: Mapping[Any, Any]) -> dict[Any, Any]:
        """A record without what must not leave.

        Raises:
            RecordError: if a value cannot be hashed.
        """
        if hasattr(record, "as_py"):
            record = _fields(record)
        masked: dict[Any, Any] = {}
        for name, value in record.items():
            if name in self._drop:
                continue
            if name in self._hash:
                value = self._hashed(value, name)
            elif self.raw and isinstance(value, Mapping):
                try:
                    value = self.record(value)
                except RecursionError:
                    raise RecordError(
                        "nested_too_deep", "The record nests too many objects. Flatten it."
                    ) from None
            masked[name] = value
        return masked

    def failed(self, failed: FailedRecord) -> FailedRecord:
        """A failed record without what is to be dropped.

        One that failed in a sink has its hashes already; one of `MapRecords` was in none yet.
        """
        try:
            return self._failed(failed)
        except Exception:  # JSON that is broken or too deep: what cannot be masked must not leave
            return failed._replace(event_json=None, record_json=None)

    def _failed(self, failed: FailedRecord) -> FailedRecord:
        event, record = failed.event, failed.record
        if isinstance(properties := (event or {}).get("properties"), dict):
            event = {**(event or {}), "properties": self._without(properties)}
            failed = failed._replace(event_json=json.dumps(event))
        if isinstance(record, dict) and failed.reason == FUNCTION_FAILED:
            failed = failed._replace(record_json=record_as_json(self.record(record)))
        elif isinstance(record, dict):
            record = self._without(record)
            if self.raw and isinstance(record.get("properties"), dict):
                record["properties"] = self._without(record["properties"])
            failed = failed._replace(record_json=json.dumps(record))
        else:
            # The text of a line that could not be read may hold what must stay hidden.
            failed = failed._replace(record_json=None)
        return failed

    def _without(self, record: Mapping[Any, Any]) -> dict[Any, Any]:
        return {name: value for name, value in record.items() if name not in self._drop}

    def table(self, table: pa.Table) -> pa.Table:
        """A table, not of raw events, without what must not leave; its metadata stay.

        Raises:
            RecordError: if a value cannot be hashed.
        """
        metadata = table.schema.metadata
        for name in [name for name in table.schema.names if name in self._drop]:
            table = table.drop_columns([name]) if name in table.schema.names else table
        for place, name in enumerate(table.schema.names):
            if name in self._hash:
                hashes = self._hashed_column(table.column(place), name)
                table = table.set_column(place, name, hashes)
        return table.replace_schema_metadata(metadata)

    def _hashed(self, value: Any, name: str) -> str | None:
        try:
            text = _text(value, name)
        except RecordError:
            raise
        except Exception as error:  # a user's type; its text may hold what must not leave
            raise RecordError(
                "unsupported_value",
                f"{name} is {kind_of(value)}, which cannot be hashed "
                f"({type(error).__name__}). Convert or drop it.",
                name,
            ) from None
        if text is None:
            return None
        digest = blake3((self._key + text).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:_HEX]

    def _hashed_column(self, column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
        if isinstance(column.type, SparseType):
            given = [self._hashed(value, name) for value in values_of(column)]
            jsons = [None if each is None else f'"{each}"' for each in given]
            return sparse_column(jsons, column.is_null().to_pylist())
        texts = _plain_text(column)
        if texts is None:
            hashes = [self._hashed(value, name) for value in values_of(column)]
            return pa.chunked_array([pa.array(hashes, pa.string())])
        frame: Any = pl.from_arrow(pa.table({"v": texts}))
        keyed = frame.select((pl.lit(self._key) + pl.col("v")).alias("v"))
        hashed = keyed.select(blake3_hex(pl.col("v"), _HEX))
        return pa.chunked_array([hashed.to_series().to_arrow(compat_level=pl.CompatLevel.oldest())])


def _fields(scalar: Any) -> dict[Any, Any]:
    """An Arrow struct or map that Python has no form for, as a dict of what `values_of` makes."""
    kind = scalar.type
    if pa.types.is_map(kind):
        pairs = [(pair["key"].as_py(), pair["value"]) for pair in scalar.values]
    else:
        pairs = [(field.name, scalar[i]) for i, field in enumerate(kind)]
    fields = {
        name: values_of(pa.chunked_array([pa.array([value], value.type)]))[0]
        for name, value in pairs
    }
    if len(fields) < len(pairs):
        raise RecordError("duplicate_property", "The record holds an object with a key twice.")
    return fields


def _text(value: Any, name: str) -> str | None:
    """What is hashed: the same text for equal values, in a dict or a table; None for nulls."""
    if value is None or isinstance(value, str):
        return value
    try:
        text = id_text(value, name)
        # NaT, or a null of Arrow's; an enum may really hold this text.
        return None if text == "null" and to_json(value, name, False) is None else text
    except RecordError:
        if isinstance(value, ColumnsOfOneName):
            raise
    # No event can hold it; its hash can stand for it all the same, if it has a text at all.
    shown = record_as_json(value)
    if CANNOT_BE_SHOWN in shown:
        raise ValueError
    return json.dumps(json.loads(shown), sort_keys=True)


def _plain_text(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column of text or integers as Polars takes it; None for others, and what is not UTF-8."""
    kind = column.type
    encoded = pa.types.is_dictionary(kind)
    plain = kind.value_type if encoded else kind
    if pa.types.is_integer(kind):
        return column.cast(pa.string())  # which is their JSON
    if not (pa.types.is_string(plain) or pa.types.is_large_string(plain)):
        return None
    try:
        if encoded:
            column = column.cast(plain)
        column.validate(full=True)
    except pa.ArrowException:
        return None
    return column
