"""Profiles of users and groups: what makes an update valid, and what its operations do.

An update may hold several operations. They are applied in the order of `OPERATIONS`, whatever
their order in the update, as JSON objects have none.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from mixpanel_sink.emulator.rules import Problem

MAX_UPDATE_BYTES = 1024 * 1024
MAX_LIST_BYTES = 256 * 1024
"""The JSON of one list in a profile."""
MAX_PROPERTIES = 2000

_MODIFIERS = frozenset(("$ip", "$time", "$ignore_time", "$ignore_alias"))
_IDENTITY = {"engage": ("$distinct_id",), "groups": ("$group_key", "$group_id")}

# A control character, which no sensible group key holds; SQLite's JSON does not take NUL.
_SEPARATOR = "\x1f"

Properties = dict[str, Any]


def _set(properties: Properties, value: Mapping[str, Any]) -> None:
    properties.update(value)


def _set_once(properties: Properties, value: Mapping[str, Any]) -> None:
    for name, item in value.items():
        properties.setdefault(name, item)


def _add(properties: Properties, value: Mapping[str, Any]) -> None:
    for name, item in value.items():
        present = properties.get(name, 0)
        if _is_number(present):
            properties[name] = present + item


def _append(properties: Properties, value: Mapping[str, Any]) -> None:
    for name, item in value.items():
        present = properties.get(name, [])
        if isinstance(present, list):
            properties[name] = [*present, item]


def _union(properties: Properties, value: Mapping[str, Any]) -> None:
    for name, items in value.items():
        present = properties.get(name, [])
        if isinstance(present, list):
            merged = list(present)
            for item in items:
                if not any(_equal(item, other) for other in merged):
                    merged.append(item)
            properties[name] = merged


def _remove(properties: Properties, value: Mapping[str, Any]) -> None:
    for name, item in value.items():
        present = properties.get(name)
        if isinstance(present, list):
            properties[name] = [other for other in present if not _equal(other, item)]


def _unset(properties: Properties, value: Iterable[str]) -> None:
    for name in value:
        properties.pop(name, None)


# A property that has the wrong type for an operation stays as it is: Mixpanel documents nothing.
_APPLY: dict[str, Callable[[Properties, Any], None]] = {
    "$set": _set,
    "$set_once": _set_once,
    "$add": _add,
    "$append": _append,
    "$union": _union,
    "$remove": _remove,
    "$unset": _unset,
}
OPERATIONS: dict[str, tuple[str, ...]] = {
    "engage": (*_APPLY, "$delete"),
    "groups": ("$set", "$set_once", "$union", "$remove", "$unset", "$delete"),
}


def check(kind: str, update: Any, size: int = 0) -> Problem | None:
    """The first rule that the update breaks, or None; `kind` is ``engage`` or ``groups``.

    `size` is the update's JSON in bytes.
    """
    if size > MAX_UPDATE_BYTES:
        return Problem("", f"update of {size} bytes exceeds max limit of {MAX_UPDATE_BYTES} bytes")
    if not isinstance(update, dict):
        return Problem("", "an update must be a JSON object")
    token = update.get("$token")
    if not isinstance(token, str) or not token:
        return Problem("$token", "'$token' is required: a text")
    for name in _IDENTITY[kind]:
        if name not in update:
            return Problem(name, f"'{name}' is required")
        if not _is_id(update[name]):
            return Problem(name, f"'{name}' is invalid: must be a non-empty string")
    for name, value in update.items():
        problem = _check_operation(kind, name, value) if name in _CHECKED else None
        if problem:
            return Problem(name, f"'{name}' is invalid: {problem}")
    operations = [name for name in OPERATIONS[kind] if name in update]
    if not operations:
        return Problem("", f"an update needs an operation: one of {', '.join(OPERATIONS[kind])}")
    if "$delete" in operations and len(operations) > 1:
        others = " and ".join(name for name in operations if name != "$delete")
        return Problem("$delete", f"'$delete' must be alone, not beside {others}")
    return None


def _check_operation(kind: str, name: str, value: Any) -> str | None:
    if name in _MODIFIERS:
        return _check_modifier(name, value)
    if name not in OPERATIONS[kind]:
        return f"/{kind} does not have this operation"
    if name == "$delete":
        return None
    if name == "$unset":
        names = isinstance(value, list) and all(isinstance(item, str) for item in value)
        return None if names and value else "must be a non-empty list of property names"
    if not isinstance(value, dict):
        return "must be an object of properties"
    if len(value) > MAX_PROPERTIES:
        return f"a profile has at most {MAX_PROPERTIES} properties"
    lists = (item for item in value.values() if isinstance(item, list))
    if any(len(orjson.dumps(item)) > MAX_LIST_BYTES for item in lists):
        return f"lists must have at most {MAX_LIST_BYTES} bytes"
    if name == "$add" and not all(map(_is_number, value.values())):
        return "values must be numbers"
    if name == "$union" and not all(isinstance(item, list) and item for item in value.values()):
        return "values must be non-empty lists"
    return None


def _check_modifier(name: str, value: Any) -> str | None:
    if name == "$ip":
        fine = isinstance(value, str) or (value == 0 and not isinstance(value, bool))
        return None if fine else "must be an address, or 0 to skip geolocation"
    if name == "$time":
        return None if _is_number(value) else "must be a number: seconds or milliseconds since 1970"
    fine = isinstance(value, bool) or value in (0, 1, "true", "false", "0", "1")
    return None if fine else "must be true or false"


_CHECKED = _MODIFIERS.union(*OPERATIONS.values())


def key(kind: str, update: Mapping[str, Any]) -> str:
    """The name under which a valid update's profile is kept."""
    return _SEPARATOR.join(str(update[name]) for name in _IDENTITY[kind])


def group_key(key: str, group_id: str) -> str:
    """The name under which a group's profile is kept."""
    return f"{key}{_SEPARATOR}{group_id}"


def apply(properties: Properties | None, update: Mapping[str, Any]) -> Properties | None:
    """The properties after a valid update; None: there is no profile. May change its argument."""
    if "$delete" in update:
        return None
    if properties is None:
        properties = {}
    for name, operation in _APPLY.items():
        if name in update:
            operation(properties, update[name])
    return properties


def replay(updates: Iterable[Mapping[str, Any]]) -> Properties | None:
    """The properties that these updates make, in their order; None: there is no profile."""
    properties: Properties | None = None
    for update in updates:
        properties = apply(properties, update)
    return properties


def names(kind: str, key: str) -> dict[str, str]:
    """The ids that a profile's key was made of, by their names in an update."""
    return dict(zip(_IDENTITY[kind], key.split(_SEPARATOR, 1), strict=True))


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same: true is not 1, as it is in Python."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    return bool(one == other)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_id(value: Any) -> bool:
    return bool(value) if isinstance(value, str) else _is_number(value)
