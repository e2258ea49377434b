"""Applies a `Shape` to a table: unpacks, converts and filters columns before the mapping.

One record that does not fit fails by itself; the others go on. What becomes of a record depends on
its own values, and on the types and columns that its table declares, but not on its neighbours: see
`apart`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixpanel_sink.encode.apart import Apart, Rows, Shaped, in_parts
from mixpanel_sink.encode.arrow_rows import take_rows, values_of
from mixpanel_sink.encode.casts import TYPES, cast, types_apart
from mixpanel_sink.encode.columnar.arrow_types import plain_text
from mixpanel_sink.encode.conditions import matching_rows
from mixpanel_sink.encode.defaults import filled
from mixpanel_sink.encode.json_columns import lost_rows, sparse_column
from mixpanel_sink.encode.sampling import sampled
from mixpanel_sink.encode.told import is_of_json, json_texts, told_column
from mixpanel_sink.encode.unpacking import json_object, object_of_pairs, objects_of
from mixpanel_sink.errors import MappingError, RecordError, kind_of
from mixpanel_sink.results import SHAPE_FAILED
from mixpanel_sink.settings.names import name_twice
from mixpanel_sink.settings.shape import Join, Sample, Shape, Split

Mask = np.ndarray[Any, np.dtype[np.bool_]]
Absent = Mapping[str, Mask]
"""The records that lack a column, by its name; those of all others have it."""


def shape_table(
    table: pa.Table,
    shape: Shape,
    needed: Collection[str] = (),
    loose: bool = False,
    absent: Absent | None = None,
    failed: Mapping[int, RecordError] | None = None,
) -> Shaped:
    """Runs the steps over a table.

    Args:
        table: any; its metadata go along.
        shape: what to do.
        needed: columns that the mapping needs. Where the data make columns, so that one record has
            it and another does not, it is null in the other.
        loose: whether the columns' types were told by their values, as those of dicts are, and not
            declared.
        absent: which records lack a column; None if that is the same as a null.
        failed: rows that do not fit as they are.

    Raises:
        MappingError: for a condition that does not fit the columns, or names that collide.
    """
    known = failed or {}

    def some(rows: Rows | None) -> Shaped:
        if rows is None:
            return _Work(table, shape, loose, absent, known).shaped(needed)
        part = take_rows(table, rows.tolist())
        lacking = absent and {name: lacks[rows] for name, lacks in absent.items()}
        misfits = {at: known[row] for at, row in enumerate(rows.tolist()) if row in known}
        return _Work(part, shape, loose, lacking, misfits).shaped(needed)

    return in_parts(len(table), some)


class _Work:
    """Columns on their way, and what has become of each row."""

    def __init__(
        self,
        table: pa.Table,
        shape: Shape,
        loose: bool,
        absent: Absent | None,
        failed: Mapping[int, RecordError],
    ) -> None:
        self.table = table
        self.shape = shape
        names = table.schema.names
        if (twice := name_twice(names)) is not None:
            raise MappingError(
                f"The input has two columns named {twice!r}; rename one of them at its source."
            )
        self.columns: dict[str, Any] = dict(zip(names, table.columns, strict=True))
        self.told = set(names) if loose else set()
        """Columns whose type was told by their values."""
        self.open = loose or _makes_columns(table.schema, shape)
        """Whether the records' data tell which columns there are."""
        self.sparse = absent is not None
        self.absent: dict[str, Mask] = dict(absent or {})
        """The records that lack a column, if they have to be known."""
        self.failed = dict(failed)
        self.kept = np.ones(len(table), bool)

    def shaped(self, needed: Collection[str]) -> Shaped:
        """Takes all steps."""
        shape = self.shape
        for name, prefix in shape.json.items():  # type: ignore[union-attr]
            self.unpack(name, prefix, json_object)
        for name, prefix in shape.flatten.items():  # type: ignore[union-attr]
            self.flatten(name, prefix)
        for name, how in shape.split.items():
            self.split(name, how)
        for name, join in shape.join.items():
            self.join(name, join)
        for name, kind in shape.cast.items():
            self.cast(name, kind)
        for name, value in shape.defaults.items():
            self.fill(name, value)
        if shape.where is not None:
            mask, failed = matching_rows(self.columns, shape.where, len(self.table), self.is_told)
            self.failed = {**failed, **self.failed}
            self.keep(mask)
        if isinstance(shape.sample, Sample):
            column = self.columns.get(shape.sample.column)
            self.keep(sampled(column, shape.sample, len(self.table)))
        self.rename()
        return self.result(needed)

    def is_told(self, name: str) -> bool:
        """Whether values tell the type of this column; the settings alone decide which may be."""
        if name in self.shape.cast or name in self.shape.join:
            return False
        split = any(name in how.into for how in self.shape.split.values())
        return split or name in self.told or (name not in self.columns and self.open)

    def put(self, name: str, column: Any, told: bool, lacks: Mask | None = None) -> None:
        """Adds or replaces a column, which some records lack."""
        self.columns[name] = column if isinstance(column, pa.ChunkedArray) else _chunked(column)
        self.told.add(name) if told else self.told.discard(name)
        self.absent.pop(name, None)
        if self.sparse and lacks is not None:
            self.absent[name] = lacks

    def lacks(self, name: str) -> Mask:
        """The records that lack a column."""
        known = self.absent.get(name)
        if known is None:
            return np.full(len(self.table), name not in self.columns)
        return known

    def replace(self, name: str, column: Any, held: Mask, told: bool, lacks: Mask) -> None:
        """Puts a column in the place of one of this name, which stays where nothing is `held`."""
        there = self.columns.get(name)
        if there is not None and (_valid(there) & ~held).any():
            if held.any():
                raise Apart(held)
            column, told = there, name in self.told
        self.put(name, column, told, lacks & self.lacks(name))

    def merge(
        self, name: str, column: Any, told: bool, lacks: Mask | None, clash: RecordError
    ) -> None:
        """Adds a column; where there is one of this name, a record may have a value in either."""
        there = self.columns.get(name)
        if there is None:
            self.put(name, column, told, lacks)
            return
        takes, held = _valid(column), _valid(there)
        self.failed |= {int(row): clash for row in np.flatnonzero(takes & held & self.kept)}
        takes &= ~held
        both = self.lacks(name) & (False if lacks is None else lacks)
        if takes.any():
            both_told = told and name in self.told
            if not (both_told and is_of_json(there.type, column.type)):
                if not takes.all() and (held.any() or not both_told):
                    raise Apart(takes)
                self.put(name, column, told)
            else:
                pairs = zip(values_of(there), values_of(column), strict=True)
                values = [new if old is None else old for old, new in pairs]
                self.put(name, told_column(name, values), True)
        if self.sparse:
            self.absent[name] = both

    def unpack(
        self, name: str, prefix: str, object_of: Callable[[Any, str], dict[str, Any]]
    ) -> None:
        """Replaces a column by the columns made of the keys of its objects."""
        column = self.columns.pop(name, None)
        self.absent.pop(name, None)
        if column is None:  # this file has none of it
            return
        objects, failed = objects_of(column, name, object_of)
        self.failed |= failed
        for key in sorted({key for each in objects for key in each}):
            lacks = np.array([key not in each for each in objects]) if self.sparse else None
            made = told_column(key, [each.get(key) for each in objects])
            self.merge(prefix + key, made, True, lacks, _clash(name, key, prefix + key))

    def flatten(self, name: str, prefix: str) -> None:
        """Replaces a column by the columns made of its objects, maps or lists of {key, value}."""
        column = self.columns.get(name)
        if column is None or not pa.types.is_struct(column.type):
            self.unpack(name, prefix, object_of_pairs)
            return
        # Fields that are declared are there, also where the object is null.
        lacks = ~_valid(column) if name in self.told else None
        del self.columns[name]
        self.absent.pop(name, None)
        fields = [column.type.field(i).name for i in range(column.type.num_fields)]
        if (twice := name_twice(fields)) is not None:
            raise MappingError(
                f"{name} has two fields named {twice!r}; rename one of them at its source."
            )
        parts = dict(zip(fields, column.flatten(), strict=True))
        for key, part in sorted(parts.items()):
            self.merge(prefix + key, part, True, lacks, _clash(name, key, prefix + key))

    def split(self, name: str, how: Split) -> None:
        column = self.columns.get(name)
        if column is None:
            return
        column = plain_text(column)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            column = self._only_texts(name, column)
        if not how.into:
            self.put(name, pc.split_pattern(column, how.by), True, self.absent.get(name))
            return
        lacks = self.lacks(name)
        del self.columns[name]
        self.absent.pop(name, None)
        parts = pc.split_pattern(column, how.by, max_splits=len(how.into) - 1)
        rows = [part or [] for part in parts.to_pylist()]
        for i, new in enumerate(how.into):
            texts = [row[i] if i < len(row) else None for row in rows]
            self.replace(new, pa.array(texts, pa.string()), _valid(column), True, lacks)

    def join(self, name: str, how: Join) -> None:
        parts: list[list[str | None]] = []
        for column in how.columns:
            if column in self.columns:
                texts, failed = cast(self.columns[column], column, "text")
                self.failed |= {row: _no_text_to_join(column) for row in failed}
                parts.append(texts.to_pylist())
        if not parts and (name in self.columns or not self.open):
            return
        rows = [[text for text in row if text is not None] for row in zip(*parts, strict=True)]
        rows = rows or [[] for _ in range(len(self.table))]
        joined = pa.array([how.by.join(row) if row else None for row in rows], pa.string())
        lacks = np.logical_and.reduce([self.lacks(column) for column in how.columns])
        self.replace(name, joined, np.array([bool(row) for row in rows], bool), False, lacks)

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
        column = self.columns.get(name)
        if column is None:
            if self.open:
                nulls = pa.nulls(len(self.table), TYPES[kind])
                self.put(name, nulls, False, self.lacks(name))
            return
        made, failed = cast(column, name, kind)
        if isinstance(made, pa.ChunkedArray) and not pa.types.is_timestamp(column.type):
            codes = types_apart(made) if name in self.shape.condition_columns() else None
            if codes is not None and made is not column:
                raise Apart(codes)
        self.failed |= failed
        self.put(name, made, False, self.absent.get(name))

    def fill(self, name: str, value: Any) -> None:
        column, told = self.columns.get(name), self.is_told(name)
        if column is None or pa.types.is_null(column.type):
            self.put(name, pa.array([value] * len(self.table)), told)
            return
        self.absent.pop(name, None)
        if told and not column.null_count:
            return
        self.columns[name] = filled(column, name, value, told)

    def keep(self, mask: Mask) -> None:
        """Leaves out what a condition does not match; what failed before stays failed."""
        self.kept &= mask
        self.kept[list(self.failed)] = True

    def rename(self) -> None:
        """Drops and renames columns. Two that get one name are a mistake, unless the data tell
        which columns there are: then a record may have a value in one of them."""
        columns, told, absent = self.columns, set(filter(self.is_told, self.columns)), self.absent
        self.shape.renamed([name for name in columns if name not in told])
        self.columns, self.told, self.absent = {}, set(), {}
        for name, column in columns.items():
            if (new := self.shape.new_name(name)) is not None:
                clash = RecordError(
                    SHAPE_FAILED,
                    f"shape gives two columns of the record the name {new!r}. Rename one of them.",
                    new,
                )
                self.merge(new, column, name in told, absent.get(name), clash)

    def result(self, needed: Collection[str]) -> Shaped:
        for name, lacks in self.absent.items():
            if lacks.all():
                del self.columns[name]
            elif lacks.any() and name not in needed:
                self.columns[name] = sparse_column(json_texts(self.columns[name], name), lacks)
        for name, column in self.columns.items():
            for row in lost_rows(column):
                if self.kept[row]:
                    self.failed.setdefault(row, not_of_json(name))
        count = len(self.table)
        if self.open:
            missing = [name for name in needed if name not in self.columns]
            self.columns |= {name: pa.nulls(count, pa.string()) for name in missing}
        alive = self.kept.copy()
        alive[list(self.failed)] = False
        # A table needs a column to have rows.
        made = pa.table(self.columns or {"": pa.nulls(count)})
        made = made.replace_schema_metadata(self.table.schema.metadata)
        rows = np.flatnonzero(alive)
        left_out = count - len(rows) - len(self.failed)
        return Shaped(rows, self.failed, left_out, take_rows(made, rows.tolist()))


def _makes_columns(schema: pa.Schema, shape: Shape) -> bool:
    """Whether the data of such tables make columns, and not only their types."""
    return any(name in schema.names for name in shape.json) or any(
        name in schema.names and not pa.types.is_struct(schema.field(name).type)
        for name in shape.flatten
    )


def _chunked(array: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array([array])


def _valid(column: Any) -> Mask:
    return np.asarray(column.is_valid(), bool)


def _clash(name: str, key: str, made: str) -> RecordError:
    return RecordError(
        SHAPE_FAILED,
        f"{name} holds {key!r}, and the column {made!r} has a value already. "
        f"Give what is made of it a prefix: {{{name}: {name}_}}.",
        name,
    )


def not_of_json(name: str) -> RecordError:
    """Why a record fails whose value would be lost."""
    return RecordError(
        SHAPE_FAILED,
        f"{name} holds a value that JSON cannot represent. Convert or exclude it.",
        name,
    )


def _no_text_to_join(name: str) -> RecordError:
    message = f"{name} holds a value that is not text. Correct it, or take {name} out of join."
    return RecordError(SHAPE_FAILED, message, name)
