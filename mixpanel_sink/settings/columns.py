"""The parts of a mapping: columns, constants, times and ids."""

from __future__ import annotations

import dataclasses
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from mixpanel_sink.errors import MappingError
from mixpanel_sink.settings.names import check_name, check_names, check_text, near
from mixpanel_sink.settings.time_formats import ISO_8601, time_pattern

TimeUnit = Literal["s", "ms", "us", "ns", "iso8601"]
_UNITS = get_args(TimeUnit)


_GIVE = {
    "device_id": "a column",
    "user_id": "a column",
    "insert_id": "a column, a list of columns, {from: content} or {from: position}",
    "time": "a column, or {column: NAME, unit: ms} with its unit or format",
    "delete": "a column of booleans",
    **dict.fromkeys(("include_mapped", "drop_nulls", "ignore_time"), "true or false"),
    "shape": "its keys and values (docs/shape.md)",
    "filter": "its keys and values (docs/filters.md)",
}
"""What each setting of a mapping may be, for messages; those not named here are as `event`."""
_GIVE_PART = "a column, or {constant: TEXT}"


def check_part(name: str, value: Any, kind: Any) -> None:
    """Refuses what a setting of a mapping cannot be.

    Raises:
        MappingError: says what to give.
    """
    if not isinstance(value, kind):
        raise MappingError(f"{name} is {value!r}; give {_GIVE.get(name, _GIVE_PART)}.")


@dataclasses.dataclass(frozen=True)
class Column:
    """A column. `if_null` takes the place of nulls; without it a null may fail the record."""

    name: str
    if_null: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.if_null is not None:
            check_text(f"if_null of the column {self.name!r}", self.if_null)


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same value for every event."""

    value: str


NO_LOCATION = Constant("0")
"""The `ip` that makes Mixpanel skip geolocation."""


@dataclasses.dataclass(frozen=True)
class TimeColumn:
    """The event's time.

    Args:
        name: of the column.
        unit: of a number: "s", "ms", "us" or "ns" since 1970; "iso8601" for text.
            Timestamps and dates carry their own and need none.
        timezone: of timestamps, dates and texts that have none, as an IANA name. Of a wall time
            that occurs twice when clocks are set back, the first is meant; one that is left out
            when they are set forward counts as if they had not been yet.
        format: of text, such as "%m/%d/%Y %I:%M %p", with the letters of Python's `strptime`; or
            several, of which the first that fits is used. Instead of a unit. Of integers, too, such
            as 20240131, which is "%Y%m%d".
    """

    name: str
    unit: TimeUnit | None = None
    timezone: str = "UTC"
    format: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        formats = [self.format] if isinstance(self.format, str) else self.format
        if formats is not None:
            if (
                not isinstance(formats, list | tuple)
                or not formats
                or not all(isinstance(text, str) for text in formats)
            ):
                raise MappingError(
                    f"The time format {self.format!r} must be text such as '%m/%d/%Y %H:%M', or a "
                    "list of such."
                )
            if self.unit is not None:
                raise MappingError(
                    f"The time has the unit {self.unit!r} and a format. Numbers have a unit, and "
                    "text a format or the unit iso8601: keep one."
                )
            for text in formats:
                time_pattern(text)
            object.__setattr__(self, "format", tuple(formats))
        if self.unit is not None and self.unit not in _UNITS:
            raise MappingError(
                f"The time unit {self.unit!r} is unknown; use one of {', '.join(_UNITS)}."
            )
        try:
            zoneinfo.ZoneInfo(self.timezone)
        except (TypeError, AttributeError, zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise MappingError(
                f"The time zone {self.timezone!r} is unknown. Use an IANA name such as UTC or "
                "Europe/Berlin."
            ) from None

    def patterns(self) -> tuple[str, ...]:
        """What the column's texts must match, in this order; none if it must not be text."""
        if self.format is not None:
            return tuple(map(time_pattern, self.format))
        return (ISO_8601,) if self.unit == "iso8601" else ()


@dataclasses.dataclass(frozen=True)
class ColumnsId:
    """`$insert_id` from one or several columns.

    One column's value is used as it is where Mixpanel takes it (1 to 36 of letters,
    digits and dashes); every other value, and several columns together, are hashed. With a
    `salt` all are.
    """

    columns: tuple[str, ...]
    salt: str = ""

    def __post_init__(self) -> None:
        _check_salt(self.salt)
        if not self.columns:
            raise MappingError("insert_id is an empty list. Give it one or more columns.")
        check_names("insert_id", self.columns)


