"""Applies a `Shape` to a table: unpacks, converts and filters columns before the mapping.

One record that does not fit fails by itself; the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.api.numbers import read_json
from mixpanel_sink.api.values import id_text
from mixpanel_sink.encode.arrow_rows import take_rows, values_of
from mixpanel_sink.encode.casts import cast
from mixpanel_sink.encode.columnar.arrow_types import decoded, is_utf8
from mixpanel_sink.encode.conditions import matching_rows
from mixpanel_sink.encode.hashing import blake3_hex
from mixpanel_sink.encode.json_columns import JsonType, json_column, lost_rows, texts_of
from mixpanel_sink.encode.tables import plain_column
from mixpanel_sink.errors import MappingError, RecordError, kind_of
from mixpanel_sink.results import SHAPE_FAILED
from mixpanel_sink.settings.names import name_twice
from mixpanel_sink.settings.shape import Join, Sample, Shape, Split

_SHARES = 1_000_000
"""A sample is exact to so many parts of all users."""


@dataclasses.dataclass(frozen=True)
class Shaped:
    """What a shape made of a table.

    Attributes:
        table: the records that are left.
        rows: where they were in the table that was given, in order.
        failed: rows that do not fit, and why.
        left_out: how many records the shape was asked to leave out.
    """

    table: pa.Table
    rows: np.ndarray[Any, np.dtype[np.int64]]
    failed: dict[int, RecordError]
    left_out: int


def shape_table(
    table: pa.Table, shape: Shape, mapped: Collection[str] = (), loose: bool = False
) -> Shaped:
    """Runs the steps over a table.

    Args:
        table: any; its metadata go along.
        shape: what to do.
        mapped: columns that become more than a property. Where JSON gives one of them values of
            several types, they become text.
        loose: whether the columns' types were told by their values, as those of dicts are, and not
            declared.

    Raises:
        MappingError: for a condition that does not fit the columns, or names that collide.
    """
    work = _Work(table, mapped, loose)
    for name, prefix in shape.json.items():  # type: ignore[union-attr]
        work.unpack(name, prefix, work.of_json)
    for name, prefix in shape.flatten.items():  # type: ignore[union-attr]
        work.unpack(name, prefix, work.of_nested)
    for name, how in shape.split.items():
        work.split(name, how)
    for name, join in shape.join.items():
        work.join(name, join)
    for name, kind in shape.cast.items():
        work.cast(name, kind)
    for name, value in shape.defaults.items():
        work.fill(name, value)
    if shape.where is not None:
        work.filter(shape.where)
    if isinstance(shape.sample, Sample):
        work.keep(_sampled(work.columns.get(shape.sample.column), shape.sample, len(table)))
    return work.result(shape.renamed(list(work.columns)))


class _Work:
    """Columns on their way, and what has become of each row."""

    def __init__(self, table: pa.Table, mapped: Collection[str], loose: bool) -> None:
        self.table = table
        self.mapped = mapped
        names = table.schema.names
        if (twice := name_twice(names)) is not None:
            raise MappingError(
                f"The input has two columns named {twice!r}; rename one of them at its source."
            )
        self.columns: dict[str, Any] = dict(zip(names, table.columns, strict=True))
        self.loose = set(names) if loose else set()
        """Columns whose type was told by their values."""
        self.failed: dict[int, RecordError] = {}
        self.kept = np.ones(len(table), bool)

    def result(self, names: dict[str, str]) -> Shaped:
        for old, new in names.items():
            column = self.columns[old]
            if new in self.mapped and isinstance(column.type, JsonType):
                self.columns[old] = pa.chunked_array([self._texts(new, values_of(column))])
        alive = self.kept.copy()
        alive[list(self.failed)] = False
        columns = {new: self.columns[old] for old, new in names.items()}
        if not columns:  # a table needs a column to have rows
            columns = {"": pa.nulls(len(self.table))}
        made = pa.table(columns).replace_schema_metadata(self.table.schema.metadata)
        rows = np.flatnonzero(alive)
        left_out = len(self.table) - len(rows) - len(self.failed)
        return Shaped(take_rows(made, rows.tolist()), rows, self.failed, left_out)

    def keep(self, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
        """Leaves out what a condition does not match; what failed before stays failed."""
        self.kept &= mask
        self.kept[list(self.failed)] = True

    def unpack(
        self, name: str, prefix: str, parts_of: Callable[[str, Any], dict[str, Any]]
    ) -> None:
        """Replaces a column by the columns made of its values."""
        column = self.columns.pop(name, None)
        if column is None:  # this file has none of it
            return
        parts = parts_of(name, column)
        self.loose |= {prefix + key for key in parts}
        for key, part in parts.items():
            there = self.columns.get(prefix + key)
            if there is None:
                self.columns[prefix + key] = part
                continue
            for row in np.flatnonzero(pc.and_(part.is_valid(), there.is_valid())):
                self.failed[int(row)] = RecordError(
                    SHAPE_FAILED,
                    f"{name} holds {key!r}, and the column {prefix + key!r} has a value already. "
                    f"Give what is made of it a prefix: {{{name}: {name}_}}.",
                    name,
                )
            values = zip(values_of(there), values_of(part), strict=True)
            both = [old if new is None else new for new, old in values]
            self.columns[prefix + key] = self._column(prefix + key, both)

    def of_json(self, name: str, column: Any) -> dict[str, Any]:
        objects: list[dict[str, Any]] = []
        for row, text in enumerate(values_of(column)):
            try:
                found = {} if text is None else read_json(text)
            except (ValueError, TypeError, RecursionError):
                found = None
            if not isinstance(found, dict):
                self.failed[row] = RecordError(
                    SHAPE_FAILED,
                    f"{name} does not hold a JSON object. Correct it, or take {name} out of json.",
                    name,
                )
                found = {}
            objects.append(found)
        return self._columns(objects)

    def of_nested(self, name: str, column: Any) -> dict[str, Any]:
        kind = column.type
        if pa.types.is_struct(kind):
            fields = [kind.field(i).name for i in range(kind.num_fields)]
            if (twice := name_twice(fields)) is not None:
                raise MappingError(
                    f"{name} has two fields named {twice!r}; rename one of them at its source."
                )
            return dict(zip(fields, column.flatten(), strict=True))
        objects = []
        for row, value in enumerate(values_of(column)):
            try:
                objects.append(_object_of(value, name))
            except RecordError as error:
                self.failed[row] = error
                objects.append({})
        return self._columns(objects)

    def _columns(self, objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
        names = dict.fromkeys(key for each in objects for key in each)
        return {name: self._column(name, [each.get(name) for each in objects]) for name in names}

    def _column(self, name: str, values: list[Any]) -> Any:
        plain = plain_column(values)
        return pa.chunked_array([json_column(values, name, False) if plain is None else plain])

    def _texts(self, name: str, values: list[Any]) -> pa.Array:
        """Values of several types as the texts that they are as ids."""
        texts: list[str | None] = []
        for row, value in enumerate(values):
            try:
                texts.append(None if value is None else id_text(value, name))
            except RecordError as error:
                self.failed[row] = RecordError(SHAPE_FAILED, error.message, name)
                texts.append(None)
        return pa.array(texts, pa.string())

    def split(self, name: str, how: Split) -> None:
        column = self.columns.get(name)
        if column is None:
            return
        column = _decoded(column)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = self._only_texts(name, column)
        self.loose |= {name, *how.into}
        if not how.into:
            self.columns[name] = pc.split_pattern(column, how.by)
            return
        del self.columns[name]
        parts = pc.split_pattern(column, how.by, max_splits=len(how.into) - 1)
        rows = [part or [] for part in parts.to_pylist()]
        for i, new in enumerate(how.into):
            texts = [row[i] if i < len(row) else None for row in rows]
            self.columns[new] = pa.chunked_array([pa.array(texts, pa.string())])

    def join(self, name: str, how: Join) -> None:
        parts: list[list[str | None]] = []
        for column in how.columns:
            if column in self.columns:
                texts, failed = cast(self.columns[column], column, "text")
                self.failed |= {row: _no_text_to_join(column) for row in failed}
                parts.append(texts.to_pylist())
        if not parts:
            return
        rows = [[text for text in row if text is not None] for row in zip(*parts, strict=True)]
        joined = [how.by.join(row) if row else None for row in rows]
        self.columns[name] = pa.chunked_array([pa.array(joined, pa.string())])
        self.loose.discard(name)

    def _only_texts(self, name: str, column: Any) -> Any:
        """The texts of a column that has other values, too, whose records fail."""
        values = values_of(column)
        lost = set(lost_rows(column))
        for row, value in enumerate(values):
            if row in lost or not isinstance(value, str | None):
                self.failed[row] = RecordError(
                    SHAPE_FAILED,
                    f"split needs text, and {name} is {kind_of(value)}. Cast it first, or "
                    f"take {name} out of split.",
                    name,
                )
        texts = [value if isinstance(value, str) else None for value in values]
        return pa.chunked_array([pa.array(texts, pa.string())])

    def cast(self, name: str, kind: str) -> None:
        if name in self.columns:
            self.columns[name], failed = cast(self.columns[name], name, kind)
            self.failed |= failed
            self.loose.discard(name)

    def fill(self, name: str, value: Any) -> None:
        column = self.columns.get(name)
        if column is None or pa.types.is_null(column.type):
            self.columns[name] = pa.chunked_array([pa.array([value] * len(self.table))])
            return
        column = _decoded(column)
        if _takes(column.type, value):
            with contextlib.suppress(pa.ArrowInvalid):  # such as 300 for 8 bits
                self.columns[name] = pc.fill_null(column, pa.scalar(value, column.type))
                return
        if not isinstance(column.type, JsonType):  # the others keep their types
            column = pa.chunked_array([json_column(values_of(column), name, False)])
        text = orjson.dumps(value).decode()
        filled = [text if each is None else each for each in texts_of(column)]
        array = pa.ExtensionArray.from_storage(JsonType(), pa.array(filled, pa.string()))
        self.columns[name] = pa.chunked_array([array])

    def filter(self, where: str) -> None:
        """Leaves out what a condition does not match."""
        mask, failed = matching_rows(self.columns, where, len(self.table), self.loose)
        self.failed = {**failed, **self.failed}
        self.keep(mask)


def _no_text_to_join(name: str) -> RecordError:
    message = f"{name} holds a value that is not text. Correct it, or take {name} out of join."
    return RecordError(SHAPE_FAILED, message, name)


def _object_of(value: Any, name: str) -> dict[str, Any]:
    """An object, map, or list of {key, value} as a dict."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for pair in value if isinstance(value, list) else [value]:
        if not isinstance(pair, dict) or "key" not in pair or "value" not in pair:
            raise RecordError(
                SHAPE_FAILED,
                f"{name} cannot be flattened: it is not an object, a map or a list of "
                "{key, value}. Take it out of flatten.",
                name,
            )
        key = pair["key"]
        if key is None:
            continue
        if not isinstance(key, str) or key in found:
            raise RecordError(
                SHAPE_FAILED, f"{name} has the key {key!r} twice, or it is not text.", name
            )
        found[key] = _value_of(pair["value"])
    return found


