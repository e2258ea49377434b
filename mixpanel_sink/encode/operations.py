"""What an update may do to a profile: the rule of each operation, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixpanel_sink.api.limits import (
    MAX_LIST_ITEMS,
    MAX_PROFILE_LIST_BYTES,
    MAX_PROFILE_PROPERTIES,
)
from mixpanel_sink.api.numbers import Rounded
from mixpanel_sink.api.values import to_json
from mixpanel_sink.encode.checks import check_text, plain_name
from mixpanel_sink.encode.event_json import dumps
from mixpanel_sink.errors import RecordError, kind_of

_OF_GROUPS = ("$set", "$set_once", "$union", "$remove", "$unset", "$delete")


OPERATIONS = {"engage": (*_OF_GROUPS, "$add", "$append"), "groups": _OF_GROUPS}
"""What each endpoint does to a profile."""


def check_operation(operation: str, value: Any, drop_non_finite: bool = False) -> Any:
    """An operation's value as JSON, without what changes nothing: a union with an empty list.

    Raises:
        RecordError: `operation_wrong_value`, or why a value in it has no form in JSON.
    """
    if operation == "$delete":
        if value is True or (isinstance(value, str) and value in ("", "null", "true")):
            return ""
        raise wrong_value(operation, 'true or "", nothing else', value)
    if operation == "$unset":
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise wrong_value(operation, "a list of property names, such as [plan, city]", value)
        return list(value)
    if not isinstance(value, Mapping):
        raise wrong_value(operation, "an object of properties and values", value)
    checked = {
        property_name(name): _check_value(operation, name, item, drop_non_finite)
        for name, item in value.items()
    }
    if operation == "$union":
        return {name: items for name, items in checked.items() if items}
    return checked


def _check_value(operation: str, name: str, value: Any, drop_non_finite: bool) -> Any:
    plain = profile_value(value, name, drop_non_finite)
    if operation == "$add" and not _is_number(plain):
        raise wrong_value(operation, f"only numbers, and {name} is not one", value, name)
    if operation != "$union":
        return plain
    if not isinstance(plain, list):
        raise wrong_value(operation, f"only lists, and {name} is not one", value, name)
    return [item for item in plain if item is not None]  # Mixpanel refuses nulls there


def _is_number(plain: Any) -> bool:
    return isinstance(plain, int | float | Rounded) and not isinstance(plain, bool)


def profile_value(value: Any, name: str, drop_non_finite: bool) -> Any:
    """A value as JSON. A list in a profile may be longer than one in an event."""
    if not isinstance(value, list | tuple | set | frozenset) or hasattr(value, "_asdict"):
        return to_json(value, name, drop_non_finite)
    if len(value) <= MAX_LIST_ITEMS:
        return to_json(value, name, drop_non_finite)
    items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
    plain = [to_json(item, name, drop_non_finite) for item in items]
    if len(text := dumps({name: plain}, {name: plain})) > MAX_PROFILE_LIST_BYTES:
        raise RecordError(
            "list_too_long",
            f"{name} holds a list of {len(text):,} bytes of JSON; Mixpanel takes "
            f"{MAX_PROFILE_LIST_BYTES:,} in a profile. Shorten it or leave it out.",
            name,
        )
    return plain


def wrong_value(operation: str, takes: str, value: Any, field: str | None = None) -> RecordError:
    """The error for an operation's value."""
    return RecordError(
        "operation_wrong_value",
        f"{operation} takes {takes} (it is {kind_of(value)}). Fix the record.",
        field or operation,
    )


def check_degrees(key: str, value: Any) -> Any:
    """A latitude or longitude as a number.

    Raises:
        RecordError: if it is not one.
    """
    most = 90 if key == "$latitude" else 180
    plain = to_json(value, key, False)
    if not _is_number(plain) or abs(float(plain)) > most:
        raise RecordError(
            "operation_wrong_value", f"{key} is a number of degrees, from -{most} to {most}.", key
        )
    return plain


def check_count(operations: Mapping[str, Any]) -> None:
    """Raises RecordError for more properties than a profile may have."""
    count = sum(len(value) for value in operations.values())
    if count > MAX_PROFILE_PROPERTIES:
        raise RecordError(
            "too_many_properties",
            f"The update has {count:,} properties; Mixpanel takes {MAX_PROFILE_PROPERTIES:,} in a "
            "profile. List those that you need.",
        )


def property_name(name: Any) -> str:
    """A property's name.

    Raises:
        RecordError: if it is not text.
    """
    if not isinstance(name, str):
        raise RecordError("bad_key", f"The update has the key {name!r}; keys must be text.")
    check_text(name, name)
    return plain_name(name)
