"""What a record may be, and how much it weighs in memory."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from mixpanel_sink.api.objects import fields_of
from mixpanel_sink.errors import RecordError, kind_of


def as_mapping(record: Any) -> Mapping[Any, Any]:
    """A dict, beam.Row, NamedTuple, dataclass, attrs or pydantic object as a dict.

    Raises:
        RecordError: for anything else.
    """
    try:
        if isinstance(record, Mapping):  # others than dict may make up keys, or fail later
            return record if type(record) is dict else dict(record)
        if (fields := fields_of(record)) is not None:
            return fields
    except Exception as error:  # whatever a class of the user's may raise
        raise RecordError(
            "unreadable_value",
            f"The record is {kind_of(record)} that cannot be read "
            f"({type(error).__name__}). Make it a dict.",
        ) from None
    raise RecordError(
        "unsupported_record",
        f"The record is {kind_of(record)}. {no_record(type(record))}",
    )


_ADVICE: tuple[tuple[tuple[type, ...], str], ...] = (
    ((str, bytes), "parse the text first, such as with beam.Map(json.loads)."),
    ((tuple,), "of pairs, keep the values with beam.Values(), or make a record of each."),
    ((type(None),), "leave them out with beam.Filter."),
    ((list, set, frozenset), "take each apart first, with beam.FlatMap(list)."),
)
_FRAMES = {
    "pandas": "convert a frame with pyarrow.Table.from_pandas.",
    "polars": "convert a frame with its to_arrow().",
}


def no_record(kind: Any) -> str:
    """What the sink takes, and what to do with elements of a kind that it does not take."""
    package = str(getattr(kind, "__module__", "")).partition(".")[0]
    advice = _FRAMES.get(package, "make a dict of each.")
    if isinstance(kind, type):
        advice = next((text for kinds, text in _ADVICE if issubclass(kind, kinds)), advice)
    return f"The sink takes dicts, beam.Row, named tuples, dataclasses and pyarrow.Table: {advice}"


STRIDE = 32
"""Of this many small records one is weighed ..."""
LARGE = 50_000
"""... and each that weighs more than this."""
_VALUE_BYTES = 16
"""The weight of a value that is neither text nor bytes, and of what surrounds one that is."""
_SMALL = frozenset({int, float, bool, type(None), datetime.datetime, datetime.date})


def weight_of(value: Any, depth: int = 4) -> int:
    """About how many bytes of JSON a record or value makes; never raises."""
    try:
        if type(value) is dict:
            total = _VALUE_BYTES * len(value)
            for item in value.values():
                kind = type(item)
                if kind is str:
                    total += len(item)
                elif kind not in _SMALL:
                    total += weight_of(item, depth - 1)
            return total
        return _VALUE_BYTES + _size_of(value, depth)
    except Exception:  # of a user's class
        return _VALUE_BYTES


def _size_of(value: Any, depth: int) -> int:
    if isinstance(value, str | bytes | bytearray) or type(value) in _SMALL:
        return len(value) if hasattr(value, "__len__") else 0
    if not depth:
        return 0
    if isinstance(value, Mapping):
        return sum(weight_of(value[key], depth - 1) for key in value)
    if isinstance(value, list | tuple | set | frozenset):
        return sum(weight_of(item, depth - 1) for item in value)
    size: int = getattr(value, "nbytes", None) or (len(value) if hasattr(value, "__len__") else 0)
    return size


def weigh(
    records: Sequence[Any], most_bytes: float = float("inf"), start: int = 0
) -> tuple[int, int]:
    """How many records, from `start` on, weigh no more than `most_bytes`: at least one.

    Small records are weighed by sample; large ones, each.

    Returns:
        Their number and their weight.
    """
    at, total = start, 0
    while at < len(records):
        weight = weight_of(records[at])
        step = min(1 if weight > LARGE else STRIDE, len(records) - at)
        if total + weight * step > most_bytes and at > start:
            break
        total += weight * step
        at += step
    return at - start, total
