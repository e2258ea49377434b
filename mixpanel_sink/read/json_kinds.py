"""What kinds of values the keys of JSON lines have, as columns of Polars."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson
import polars as pl
import pyarrow as pa

_TYPES: Mapping[type, Any] = {str: pl.String, int: pl.Int64, float: pl.Float64, bool: pl.Boolean}
_PATTERNS = {
    pl.String: r'"[^"\\]*(?:\\.[^"\\]*)*"',
    pl.Int64: "-?[0-9]+",
    pl.Float64: r"-?[0-9]+\.[0-9]+(?:[eE][-+]?[0-9]+)?",
    pl.Boolean: "(?:true|false)",
}
"""As JSON writes the values. Polars has read them, so that they are JSON."""
_ODD_KEY = re.compile(r'[":{\[\\.]|null')
_DEEPEST = 8
"""Levels of lists and objects; what is deeper is read line by line."""

Schema = dict[str, Any]


@dataclasses.dataclass
class Kinds:
    """What the values of one key were so far, but for nulls.

    Attributes:
        types: of the values.
        count: how many there were.
        fields: of those that are objects, in the order in which their keys came.
        items: of those that are lists.
    """

    types: set[type] = dataclasses.field(default_factory=set)
    count: int = 0
    fields: Types = dataclasses.field(default_factory=dict)
    items: Kinds | None = None

    def add(self, value: Any, depth: int = 1) -> None:
        """Notes one more value, nested in so many lists and objects."""
        if value is None:
            return
        self.types.add(type(value) if depth <= _DEEPEST else object)
        self.count += 1
        if depth > _DEEPEST:
            return
        if isinstance(value, dict):
            for name, inner in value.items():
                self.fields.setdefault(name, Kinds()).add(inner, depth + 1)
        elif isinstance(value, list):
            self.items = self.items or Kinds()
            for inner in value:
                self.items.add(inner, depth + 1)


Types = dict[str, Kinds]


def add_types(types: Types, records: Iterable[Mapping[str, Any]]) -> None:
    """Adds the keys of records, and the kinds of their values."""
    for record in records:
        for name, value in record.items():
            types.setdefault(name, Kinds()).add(value)


def schema_of(types: Types) -> Schema | None:
    """The columns, if each has values of one kind, down to those in lists and objects."""
    return _fields(types) or None


def _fields(types: Types) -> Schema | None:
    if any(_ODD_KEY.search(name) for name in types):
        return None
    made = {name: _kind(kinds) for name, kinds in types.items()}
    return None if None in made.values() else made


def _kind(kinds: Kinds | None) -> Any:
    if kinds is None or not kinds.types:
        return pl.String()
    if len(kinds.types) > 1:
        return None
    (only,) = kinds.types
    if only is dict:
        # All objects of a table have the same keys: a rare one must not keep the others out.
        most = {name: each for name, each in kinds.fields.items() if 2 * each.count > kinds.count}
        fields = _fields(most)
        return pl.Struct(fields) if fields else None
    if only is list:
        items = _kind(kinds.items)
        return None if items is None else pl.List(items)
    return _TYPES[only]() if only in _TYPES else None


def spellings(name: str) -> list[str]:
    """A key, as JSON may write it."""
    return list(dict.fromkeys((orjson.dumps(name).decode(), json.dumps(name))))


def regexes_of(name: str, kind: Any) -> tuple[str, str]:
    """Regular expressions for a key and the beginning of any list or object; and for a key and its
    list or object as the column has it: with these very keys in their order, and without a null.

    They match only where such a pair is, and not within a text, since there the key's quotes are
    escaped. But the pair may be within another list or object.
    """
    return rf"{_key(name)}[\[{{]", f"{_key(name)}{_value(kind)}"


def _key(name: str) -> str:
    return f"(?:{'|'.join(map(re.escape, spellings(name)))}): ?"


def _value(kind: Any) -> str:
    if isinstance(kind, pl.Struct):
        pairs = ", ?".join(_key(part.name) + _value(part.dtype) for part in kind.fields)
        return rf"\{{{pairs}\}}"
    if isinstance(kind, pl.List):
        item = _value(kind.inner)
        return rf"\[(?:{item}(?:, ?{item})*)?\]"
    return _PATTERNS[type(kind)]


def is_nested(kind: Any) -> bool:
    """Whether it is a list or an object."""
    return isinstance(kind, pl.List | pl.Struct)


def parts_of(table: pa.Table) -> Iterator[Any]:
    """The arrays of a table's columns, and those of which its lists and structs are made."""
    for column in table.columns:
        for chunk in column.chunks:
            yield from _parts(chunk)


def _parts(array: Any) -> Iterator[Any]:
    yield array
    if pa.types.is_struct(array.type):
        for part in array.flatten():
            yield from _parts(part)
    elif pa.types.is_large_list(array.type):
        yield from _parts(array.flatten())
