"""Objects in a column, as `Shape`'s steps `json` and `flatten` unpack them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixpanel_sink.api.numbers import read_json
from mixpanel_sink.encode.arrow_rows import values_of
from mixpanel_sink.errors import RecordError
from mixpanel_sink.results import SHAPE_FAILED

Objects = list[dict[str, Any]]


def objects_of(
    column: Any, name: str, object_of: Callable[[Any, str], dict[str, Any]]
) -> tuple[Objects, dict[int, RecordError]]:
    """The object in each row, and the rows that hold something else."""
    objects: Objects = []
    failed: dict[int, RecordError] = {}
    for row, value in enumerate(values_of(column)):
        try:
            objects.append({} if value is None else object_of(value, name))
        except RecordError as error:
            failed[row] = error
            objects.append({})
    return objects, failed


def json_object(text: Any, name: str) -> dict[str, Any]:
    """The object of a JSON text."""
    try:
        found = read_json(text)
    except (ValueError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RecordError(
            SHAPE_FAILED,
            f"{name} does not hold a JSON object. Correct it, or take {name} out of json.",
            name,
        )
    return found


def object_of_pairs(value: Any, name: str) -> dict[str, Any]:
    """An object, map, or list of {key, value} as a dict."""
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise RecordError(SHAPE_FAILED, f"{name} has a key that is not text.", name)
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
