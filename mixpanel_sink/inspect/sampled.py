"""A sample's columns, as proposing a mapping looks at them: names, types, and what is a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

_LOOKED_AT = 100
"""Values of a column, to see whether they are objects."""


class Notes:
    """Why each part is as it is, and what is a guess."""

    def __init__(self) -> None:
        self.why: dict[str, str] = {}
        self.guesses: list[str] = []

    def sure(self, part: str, why: str) -> None:
        """Notes why a part of the mapping is certain."""
        self.why[part] = why

    def guess(self, part: str, why: str) -> None:
        """Notes a part of the mapping for a person to confirm."""
        self.why[part] = f"GUESS: {why}"
        self.guesses.append(f"{part}: {why}")


def nulls(column: Any) -> str:
    """How many rows have nothing there, for people; nothing if none has."""
    if not column.null_count:
        return ""
    return f"{column.null_count:,} of {len(column):,} rows of the sample"


def matching(columns: Iterable[str], words: Sequence[str]) -> list[str]:
    """Columns of such names, best first: the very word, then one that ends in it."""
    plain = {name: plain_name(name) for name in columns}
    exact = [name for word in words for name, text in plain.items() if text == word]
    ends = [n for w in words if len(w) > 2 for n, text in plain.items() if text.endswith("_" + w)]
    return list(dict.fromkeys([*exact, *ends]))


def plain_name(name: str) -> str:
    """In one spelling: "User ID", userId and $user_id are user_id."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return re.sub(r"\W+|_+", "_", words).strip("_")


def is_text(kind: pa.DataType) -> bool:
    """Whether the type is text, a dictionary of texts included."""
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind)


def is_whole(kind: pa.DataType) -> bool:
    """Whether the type is of whole numbers."""
    return types.is_integer(kind) or (types.is_decimal(kind) and kind.scale == 0)


def is_id(kind: pa.DataType) -> bool:
    """Whether its values can be ids: text and whole numbers."""
    return is_text(kind) or is_whole(kind)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a type holds bytes."""
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind)


def distinct(column: Any) -> int | None:
    """How many different values a column has; None if it is empty."""
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return pc.count_distinct(column, mode="only_valid").as_py() if len(column) else None


def keys_of_objects(column: Any) -> set[str] | None:
    """The keys of a column of objects, or of their JSON as text; None for other columns."""
    kind = column.type
    if types.is_struct(kind):
        return {field.name for field in kind}
    if types.is_map(kind) and is_text(kind.key_type):
        return {key for row in column[:_LOOKED_AT].to_pylist() for key, _ in row or ()}
    if not is_text(kind):
        return None
    keys: set[str] = set()
    for text in column.drop_null()[:_LOOKED_AT].to_pylist():
        try:
            value = json.loads(text) if text.startswith("{") else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(value, dict):
            return None
        keys |= value.keys()
    return keys or None
