"""What Mixpanel asks of one event.

Nesting depth counts keys: a property has depth 1, a key of an object in it depth 2, and depth 3
is the deepest that is taken. So ``{"a": {"b": {"c": 1}}}`` as properties is valid and
``{"a": {"b": {"c": {"d": 1}}}}`` is not. Objects in a list are as deep as the list's key; a list
directly in a list is one deeper.
"""

import math
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import orjson

MAX_STRING_BYTES = 255
MAX_KEYS = 254
MAX_LIST = 254
MAX_NESTED_BYTES = 8 * 1024
"""The JSON of one property of an event that is a list or an object."""
MAX_DEPTH = 3
EARLIEST = 31_536_000
"""1971-01-01 in seconds since the epoch."""
LEEWAY = 3600.0
"""How far in the future a time may lie, in seconds."""
# Above any valid time in seconds and below any valid one in milliseconds.
_MILLISECONDS_FROM = 31_000_000_000

# Placeholders that neither a distinct_id nor an $insert_id may be, in any case of letters.
RESERVED_IDS = frozenset(
    (
        *("anonymous", "nil", "none", "null", "undefined", "unknown", "0", "-1", "true", "false"),
        *("[]", "{}", "<nil>", "n/a", "na", "anon", "00000000-0000-0000-0000-000000000000"),
    )
)
_insert_id = re.compile(r"[A-Za-z0-9-]{1,36}\Z").match
_insert_id_of_page = re.compile(r"[A-Za-z0-9_-]{1,36}\Z").match
_INSERT_ID = (string.ascii_letters + string.digits + "-").encode()
MAX_INSERT_ID = 36


class Problem(NamedTuple):
    """Why an event is refused: the field, and a message in Mixpanel's manner."""

    field: str
    message: str


TOO_DEEP = Problem("", "nested too deeply")


@dataclass(frozen=True, slots=True)
class Rules:
    """What differs between endpoints and variants; sizes in bytes, times in epoch seconds."""

    now: float
    max_event_bytes: int
    needs_time: bool = True
    needs_distinct_id: bool = True
    needs_insert_id: bool = True
    underscores: bool = False
    """Whether ``$insert_id`` may hold underscores: those in the page's examples do."""
    device_is_enough: bool = False
    """Whether ``$user_id`` or ``$device_id`` can stand for a missing ``distinct_id``."""
    oldest: float = EARLIEST
    whole_time: bool = False
    """Whether ``time`` must be an integer."""
    future_is_now: bool = False
    """Whether a time in the future is taken (and overwritten with the time of arrival)."""
    earliest_ms: float = field(init=False)
    latest_ms: float = field(init=False)
    """A whole number of milliseconds between them is a valid time: most are."""

    def __post_init__(self) -> None:
        earliest = max(self.oldest * 1000, _MILLISECONDS_FROM)
        object.__setattr__(self, "earliest_ms", earliest)
        object.__setattr__(self, "latest_ms", self.latest * 1000)

    @property
    def latest(self) -> float:
        """The latest valid time."""
        return math.inf if self.future_is_now else self.now + LEEWAY

    def for_identity(self) -> "Rules":
        """The rules for identity events, which need no time and no ids but their own."""
        return replace(self, needs_time=False, needs_distinct_id=False, needs_insert_id=False)


def epoch_ms(time: float) -> int:
    """A valid time, given in seconds or milliseconds, in milliseconds."""
    return int(time if time >= _MILLISECONDS_FROM else time * 1000)


def plain(texts: Sequence[bytes]) -> list[bool]:
    """Which events' JSON shows at a glance that no value of theirs needs to be looked at.

    They have no list, no object besides their properties, and no string that is too long.
    """
    together = b"".join(texts)
    if b"\\" in together or _has_long_strings(together):
        return [False] * len(texts)
    return [b"[" not in text and text.count(b"{") == 2 for text in texts]


