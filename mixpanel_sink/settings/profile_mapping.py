"""`ProfileMapping` and `GroupMapping`: which column becomes which operation on a profile.

Like `EventMapping`: the same thing in Python and in YAML, a bare string names a column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from mixpanel_sink.api.endpoints import ENGAGE, GROUPS, Endpoint
from mixpanel_sink.api.values import to_json
from mixpanel_sink.errors import MappingError, RecordError
from mixpanel_sink.settings.columns import (
    NO_LOCATION,
    Column,
    Constant,
    TimeColumn,
    changed_fields,
    check_part,
    plain,
    read_parts,
)
from mixpanel_sink.settings.names import check_keys, check_name, check_names, near
from mixpanel_sink.settings.shape import Shape
from mixpanel_sink.settings.yaml import load_yaml

_M = TypeVar("_M", bound="UpdateMapping")

COLUMN_OPERATIONS = {
    "set": "$set",
    "set_once": "$set_once",
    "add": "$add",
    "append": "$append",
    "union": "$union",
    "remove": "$remove",
    "unset": "$unset",
}
"""Settings that list columns, and the operation of each."""


@dataclasses.dataclass(frozen=True)
class UpdateMapping:
    """What both mappings share.

    Args:
        set: columns whose values are set; "all" for every column that does nothing else. None
            (default) means "all" if there is no other operation.
        set_once: columns that are set where the profile does not have them yet.
        union: columns whose items join a list, each once. A single value counts as one item.
        remove: columns whose value is taken out of a list.
        unset: columns that hold the name, or names, of properties to delete.
        delete: a column of booleans: where it is true, the whole profile is deleted.
        rename: column to property name.
        exclude: columns that are not set by "all".
        constants: properties that every update sets.
        ip: a column with the user's address. The default "0" keeps Mixpanel from placing
            every user where the pipeline runs; None leaves it out.
        time: when the update happened, as in `EventMapping`.
        ignore_time: keep Mixpanel from taking the update for a sign of life ("last seen").
        drop_nulls: a null does nothing; else `set` and `set_once` set null.
        non_finite: NaN and infinity: "fail" the record, or "drop" them as if null.
        shape: what happens to the columns before all that: see `Shape`.
        source: how files are read, as in `EventMapping`.

    Raises:
        MappingError: if it contradicts itself.
    """

    endpoint: ClassVar[Endpoint]
    _identity: ClassVar[tuple[str, ...]]
    _operations: ClassVar[tuple[str, ...]]

    set: Literal["all"] | Sequence[str] | None = None
    set_once: Sequence[str] = ()
    union: Sequence[str] = ()
    remove: Sequence[str] = ()
    unset: Sequence[str] = ()
    delete: str | Column | Mapping[str, Any] | None = None
    rename: Mapping[str, str] = dataclasses.field(default_factory=dict)
    exclude: Sequence[str] = ()
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    ip: str | Column | Constant | Mapping[str, Any] | None = NO_LOCATION
    time: str | TimeColumn | Mapping[str, Any] | None = None
    ignore_time: bool = False
    drop_nulls: bool = True
    non_finite: Literal["fail", "drop"] = "fail"
    shape: Shape | Mapping[str, Any] | None = None
    source: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.shape, Mapping):
            object.__setattr__(self, "shape", Shape.from_dict(dict(self.shape)))
        read_parts(self, (*self._identity, "ip", "delete", "time"))
        for name in self._operations:
            self._freeze(name)
        for name in ("rename", "constants", "source"):
            if not isinstance(value := getattr(self, name), Mapping):
                raise MappingError(f"{name} is {value!r}; it must be names and what they become.")
            object.__setattr__(self, name, dict(value))
        if self.set is None:
            others = any(getattr(self, name) for name in self._operations if name != "set")
            rest = () if others or self.delete or self.constants else "all"
            object.__setattr__(self, "set", rest)
        if not isinstance(self.exclude, list | tuple):
            raise MappingError("exclude is a list of columns, such as [password, email].")
        object.__setattr__(self, "exclude", tuple(self.exclude))
        self._check()

    def _freeze(self, name: str) -> None:
        value = getattr(self, name)
        if name == "set" and value in (None, "all"):
            return
        if isinstance(value, str) or not isinstance(value, Sequence):
            also = ' or "all"' if name == "set" else ""
            raise MappingError(f"{name} is {value!r}; it is a list of columns{also}.")
        object.__setattr__(self, name, tuple(value))
        check_names(name, value)

    def _check(self) -> None:
        kinds: dict[str, Any] = {
            **dict.fromkeys(self._identity, Column | Constant),
            "ip": Column | Constant | None,
            "delete": Column | None,
            "time": TimeColumn | None,
            "ignore_time": bool,
            "drop_nulls": bool,
            "shape": Shape | None,
        }
        for name, kind in kinds.items():
            check_part(name, getattr(self, name), kind)
        if self.non_finite not in ("fail", "drop"):
            raise MappingError('non_finite is "fail" or "drop".')
        check_names("exclude", self.exclude)
        for name in [*self.rename, *self.rename.values(), *self.constants]:
            check_name(name)
        for name, constant in self.constants.items():
            try:
                to_json(constant, name, False)
            except RecordError as error:
                raise MappingError(f"The constant property cannot be sent: {error}") from None
        properties: dict[str, str] = dict.fromkeys(self.constants, "constants")
        for operation in self._operations:
            if operation == "unset":
                continue
            for column in self.columns_of(operation):
                name = self.rename.get(column, column)
                if name in properties:
                    raise MappingError(
                        f"The property {name!r} is in both {properties[name]} and {operation}. "
                        "Mixpanel does not say which comes first: choose one."
                    )
                properties[name] = operation
        self._check_names()

    def _check_names(self) -> None:
        """Refuses names that lead nowhere, or that Mixpanel would not take."""
        named = self.named_columns()
        for name in self.exclude:
            if name in named:
                raise MappingError(f"The column {name!r} is in both {named[name]} and exclude.")
        properties = [c for o in self._operations if o != "unset" for c in self.columns_of(o)]
        for column in self.rename:
            whole = self.set == "all" and column not in self.exclude and column not in named
            if column not in properties and not whole:
                raise MappingError(
                    f"rename names the column {column!r}, which does not become a property. List "
                    "it under set or another operation."
                )
        for part in (*self._identity, "ip"):
            value = getattr(self, part)
            if isinstance(value, Constant) and not (isinstance(value.value, str) and value.value):
                raise MappingError(
                    f"{part}'s constant is {value.value!r}; it must be text: quote it."
                )

    @classmethod
    def from_yaml(cls: type[_M], text: str) -> _M:
        """Reads a mapping from YAML text.

        Raises:
            MappingError: if it is not valid YAML, or not a valid mapping.
        """
        return cls.from_dict(load_yaml(text))

    @classmethod
    def from_dict(cls: type[_M], settings: Any) -> _M:
        """From what YAML or JSON gives.

        Raises:
            MappingError: names the key that is unknown or wrong.
        """
        check_keys(settings, [field.name for field in dataclasses.fields(cls)])
        for key in cls._identity:
            if settings.get(key) is None:
                raise MappingError(f"The mapping does not say what {key!r} is: give it a column.")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as `from_dict` and YAML take them."""
        return {name: plain(value) for name, value in changed_fields(self).items()}

    @property
    def identity(self) -> tuple[Column | Constant, ...]:
        """The parts that name the profile, in the endpoint's order."""
        return tuple(getattr(self, name) for name in self._identity)

    def columns_of(self, operation: str) -> tuple[str, ...]:
        """The columns that are listed for an operation, such as "add"."""
        listed = getattr(self, operation, ())
        return () if isinstance(listed, str) else tuple(listed)

    def columns(self) -> list[str] | None:
        """The columns that a reader must fetch; None for all."""
        everything = self.set == "all" or self.shape is not None
        return None if everything else list(self.named_columns())

    def plan(self, columns: Iterable[str]) -> tuple[tuple[str, str, str], ...]:
        """(operation, property, column) for a record with these columns.

        Raises:
            MappingError: if two columns would become one property.
        """
        pairs = [
            (operation, column)
            for operation in self._operations
            for column in self.columns_of(operation)
        ]
        if self.set == "all":
            taken = self.named_columns().keys() | set(self.exclude)
            pairs += [("set", column) for column in columns if column not in taken]
        plan = [
            (COLUMN_OPERATIONS[operation], self.rename.get(column, column), column)
            for operation, column in sorted(pairs)
        ]
        sources: dict[str, str] = dict.fromkeys(self.constants, "constants")
        for operation, name, column in plan:
            if operation != "$unset" and sources.setdefault(name, column) != column:
                raise MappingError(
                    f"The column {column!r} and {sources[name]!r} would both become the property "
                    f"{name!r}. Rename or exclude one of them."
                )
        return tuple(plan)

    def check_columns(self, columns: Iterable[str]) -> None:
        """Refuses a mapping that names columns which the input does not have.

        Raises:
            MappingError: names the column, the nearest one, and lists them all; or two that would
                become one property.
        """
        have = list(columns)
        if isinstance(self.shape, Shape):
            made = self.shape.names(have)
            if made is None:  # only the data tell
                return
            have = made
        wanted = self.named_columns() | dict.fromkeys(self.exclude, "exclude")
        for name, part in (wanted | dict.fromkeys(self.rename, "rename")).items():
            if name not in have:
                raise MappingError(
                    f"The mapping's {part} names the column {name!r}, which the input does not "
                    f"have.{near(name, have)} Its columns are: {', '.join(map(repr, have))}."
                )
        self.plan(have)

    def named_columns(self) -> dict[str, str]:
        """Every column that the input must have, and what it is for."""
        named: dict[str, str] = {}
        for part in (*self._identity, "ip", "time", "delete"):
            value = getattr(self, part)
            if isinstance(value, Column | TimeColumn):
                named.setdefault(value.name, part)
        for operation in self._operations:
            for column in self.columns_of(operation):
                named.setdefault(column, operation)
        return named


