"""`$insert_id`s, users' ids and hashes, made from exact values by their published rules."""

from __future__ import annotations

import decimal
import json
import string
from collections.abc import Sequence
from typing import Any

import orjson
from blake3 import blake3

from mixpanel_sink.inspect.verify.exact import Unfit
from mixpanel_sink.inspect.verify.held import Refused, held, json_of
from mixpanel_sink.results.shown import record_as_json

_PLAIN = frozenset(string.ascii_letters + string.digits + "-")
RESERVED = frozenset(
    """
    anonymous nil none null undefined unknown 0 -1 true false [] {} <nil> n/a na anon
    00000000-0000-0000-0000-000000000000
    """.split()  # noqa: SIM905
)
_ID_BYTES = 255
_MOST_BITS = 3000


def hashed(text: str) -> str:
    """A hash of 128 bits, in hex."""
    return blake3(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def text_of(value: Any, field: str) -> str:
    """Text as it is, integers by all their digits, and everything else as its exact JSON."""
    if isinstance(value, str):
        return str(held(value, field, False))
    plain = _id_value(value, field)
    return plain if isinstance(plain, str) else json_of(plain, exactly=True).decode()


def column_id(value: Any, field: str) -> str:
    """The id that one column gives: as it is where Mixpanel takes it, else hashed.

    Raises:
        Refused: if it is empty, or cannot be written.
    """
    text = text_of(value, field)
    if not text:
        raise Refused("insert_id_null", f"insert_id ({field}) is empty.", field)
    fits = len(text) <= 36 and _PLAIN.issuperset(text) and text.lower() not in RESERVED
    return text if fits else hashed(text)


def columns_id(names: Sequence[str], values: Sequence[Any]) -> str:
    """The id that several columns give together."""
    parts = {name: _id_value(value, name) for name, value in zip(names, values, strict=True)}
    return hashed(json_of(parts, exactly=True).decode())


def _id_value(value: Any, field: str) -> Any:
    number = whole(value)
    if number is not None and -(2**63) <= number < 2**64:
        return number
    if number is not None and number.bit_length() <= _MOST_BITS:
        return orjson.Fragment(str(number))
    return held(value, field, False)


def whole(value: Any) -> int | None:
    """An integer, or a decimal without a fraction, as an integer; None for anything else."""
    if isinstance(value, decimal.Decimal) and value.is_finite() and value.adjusted() < 1000:
        return int(value) if value == value.to_integral_value() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def user_id(value: Any, field: str) -> str:
    """A distinct_id, device id or user id: text or a whole number.

    Raises:
        Refused: if it is something else, or Mixpanel would refuse or cut it.
    """
    number = whole(value)
    text = str(number) if number is not None else value
    if not isinstance(text, str):
        if isinstance(value, Unfit):
            raise Refused(value.reason, f"{field} is {value.message}.", field)
        raise Refused("distinct_id_wrong_type", f"{field} is a {type(value).__name__}.", field)
    check_user_id(text, field)
    return text


def check_user_id(text: str, field: str) -> None:
    """Raises Refused for an id that Mixpanel refuses or would cut."""
    if text.lower() in RESERVED:
        raise Refused("distinct_id_reserved", f"{field} is {text!r}.", field)
    held(text, field, False)
    if len(text) > _ID_BYTES or len(text.encode()) > _ID_BYTES:
        raise Refused("distinct_id_too_long", f"{field} is longer than 255 bytes.", field)


def masked(value: Any, field: str, key: str) -> str | None:
    """What privacy makes of a value: a hash of 32 hex digits; nulls stay."""
    if value is None:
        return None
    try:
        text = value if isinstance(value, str) else text_of(value, field)
    except Refused:
        text = json.dumps(json.loads(record_as_json(value)), sort_keys=True)
    return hashed(f"{key}\0{text}")