@dataclasses.dataclass(frozen=True)
class ContentId:
    """`$insert_id` is a hash of the whole event: identical records become one event.

    Args:
        salt: any text; another one makes other ids of the same records, as is needed after their
            events were deleted (docs/undo.md).
    """

    salt: str = ""

    def __post_init__(self) -> None:
        _check_salt(self.salt)


@dataclasses.dataclass(frozen=True)
class PositionId:
    """`$insert_id` from file and row: every row is its own event, however often it is sent.

    Args:
        salt: see `ContentId`.
    """

    salt: str = ""

    def __post_init__(self) -> None:
        _check_salt(self.salt)


InsertId = ColumnsId | ContentId | PositionId


def _check_salt(salt: Any) -> None:
    check_text("The salt of insert_id", salt)
    if "\0" in salt:
        raise MappingError("The salt of insert_id holds a NUL. Use letters and digits.")


def plain(value: Any) -> Any:
    """A value object as the YAML form has it: the inverse of `part_of`."""
    if isinstance(value, Constant):
        return {"constant": value.value}
    if isinstance(value, ColumnsId):
        columns = list(value.columns)
        return {"columns": columns, "salt": value.salt} if value.salt else columns
    if isinstance(value, ContentId | PositionId):
        made = {"from": "content" if isinstance(value, ContentId) else "position"}
        return {**made, "salt": value.salt} if value.salt else made
    if isinstance(value, Column | TimeColumn):
        changed = changed_fields(value)
        name = changed.pop("name")
        rest = {part: plain(given) for part, given in changed.items()}
        return {"column": name, **rest} if rest else name
    if dataclasses.is_dataclass(value):
        return {name: plain(part) for name, part in changed_fields(value).items()}
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    return list(value) if isinstance(value, tuple) else value


def changed_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults, and their values."""
    changed = {}
    for field in dataclasses.fields(value):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if (given := getattr(value, field.name)) != default:
            changed[field.name] = given
    return changed


def read_parts(mapping: Any, names: Iterable[str]) -> None:
    """Replaces what a new mapping has in the forms of YAML, names and dicts, by value objects."""
    for name in names:
        value = getattr(mapping, name)
        if isinstance(value, str):
            value = _named(name, value)
        elif isinstance(value, Mapping):
            value = _part_of(name, dict(value))
        object.__setattr__(mapping, name, value)


def _named(key: str, name: str) -> Any:
    if key == "insert_id":
        return ColumnsId((name,))
    return TimeColumn(name) if key == "time" else Column(name)


def _part_of(key: str, value: dict[str, Any]) -> Any:
    """The value object of one setting in the YAML form, such as `{column: day, unit: s}`."""
    kinds: dict[str, Any] = {"column": Column, "constant": Constant}
    if key == "time":
        kinds = {"column": TimeColumn}
    elif key == "insert_id":
        return _insert_id_of(value)
    for kind, make in kinds.items():
        if kind in value:
            rest = {name: item for name, item in value.items() if name != kind}
            allowed = {"column": ["if_null"], "constant": []}[kind]
            if make is TimeColumn:
                allowed = ["unit", "timezone", "time_zone", "format"]
            for name in rest:
                if name not in allowed:
                    raise MappingError(
                        f"{key} has an unknown setting {name!r}.{near(name, allowed)}"
                    )
            if "time_zone" in rest:
                if "timezone" in rest:
                    raise MappingError("time has both timezone and time_zone. Keep one of them.")
                rest["timezone"] = rest.pop("time_zone")
            return make(value[kind], **rest)
    raise MappingError(
        f"{key} is a column's name or one of {', '.join(f'{{{k}: ...}}' for k in kinds)}."
    )


def _insert_id_of(value: dict[str, Any]) -> InsertId:
    rest = dict(value)
    salt = rest.pop("salt", "")
    if rest == {"from": "content"}:
        return ContentId(salt)
    if rest == {"from": "position"}:
        return PositionId(salt)
    if set(rest) == {"columns"} and isinstance(rest["columns"], list):
        return ColumnsId(tuple(rest["columns"]), salt)
    if set(rest) == {"column"}:
        return ColumnsId((rest["column"],), salt)
    raise MappingError(
        "insert_id is a column, a list of columns, {from: content} or {from: position}; with a "
        "salt: {columns: [...], salt: ...} or {from: ..., salt: ...}."
    )
