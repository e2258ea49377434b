"""`EventMapping`: which column becomes which part of a Mixpanel event.

The same thing in Python and in YAML. A bare string always names a column; everything
else is an object (`Constant("Flight")`, in YAML `{constant: Flight}`, and as a dict in Python).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import orjson

from mixpanel_sink.api.limits import MAX_ID_BYTES, MAX_PROPERTIES, RESERVED_DISTINCT_IDS
from mixpanel_sink.api.numbers import json_bytes
from mixpanel_sink.api.values import to_json
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.settings.columns import (
    NO_LOCATION,
    Column,
    ColumnsId,
    Constant,
    ContentId,
    InsertId,
    PositionId,
    TimeColumn,
    changed_fields,
    check_part,
    plain,
    read_parts,
)
from mixpanel_sink.settings.filter import Filter
from mixpanel_sink.settings.names import (
    check_keys,
    check_name,
    check_names,
    check_text,
    name_twice,
    near,
)
from mixpanel_sink.settings.shape import Shape
from mixpanel_sink.settings.yaml import load_yaml

FIXED = ("$device_id", "$user_id", "distinct_id", "ip", "time", "$insert_id", "token")
"""Properties that the sink itself writes, in their order, behind all others."""
_PARTS = ("event", "time", "distinct_id", "device_id", "user_id", "insert_id", "ip")
_Part = Mapping[str, Any]
"""A part of a mapping as in YAML, such as {"column": "created_at", "unit": "ms"}."""


@dataclasses.dataclass(frozen=True)
class EventMapping:
    """How a record becomes an event.

    Args:
        event: the event's name: a column or a `Constant`.
        time: when it happened: a column, or a `TimeColumn` with a unit and time zone.
        distinct_id: the user: a column (text or integers). May be left out where
            `user_id` or `device_id` is given: then it is the user id, or else
            "$device:" and the device id, as Mixpanel's SDKs have it.
        device_id: column for `$device_id`.
        user_id: column for `$user_id`.
        insert_id: for deduplication: a column, several, `ContentId()` or `PositionId()`; with a
            `salt` in it, the same records get other ids (docs/undo.md).
            None leaves the choice to the sink: position where tables come with their
            file and row (`ReadParquetTables`), else content.
        ip: a column with the client's address. The default "0" keeps Mixpanel from
            placing every user where the pipeline runs; None leaves the property out.
        properties: "all" columns, or a list of them.
        rename: column to property name.
        exclude: columns that do not become properties.
        constants: properties that every event gets.
        include_mapped: whether columns that serve as event, time, ids or ip are
            properties as well.
        drop_nulls: leave out properties that are null (at the top level; nulls inside
            lists and objects stay).
        non_finite: NaN and infinity, which JSON does not have: "fail" the record, or
            "drop" them as if they were null.
        shape: what happens to the columns before all that: see `Shape`. The other settings name the
            columns that it makes.
        source: how files are read, where that must be said: their `format` and its settings, such
            as {format: csv, delimiter: ";"}; see docs/sources.md.
        filter: which events are wanted, by day and name; see `Filter`. `shape` has conditions on
            columns.

    Raises:
        MappingError: if it contradicts itself.

    >>> EventMapping(event=Constant("Flight"), distinct_id="origin", time="date").ip
    Constant(value='0')
    """

    event: str | Column | Constant | _Part
    time: str | TimeColumn | _Part
    distinct_id: str | Column | Constant | _Part | None = None
    device_id: str | Column | _Part | None = None
    user_id: str | Column | _Part | None = None
    insert_id: str | Sequence[str] | InsertId | _Part | None = None
    ip: str | Column | Constant | _Part | None = NO_LOCATION
    properties: Literal["all"] | Sequence[str] = "all"
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    exclude: Sequence[str] = ()
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    include_mapped: bool = False
    drop_nulls: bool = True
    non_finite: Literal["fail", "drop"] = "fail"
    shape: Shape | Mapping[str, Any] | None = None
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    filter: Filter | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        put = functools.partial(object.__setattr__, self)
        read_parts(self, _PARTS)
        if isinstance(self.insert_id, list | tuple):
            put("insert_id", ColumnsId(tuple(self.insert_id)))
        if self.properties != "all":
            if not isinstance(self.properties, list | tuple):
                raise MappingError('properties is "all" or a list of columns.')
            put("properties", tuple(self.properties))
        if not isinstance(self.exclude, list | tuple):
            raise MappingError("exclude is a list of columns, such as [password, email].")
        put("exclude", tuple(self.exclude))
        for name in ("rename", "constants", "source"):
            if not isinstance(value := getattr(self, name), Mapping):
                raise MappingError(f"{name} is {value!r}; it must be names and what they become.")
            put(name, dict(value))
        if isinstance(self.shape, Mapping):
            put("shape", Shape.from_dict(dict(self.shape)))
        if isinstance(self.filter, Mapping):
            put("filter", Filter.from_dict(dict(self.filter)))
        _check_types(self)
        _check_constants(self)
        _check_renaming(self)
        if self.distinct_id is None and self.user_id is None and self.device_id is None:
            raise MappingError(
                "The mapping names no user. Give distinct_id, user_id or device_id a column."
            )

    @classmethod
    def from_yaml(cls, text: str) -> EventMapping:
        """Reads a mapping from YAML text; see configs/ for examples.

        Raises:
            MappingError: if it is not valid YAML, or not a valid mapping.
        """
        return cls.from_dict(load_yaml(text))

    @classmethod
    def from_dict(cls, settings: Any) -> EventMapping:
        """From what YAML or JSON gives.

        Raises:
            MappingError: names the key that is unknown or wrong.
        """
        check_keys(settings, [field.name for field in dataclasses.fields(cls)])
        for key in ("event", "time"):
            if settings.get(key) is None:
                raise MappingError(f"The mapping does not say what {key!r} is: give it a column.")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as `from_dict` and YAML take them."""
        return {name: plain(value) for name, value in changed_fields(self).items()}

    @property
    def salt(self) -> str:
        """What goes into ids besides what the mapping makes them of; "" for nothing."""
        rule = self.insert_id
        return rule.salt if isinstance(rule, ColumnsId | ContentId | PositionId) else ""

    def mapped_columns(self) -> dict[str, str]:
        """The columns that serve as something other than a property, and as what."""
        columns: dict[str, str] = {}
        for part in ("event", "distinct_id", "device_id", "user_id", "ip", "time"):
            value = getattr(self, part)
            if isinstance(value, Column | TimeColumn):
                columns.setdefault(value.name, part)
        if isinstance(self.insert_id, ColumnsId):
            for name in self.insert_id.columns:
                columns.setdefault(name, "insert_id")
        return columns

    def named_columns(self) -> dict[str, str]:
        """Every column that the input must have, and what it is for."""
        listed = () if self.properties == "all" else self.properties
        return {**dict.fromkeys(listed, "properties"), **self.mapped_columns()}

    def columns(self) -> list[str] | None:
        """The columns that a reader must fetch; None for all."""
        reads = self.shape.reads() if isinstance(self.shape, Shape) else ()
        if self.properties == "all" or reads is None:
            return None
        return list(dict.fromkeys([*self.mapped_columns(), *self.properties, *reads]))

    def plan(self, columns: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """(property, column) pairs for an input with these columns, sorted by property.

        The order does not depend on the input's, so that equal data makes equal events
        and equal content ids.

        Raises:
            MappingError: if two columns would become one property.
        """
        return _plan(self, columns)

    def check_columns(self, columns: Iterable[str]) -> None:
        """Refuses a mapping that names columns which the input does not have.

        Raises:
            MappingError: names the column, the nearest one, and lists them all.
        """
        have = list(columns)
        if isinstance(self.shape, Shape):
            made = self.shape.names(have)
            if made is None:  # only the data tell
                return
            have = made
        wanted = {**self.mapped_columns()}
        if self.properties != "all":
            wanted |= {name: "properties" for name in self.properties if name not in wanted}
        wanted |= {name: "rename" for name in self.rename if name not in wanted}
        wanted |= {name: "exclude" for name in self.exclude if name not in wanted}
        for name, part in wanted.items():
            if name not in have:
                raise MappingError(
                    f"The mapping's {part} names the column {name!r}, which the input does not "
                    f"have.{near(name, have)} Its columns are: {', '.join(map(repr, have))}."
                )
        if (twice := name_twice(have)) is not None:
            raise MappingError(
                f"The input has two columns named {twice!r}; rename one of them at its source."
            )
        properties = len(self.plan(tuple(have)))
        if not self.drop_nulls and properties + len(FIXED) > MAX_PROPERTIES:
            raise MappingError(
                f"The mapping makes {properties} properties an event and Mixpanel takes fewer than "
                "255. List those that you need under properties."
            )


def _plan(mapping: EventMapping, columns: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    left_out = set(mapping.exclude)
    if mapping.properties == "all":
        if not mapping.include_mapped:
            left_out |= set(mapping.mapped_columns())
        chosen = [name for name in columns if name not in left_out]
    else:
        chosen = [name for name in mapping.properties if name not in left_out and name in columns]
    sources: dict[str, str] = dict.fromkeys(mapping.constants, "constants")
    pairs = []
    written = written_by_the_sink(mapping)
    for column in sorted(chosen):  # so that an error does not depend on their order either
        name = mapping.rename.get(column, column)
        if name in written:
            raise MappingError(
                f"The column {column!r} would become the property {name!r}, which the sink writes "
                "itself. Rename or exclude the column."
            )
        if name in sources:
            raise MappingError(
                f"The column {column!r} and {sources[name]!r} would both become the property "
                f"{name!r}. Rename or exclude one of them."
            )
        sources[name] = column
        pairs.append((name, column))
    return tuple(sorted(pairs))


def written_by_the_sink(mapping: EventMapping) -> set[str]:
    """Names of properties that the sink writes itself."""
    written = {"distinct_id", "time", "$insert_id", "token"}
    if mapping.ip is not None:
        written.add("ip")
    if mapping.device_id is not None:
        written.add("$device_id")
    if mapping.user_id is not None:
        written.add("$user_id")
    return written


def _check_types(mapping: EventMapping) -> None:
    allowed: dict[str, Any] = {
        "event": Column | Constant,
        "time": TimeColumn,
        "distinct_id": Column | Constant | None,
        "device_id": Column | None,
        "user_id": Column | None,
        "insert_id": ColumnsId | ContentId | PositionId | None,
        "ip": Column | Constant | None,
        "include_mapped": bool,
        "drop_nulls": bool,
        "shape": Shape | None,
        "filter": Filter | None,
    }
    for name, kinds in allowed.items():
        check_part(name, getattr(mapping, name), kinds)
    if mapping.non_finite not in ("fail", "drop"):
        raise MappingError('non_finite is "fail" or "drop".')
    for part in ("event", "distinct_id", "ip"):
        value = getattr(mapping, part)
        if isinstance(value, Constant) and not isinstance(value.value, str):
            raise MappingError(f"{part}'s constant is {value.value!r}; it must be text: quote it.")
    check_names("exclude", mapping.exclude)
    if mapping.properties != "all":
        check_names("properties", mapping.properties)
    for name in [*mapping.rename, *mapping.rename.values(), *mapping.constants]:
        check_name(name)


def _check_constants(mapping: EventMapping) -> None:
    """Refuses constants that would fail every record, or that Mixpanel would cut."""
    for part in ("event", "distinct_id", "device_id", "user_id"):
        value = getattr(mapping, part)
        text = value.value if isinstance(value, Constant) else getattr(value, "if_null", None)
        if text is None:
            continue
        if isinstance(value, Constant):
            check_text(f"{part}'s constant", text)
        if len(text.encode()) > MAX_ID_BYTES:
            raise MappingError(
                f"{part} is {text[:20]!r}..., longer than {MAX_ID_BYTES} bytes. Mixpanel would cut "
                "it: shorten it."
            )
        wanted = mapping.filter.events if isinstance(mapping.filter, Filter) else ()
        if part == "event" and isinstance(value, Constant) and wanted and text not in wanted:
            raise MappingError(
                f"The filter wants events named {', '.join(map(repr, wanted))}, and every event is "
                f"named {text!r}. Correct one of them."
            )
        if part == "event" and not text:
            raise MappingError("The event name is empty; name the event.")
        if part != "event" and text.lower() in RESERVED_DISTINCT_IDS:
            raise MappingError(
                f"{part} is {text!r}, a word that Mixpanel refuses as an id; use another."
            )
    for name, constant in mapping.constants.items():
        if name in written_by_the_sink(mapping):
            raise MappingError(
                f"The constant property {name!r} is one that the sink writes itself; drop it."
            )
        try:
            json_bytes(to_json(constant, name, False))
        except RecordError as error:
            raise MappingError(f"The constant property cannot be sent: {error}") from None
        except orjson.JSONEncodeError:
            raise MappingError(
                f"The constant property {name!r} holds a value that JSON cannot express. Change it."
            ) from None


def _check_renaming(mapping: EventMapping) -> None:
    """Refuses settings that contradict each other."""
    listed = () if mapping.properties == "all" else mapping.properties
    for name in mapping.exclude:
        if name in listed:
            raise MappingError(
                f"The column {name!r} is in both properties and exclude. Remove it from one."
            )
    names: dict[str, str] = {}
    for column, name in mapping.rename.items():
        left_out = column in mapping.exclude or (listed and column not in listed)
        if not listed and not mapping.include_mapped and column in mapping.mapped_columns():
            left_out = True
        if left_out:
            raise MappingError(
                f"rename names the column {column!r}, which does not become a property. List "
                "it under properties, or set include_mapped if it is mapped to something else."
            )
        if name in written_by_the_sink(mapping):
            raise MappingError(
                f"The column {column!r} would become the property {name!r}, which the sink writes "
                "itself. Choose another name."
            )
        other = names.get(name, "constants" if name in mapping.constants else None)
        if other is not None:
            raise MappingError(
                f"The column {column!r} and {other!r} would both become the property {name!r}. "
                "Give one of them another name."
            )
        names[name] = column
