"""What Mixpanel takes as an event's name, as an id and as text: each rule once."""

from __future__ import annotations

import enum
import re
import uuid
from typing import Any

from mixpanel_sink.api.limits import (
    MAX_ID_BYTES,
    RESERVED_DISTINCT_IDS,
)
from mixpanel_sink.api.numbers import whole_number
from mixpanel_sink.api.values import is_null
from mixpanel_sink.errors import RecordError, kind_of

_SURROGATE = re.compile(r"[\ud800-\udfff]")


def is_missing(value: Any) -> bool:
    """Whether a mapped column's value is null; NaN counts as one, as pandas has it."""
    return type(value) is not str and (
        is_null(value) or (isinstance(value, float) and value != value)
    )


def check_event_name(name: str, field: str) -> None:
    """Raises RecordError for a name that Mixpanel refuses or would cut."""
    if not name:
        raise RecordError("event_empty", f"event ({field}) is empty.", field)
    check_text(name, field)
    if len(name) > MAX_ID_BYTES // 4 and len(name.encode()) > MAX_ID_BYTES:
        raise RecordError(
            "event_too_long",
            f"event ({field}) is longer than {MAX_ID_BYTES} bytes; Mixpanel would cut it.",
            field,
        )


def check_distinct_id(distinct_id: str, field: str) -> None:
    """Raises RecordError for an id that Mixpanel refuses or would cut."""
    if distinct_id.lower() in RESERVED_DISTINCT_IDS:
        raise RecordError(
            "distinct_id_reserved",
            f"distinct_id ({field}) is {distinct_id!r}, a word that Mixpanel refuses because it "
            "usually means a missing id. Correct the column.",
            field,
        )
    check_text(distinct_id, field)
    if len(distinct_id) > MAX_ID_BYTES // 4 and len(distinct_id.encode()) > MAX_ID_BYTES:
        raise _id_too_long(field)


def user_id(value: Any, what: str, field: str) -> str:
    """A distinct_id, device or user id as text.

    Raises:
        RecordError: if it is neither text nor an integer, or Mixpanel would refuse or cut it.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if getattr(value, "ndim", None) == 0 and value.dtype.kind in "iuU":  # a NumPy scalar
        value = value.item()
    if isinstance(value, uuid.UUID):
        value = str(value)
    if (whole := whole_number(value)) is not None:
        value = whole
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RecordError(
            "distinct_id_wrong_type",
            f"{what} is {kind_of(value)}; ids are text or integers. Cast the column where "
            "it is made: a float would turn 12 into '12.0'.",
            field,
        )
    if isinstance(value, int):
        if value.bit_length() > 8 * MAX_ID_BYTES:
            raise _id_too_long(field)
        value = int.__str__(value)
    text = plain_name(value)
    check_distinct_id(text, field)
    return text


def _id_too_long(field: str) -> RecordError:
    return RecordError(
        "distinct_id_too_long",
        f"distinct_id ({field}) is longer than {MAX_ID_BYTES} bytes; Mixpanel would cut it and "
        "merge users. Shorten it at its source.",
        field,
    )


def check_text(text: str, field: str) -> None:
    """Raises RecordError for text that is not Unicode."""
    if _SURROGATE.search(text):
        raise invalid_text(field)


def invalid_text(field: str) -> RecordError:
    """The error for text that is not valid Unicode."""
    field = field.encode("utf-8", "backslashreplace").decode()  # failures must be valid text
    return RecordError(
        "invalid_text",
        f"{field} holds text that is not Unicode: half a surrogate pair, or bytes that are not "
        "UTF-8. Fix it at its source, or name the file's encoding in the mapping's source.",
        field,
    )


def plain_name(name: str) -> str:
    """The same text, as orjson takes it for a key (no subclass, such as an enum's member)."""
    return name if type(name) is str else str.__str__(name)