@dataclasses.dataclass(frozen=True)
class ProfileMapping(UpdateMapping):
    """How a record becomes an update of a user's profile.

    Args:
        distinct_id: the user: a column or a `Constant`.
        add: columns of numbers that are added to the profile's.
        append: columns whose value is appended to a list.

    All others are those of `UpdateMapping`.

    >>> ProfileMapping(distinct_id="user_id", add=["logins"], set_once=["signed_up"]).columns()
    ['user_id', 'signed_up', 'logins']
    """

    endpoint: ClassVar[Endpoint] = ENGAGE
    _identity: ClassVar[tuple[str, ...]] = ("distinct_id",)
    _operations: ClassVar[tuple[str, ...]] = tuple(COLUMN_OPERATIONS)

    distinct_id: str | Column | Constant | Mapping[str, Any] = dataclasses.field(kw_only=True)
    add: Sequence[str] = ()
    append: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class GroupMapping(UpdateMapping):
    """How a record becomes an update of a group's profile.

    Args:
        group_key: the kind of group, such as `Constant("company")`.
        group_id: which group: a column or a `Constant`.

    All others are those of `UpdateMapping`.
    """

    endpoint: ClassVar[Endpoint] = GROUPS
    _identity: ClassVar[tuple[str, ...]] = ("group_key", "group_id")
    _operations: ClassVar[tuple[str, ...]] = ("set", "set_once", "union", "remove", "unset")

    group_key: str | Column | Constant | Mapping[str, Any] = dataclasses.field(kw_only=True)
    group_id: str | Column | Constant | Mapping[str, Any] = dataclasses.field(kw_only=True)
