"""Privacy: named properties are dropped or hashed before anything leaves the worker.

Convert does it first, so that events, failed records, messages and the checkpoint only
ever hold what is left. The names are those of columns; in ready-made events and updates
those of properties.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import polars_hash as plh
import pyarrow as pa
from blake3 import blake3

from mixpanel_sink.credentials import SecretReference, check_reference, resolve
from mixpanel_sink.errors import SettingError
from mixpanel_sink.results import FUNCTION_FAILED, FailedRecord, record_as_json

_HEX = 32
"""Hex digits of a hash: 128 bits."""


@dataclasses.dataclass(frozen=True)
class Privacy:
    """What must not leave the worker as it is.

    Args:
        drop: columns or properties that are left out.
        hash: columns or properties whose values become a hash of 32 hex digits; equal values
            have equal hashes, nulls stay nulls. A column of ids may be hashed, too.
        key: a reference to a secret that goes into the hash. Without one, whoever can
            guess a value (an address, a phone number) can check the guess.

    Raises:
        SettingError: for a name in both lists, or none at all.

    >>> Privacy(drop=["email"], hash=["phone"], key="env:PII_KEY").drop
    ('email',)
    """

    drop: Sequence[str] = ()
    hash: Sequence[str] = ()
    key: SecretReference | None = None

    def __post_init__(self) -> None:
        for part in ("drop", "hash"):
            names = getattr(self, part)
            if isinstance(names, str) or not all(isinstance(name, str) and name for name in names):
                raise SettingError(f"Privacy.{part} is a list of columns, such as ['email'].")
            object.__setattr__(self, part, tuple(names))
        if both := sorted(set(self.drop) & set(self.hash)):
            raise SettingError(f"Privacy has {both[0]!r} in both drop and hash. Choose.")
        if not self.drop and not self.hash:
            raise SettingError("Privacy names nothing to drop and nothing to hash.")
        if self.key is not None:
            check_reference(self.key, "The key of Privacy")


class Masker:
    """Applies a `Privacy` on a worker, with its key resolved.

    Args:
        privacy: what to do.
        ready_made: whether records are events or updates, whose properties lie deeper.

    Raises:
        CredentialsError: if the key does not resolve.
    """

    def __init__(self, privacy: Privacy, ready_made: bool = False) -> None:
        self._ready_made = ready_made
        self._drop = frozenset(privacy.drop)
        self._hash = frozenset(privacy.hash)
        key = "" if privacy.key is None else resolve(privacy.key, "The key of Privacy")
        self._key = f"{key}\0"

    def record(self, record: Mapping[Any, Any]) -> dict[Any, Any]:
        """A record without what must not leave."""
        masked: dict[Any, Any] = {}
        for name, value in record.items():
            if name in self._drop:
                continue
            if name in self._hash:
                value = self._hashed(value)
            elif self._ready_made and isinstance(value, Mapping):
                value = self.record(value)
            masked[name] = value
        return masked

    def failed(self, failed: FailedRecord) -> FailedRecord:
        """A failed record without what is to be dropped.

        One that failed in a sink has its hashes already; one of `MapRecords` was in none yet.
        """
        event, record = failed.event, failed.record
        if isinstance(properties := (event or {}).get("properties"), dict):
            event = {**(event or {}), "properties": self._without(properties)}
            failed = failed._replace(event_json=json.dumps(event))
        if isinstance(record, dict) and failed.reason == FUNCTION_FAILED:
            failed = failed._replace(record_json=record_as_json(self.record(record)))
        elif isinstance(record, dict):
            record = self._without(record)
            if self._ready_made and isinstance(record.get("properties"), dict):
                record["properties"] = self._without(record["properties"])
            failed = failed._replace(record_json=json.dumps(record))
        return failed

    def _without(self, record: Mapping[Any, Any]) -> dict[Any, Any]:
        return {name: value for name, value in record.items() if name not in self._drop}

    def table(self, table: pa.Table) -> pa.Table:
        """A table without what must not leave; its metadata stay."""
        metadata = table.schema.metadata
        for name in [name for name in table.schema.names if name in self._drop]:
            table = table.drop_columns([name]) if name in table.schema.names else table
        for place, name in enumerate(table.schema.names):
            if name in self._hash:
                table = table.set_column(place, name, self._hashed_column(table.column(place)))
        if self._ready_made:
            rows = [self.record(row) for row in table.to_pylist(maps_as_pydicts="strict")]
            table = pa.Table.from_pylist(rows)
        return table.replace_schema_metadata(metadata)

    def _hashed(self, value: Any) -> str | None:
        if value is None:
            return None
        text = value if isinstance(value, str) else record_as_json(value)
        digest = blake3((self._key + text).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()[:_HEX]

    def _hashed_column(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        kind = column.type
        if pa.types.is_dictionary(kind):
            column = column.cast(kind.value_type)
            kind = kind.value_type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            hashes = [self._hashed(value) for value in column.to_pylist()]
            return pa.chunked_array([pa.array(hashes, pa.string())])
        frame: Any = pl.from_arrow(pa.table({"v": column}))
        keyed = frame.select((pl.lit(self._key) + pl.col("v")).alias("v"))
        hashed = keyed.select(plh.col("v").chash.blake3().str.head(_HEX))
        return pa.chunked_array([hashed.to_series().to_arrow(compat_level=pl.CompatLevel.oldest())])
