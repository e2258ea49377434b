"""Which records a response names as refused, in all the shapes that Mixpanel uses for it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

_LONGEST_TEXT = 2000
"""Characters of one message that are kept: each failed record carries its own."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why an event or update is not in. `reason`: of its failed record, if it is a special one."""

    field: str | None
    message: str
    reason: str | None = None


def failed_records(body: Any) -> list[Any]:
    """`failed_records` of a parsed body; [] if there is none."""
    records = body.get("failed_records") if isinstance(body, dict) else None
    return records if isinstance(records, list) else []


def imported_count(body: Any) -> int | None:
    """`num_records_imported`, for profiles `num_good_events`, if any; -1 if not a number."""
    if not isinstance(body, dict):
        return None
    imported = body.get("num_records_imported", body.get("num_good_events"))
    if imported is None:
        return None
    try:
        return int(imported) if float(imported).is_integer() else -1
    except (TypeError, ValueError, OverflowError):
        return -1


def read_refusals(records: list[Any], insert_ids: Sequence[str]) -> tuple[dict[int, Refusal], bool]:
    """The refused events by index, and whether a record's index and id contradict each other."""
    places: dict[str, int] = {}
    for index, insert_id in enumerate(insert_ids):
        places[insert_id] = -1 if insert_id in places else index
    refused: dict[int, Refusal] = {}
    contradicts = False
    for record in records:
        if isinstance(record, str):
            parsed = parse_json(record.encode())
            record = parsed if isinstance(parsed, dict) else {"message": record}
        if not isinstance(record, dict):
            continue
        place = _place(record, insert_ids, places)
        if place is None:
            continue
        given = record.get("index")
        contradicts |= type(given) is int and 0 <= given < len(insert_ids) and given != place
        field = record.get("field")
        refused[place] = Refusal(
            as_text(field) if field else None,
            as_text(record.get("message") or "refused by Mixpanel"),
        )
    return refused, contradicts


def _place(
    record: Mapping[str, Any], insert_ids: Sequence[str], places: Mapping[str, int]
) -> int | None:
    """The event that a failed record means: by its id where that is clear, else by index."""
    insert_id = record.get("$insert_id") or record.get("insert_id")
    index = record.get("index")
    valid = isinstance(index, int) and not isinstance(index, bool)
    if valid and not 0 <= index < len(insert_ids):  # type: ignore[operator]
        valid = False
    if isinstance(insert_id, str) and insert_id:
        if valid and insert_ids[index] == insert_id:  # type: ignore[index]
            return index
        by_id = places.get(insert_id, -1)
        return by_id if by_id >= 0 else None
    if valid:
        return index
    message = as_text(record.get("message", ""))
    # Only ids that cannot be an ordinary word or number.
    found = {places[i] for i in re.findall(r"[A-Za-z0-9-]{16,36}", message) if i in places}
    if len(found) == 1 and -1 not in found:
        return found.pop()
    at = re.search(r"\b(?:index|record|event)\s*[:#=]?\s*(\d{1,9})\b", message, re.IGNORECASE)
    if at and int(at[1]) < len(insert_ids):
        return int(at[1])
    return None


def parse_json(body: bytes) -> Any:
    """The value of a JSON text; None if it is not JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def as_text(value: Any) -> str:
    """A value of a response as text, at most `_LONGEST_TEXT` long. It may be any JSON at all."""
    try:
        return str(value)[:_LONGEST_TEXT]
    except RecursionError:
        return f"(a {type(value).__name__} that nests too deep)"
