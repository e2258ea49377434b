"""Objects with fields, as dicts: rows, and what dataclasses, attrs and pydantic make."""

from __future__ import annotations

import dataclasses
from typing import Any

_METHODS = ("_asdict", "as_dict", "model_dump")
"""Of named tuples, of beam.Row, and of pydantic's models."""


def fields_of(value: Any) -> dict[Any, Any] | None:
    """The fields of a row, a named tuple, or an object of a dataclass, attrs or pydantic; None for
    anything else. May raise whatever the object's class raises."""
    for method in _METHODS:
        if callable(call := getattr(value, method, None)):
            return dict(call())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(type(value), "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in type(value).__attrs_attrs__}
    return None