def all_plain(together: bytes, count: int) -> bool:
    """Whether all of so many are, if each is an object with an object of properties."""
    return (
        b"[" not in together
        and b"\\" not in together
        and together.count(b"{") == 2 * count
        and not _has_long_strings(together)
    )


def _has_long_strings(text: bytes) -> bool:
    """Whether there may be strings that are too long: bytes without any quote among them."""
    start, end = 0, len(text) - MAX_STRING_BYTES
    while start < end:
        start = text.rfind(b'"', start, start + MAX_STRING_BYTES + 1) + 1
        if not start:
            return True
    return False


def check(event: Any, size: int, rules: Rules, *, plain: bool = False) -> Problem | int:
    """The first rule that the event breaks, or the number of its strings that are too long.

    `size` is the event's JSON in bytes, `plain` whether it is among those of `plain`.
    Strings that are too long break no rule: Mixpanel cuts them (see `shorten`).
    """
    if type(event) is not dict:
        return Problem("", "must be a JSON object")
    name = event.get("event")
    if type(name) is not str or not name:
        return Problem("event", "'event' is invalid: must be a non-empty string")
    properties = event.get("properties")
    if type(properties) is not dict:
        return Problem("properties", "'properties' is invalid: must be an object")
    if size > rules.max_event_bytes:
        limit = rules.max_event_bytes
        return Problem("properties", f"event of {size} bytes exceeds max limit of {limit} bytes")
    return (
        _check_time(properties, rules)
        or _check_distinct_id(properties, rules)
        or _check_insert_id(properties, rules)
        or (
            0
            if plain and len(properties) <= MAX_KEYS
            else _look_into(properties, int(_too_long(name)))
        )
    )


def moments(times: Sequence[int], rules: Rules) -> Sequence[int] | None:
    """These times in milliseconds if they are all of one unit, and surely valid."""
    first, last = min(times), max(times)
    if rules.earliest_ms <= first and last <= rules.latest_ms:
        return times
    if max(rules.oldest, EARLIEST) <= first and last < _MILLISECONDS_FROM and last <= rules.latest:
        return [time * 1000 for time in times]
    return None


def good_users(ids: Sequence[str]) -> bool:
    """Whether all of these are surely valid as a ``distinct_id``."""
    return RESERVED_IDS.isdisjoint(map(str.lower, set(ids)))


def good_ids(ids: Sequence[str], rules: Rules) -> bool:
    """Whether all of these are surely valid as an ``$insert_id``."""
    together, alphabet = "".join(ids), _INSERT_ID + b"_" * rules.underscores
    return (
        together.isascii()
        and not together.encode().translate(None, alphabet)
        and 1 <= min(map(len, ids)) <= max(map(len, ids)) <= MAX_INSERT_ID
        and RESERVED_IDS.isdisjoint(map(str.lower, ids))
    )


def _check_time(properties: Mapping[str, Any], rules: Rules) -> Problem | None:
    time = properties.get("time")
    if type(time) is int and rules.earliest_ms <= time <= rules.latest_ms:
        return None
    if time is None and not rules.needs_time:
        return None
    if type(time) is not int and (type(time) is not float or rules.whole_time):
        state = "required" if "time" not in properties else "invalid"
        kind = "an integer" if rules.whole_time else "a number"
        return Problem(
            "properties.time",
            f"'properties.time' is {state}: must be specified as seconds or milliseconds since "
            f"epoch, as {kind}",
        )
    seconds = time / 1000 if time >= _MILLISECONDS_FROM else time
    if rules.oldest <= seconds <= rules.latest and seconds >= EARLIEST:
        return None
    if EARLIEST <= seconds < rules.oldest:
        days = round((rules.now - rules.oldest) / 86400)
        why = f"older than {days} days, use /import instead"
    else:
        why = "must lie between 1971-01-01 and one hour from now"
    return Problem("properties.time", f"'properties.time' is invalid: {why}")