def _value_of(value: Any) -> Any:
    """GA4's values are objects of which one field is set, such as {string_value, int_value}."""
    if not isinstance(value, dict):
        return value
    parts = [part for name, part in value.items() if str(name).endswith("_value")]
    return next((part for part in parts if part is not None), None) if parts else value


def _takes(kind: pa.DataType, value: Any) -> bool:
    """Whether a column of this type can hold a default as it is."""
    if isinstance(value, bool):
        return bool(pa.types.is_boolean(kind))
    if isinstance(value, str):
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
    if isinstance(value, int):
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
    return isinstance(value, float) and bool(pa.types.is_floating(kind))


def _decoded(column: Any) -> Any:
    """A column of text in whatever layout as plain text; others as they are."""
    kind = decoded(column.type)
    if pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    return column.cast(kind) if is_utf8(kind) else column


def _shown(value: Any) -> str | None:
    try:
        return None if value is None else str(value)
    except (ArithmeticError, ValueError):  # a year that Python does not have
        return None


def _sampled(column: Any, sample: Sample, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """The rows whose users are in the sample, and those without a user, left to later steps."""
    if column is None:
        return np.ones(count, bool)
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        texts = pc.cast(column, pa.string())
    else:
        texts = pa.array([_shown(value) for value in values_of(column)], pa.string())
    frame: Any = pl.from_arrow(pa.table({"v": texts}))
    hashed = frame.select(blake3_hex(pl.col("v"), 8))["v"]
    share = hashed.str.to_integer(base=16, strict=False) % _SHARES
    mask = (share < round(sample.percent / 100 * _SHARES)).fill_null(True)
    return mask.to_numpy()
