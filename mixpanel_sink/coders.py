"""The coders of results, tables and blocks.

Beam's row coder would do for their fields, but a worker that decodes a row whose class it has
not imported yet makes up a class of its own, without `to_json` and the properties.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from apache_beam.coders import Coder, FastPrimitivesCoder, registry

from mixpanel_sink.batch.origin import RecordBlock, memory_bytes
from mixpanel_sink.results import (
    AcceptedRecord,
    Books,
    FailedRecord,
    FailureSummary,
    ReadCount,
    Receipt,
    Totals,
)


class ResultCoder(Coder):
    """Encodes a named tuple of plain fields as a JSON array, and restores its class."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def encode(self, value: Any) -> bytes:
        """The fields in their order."""
        return json.dumps(tuple(value)).encode("ascii")

    def decode(self, encoded: bytes) -> Any:
        """The named tuple."""
        return self._kind(*json.loads(encoded))

    def is_deterministic(self) -> bool:
        """Equal tuples have equal bytes."""
        return True

    def to_type_hint(self) -> Any:
        """The class that it restores."""
        return self._kind

    @classmethod
    def from_type_hint(cls, typehint: Any, registry: Any) -> ResultCoder:
        """Makes the coder of a type; called by Beam's registry."""
        return cls(typehint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultCoder) and self._kind is other._kind

    def __hash__(self) -> int:
        return hash(self._kind)


class TableCoder(Coder):
    """Encodes a `pyarrow.Table` in Arrow's stream format, its metadata included.

    Beam measures the size of elements all the time. This one is asked, not pickled for it.
    """

    def encode(self, value: Any) -> bytes:
        """The table in Arrow's stream format."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as stream:
            stream.write_table(value)
        return sink.getvalue().to_pybytes()

    def decode(self, encoded: bytes) -> Any:
        """The table."""
        return pa.ipc.open_stream(encoded).read_all()

    def estimate_size(self, value: Any) -> int:
        """Bytes in memory."""
        return memory_bytes(value)

    def to_type_hint(self) -> Any:
        """The type that it decodes to."""
        return pa.Table


_UNKNOWN_SIZE = 1000
"""Stands for the bytes of a record that cannot be measured."""


_TABLE, _OTHER = b"T", b"O"


class BlockCoder(Coder):
    """Encodes `RecordBlock`s and the failed records among them as Beam does by itself, and the
    tables among them as `TableCoder` does.

    It only measures them in another way: by one record, not by pickling thousands.
    """

    def __init__(self) -> None:
        self._any = FastPrimitivesCoder()
        self._table = TableCoder()

    def encode(self, value: Any) -> bytes:
        """The bytes of a value of any kind."""
        if isinstance(value, pa.Table):
            return _TABLE + self._table.encode(value)
        return _OTHER + self._any.encode(value)

    def decode(self, encoded: bytes) -> Any:
        """The value again."""
        if encoded[:1] == _TABLE:
            return self._table.decode(encoded[1:])
        return self._any.decode(encoded[1:])

    def estimate_size(self, value: Any) -> int:
        """About as many bytes as it has encoded."""
        if isinstance(value, pa.Table):
            return self._table.estimate_size(value)
        if isinstance(value, RecordBlock):
            return len(value.records) * self._size(value.records[0])
        return self._size(value)

    def _size(self, value: Any) -> int:
        try:
            return self._any.estimate_size(value)
        except Exception:  # a value that cannot be pickled; the sink says which
            return _UNKNOWN_SIZE

    def to_type_hint(self) -> Any:
        """The type that it decodes to."""
        return RecordBlock


def register() -> None:
    """Makes them the coders of results, tables and blocks: `import mixpanel_sink.write` does."""
    for kind in (AcceptedRecord, Books, FailedRecord, FailureSummary, ReadCount, Receipt, Totals):
        registry.register_coder(kind, ResultCoder)
    registry.register_coder(pa.Table, TableCoder)
    registry.register_coder(RecordBlock, BlockCoder)