def _check_distinct_id(properties: Mapping[str, Any], rules: Rules) -> Problem | None:
    distinct_id = properties.get("distinct_id")
    if type(distinct_id) is str:
        if distinct_id.lower() not in RESERVED_IDS:
            return None
        message = f"'properties.distinct_id' is invalid: {distinct_id!r} is not allowed as an id"
    elif "distinct_id" not in properties:
        if not rules.needs_distinct_id:
            return None
        if rules.device_is_enough and ("$user_id" in properties or "$device_id" in properties):
            return None
        message = "'properties.distinct_id' is required"
    else:
        message = "'properties.distinct_id' is invalid: must be a string"
    return Problem("properties.distinct_id", message)


def _check_insert_id(properties: Mapping[str, Any], rules: Rules) -> Problem | None:
    insert_id = properties.get("$insert_id")
    if type(insert_id) is str:
        fits = _insert_id_of_page if rules.underscores else _insert_id
        if fits(insert_id) and insert_id.lower() not in RESERVED_IDS:
            return None
    if "$insert_id" not in properties:
        if not rules.needs_insert_id:
            return None
        message = "'properties.$insert_id' is required"
    else:
        alphabet = "A-Z, a-z, 0-9, _ and -" if rules.underscores else "A-Z, a-z, 0-9 and -"
        message = (
            f"'properties.$insert_id' is invalid: must be 1 to 36 characters of {alphabet}, "
            "and not a placeholder such as null or 0"
        )
    return Problem("properties.$insert_id", message)


def _look_into(properties: Mapping[str, Any], too_long: int) -> Problem | int:
    """Counts, lists and nesting of the properties, in one pass over the values.

    `too_long` is how many strings outside the properties are too long.
    """
    if len(properties) > MAX_KEYS:
        return Problem("properties", "'properties' is invalid: must have fewer than 255 keys")
    for key, value in properties.items():
        kind = type(value)
        if len(key) > 63 and _too_long(key):
            too_long += 1
        if kind is str:
            if len(value) > 63 and _too_long(value):
                too_long += 1
        elif kind is dict or kind is list:
            found = _look_deeper(value, 1)
            if type(found) is str:
                return Problem(f"properties.{key}", f"'properties.{key}' is invalid: {found}")
            assert type(found) is int
            too_long += found
            if len(orjson.dumps(value)) > MAX_NESTED_BYTES:
                why = f"lists and objects must have at most {MAX_NESTED_BYTES} bytes"
                return Problem(f"properties.{key}", f"'properties.{key}' is invalid: {why}")
    return too_long


def _look_deeper(value: Any, depth: int) -> str | int:
    kind = type(value)
    if kind is str:
        return int(_too_long(value))
    if kind is dict:
        if depth >= MAX_DEPTH and value:
            return f"nested deeper than {MAX_DEPTH}"
        if len(value) > MAX_KEYS:
            return "objects must have fewer than 255 keys"
        children = value.values()
        too_long = sum(len(key) > 63 and _too_long(key) for key in value)
    elif kind is list:
        if len(value) > MAX_LIST:
            return "lists must have fewer than 255 elements"
        children = value
        too_long = 0
    else:
        return 0
    for child in children:
        deeper = kind is dict or type(child) is list
        if depth + deeper > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH}"
        found = _look_deeper(child, depth + deeper)
        if type(found) is str:
            return found
        assert type(found) is int
        too_long += found
    return too_long


def _too_long(text: str) -> bool:
    return len(text) > MAX_STRING_BYTES or (
        not text.isascii() and len(text.encode()) > MAX_STRING_BYTES
    )


def shorten(value: Any) -> Any:
    """The value with each string and name cut to 255 bytes of UTF-8, at a character's end."""
    if type(value) is str:
        return value.encode()[:MAX_STRING_BYTES].decode(errors="ignore")
    if type(value) is list:
        return [shorten(item) for item in value]
    if type(value) is dict:
        return {shorten(key): shorten(item) for key, item in value.items()}
    return value
