"""The coder of results.

Beam's row coder would do for their fields, but a worker that decodes a row whose class it has
not imported yet makes up a class of its own, without `to_json` and the properties.
"""

from __future__ import annotations

import json
from typing import Any

from apache_beam.coders import Coder, registry

from mixpanel_sink.results import FailedRecord, Receipt


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
        """For Beam's registry."""
        return cls(typehint)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ResultCoder) and self._kind is other._kind

    def __hash__(self) -> int:
        return hash(self._kind)


def register() -> None:
    """Makes it the coder of failed records and receipts."""
    for kind in (FailedRecord, Receipt):
        registry.register_coder(kind, ResultCoder)
