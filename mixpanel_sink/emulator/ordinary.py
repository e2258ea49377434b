"""Requests whose events all keep the rules, as whole columns show.

Most requests are like that, and a look at all their times, or all their ids, at once costs a
fraction of what a look at each event does. Of each event only what the rules ask for becomes an
object of Python. Whatever is not ordinary is left to `rules.check`, event by event: here is no
rule of its own, only what surely breaks none.
"""

import re
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import orjson
from msgspec import DecodeError, Meta, Struct, field
from msgspec.json import Decoder

from mixpanel_sink.emulator import identity, rules
from mixpanel_sink.emulator.rules import Rules

# No value is one, so that only an event without this property can be read.
_Absent = Annotated[int, Meta(gt=0, lt=1)]
_SHORTEST_PROPERTY = len('"":1,')
# The end of a number that may be too large for a double, in lower case: a class of both would take
# four times as long. Without an exponent of two digits, `rules.all_plain` finds it too long.
_large_number = re.compile(rb"e[+0-9][0-9]++[,}\s]").search


class _Properties(Struct, gc=False):
    time: int
    distinct_id: str
    insert_id: str = field(name="$insert_id")
    token: str | None = None
    # For these an event is dropped, hidden, or filed under another id.
    ignore: _Absent = field(name="$ignore", default=0)
    bucket: _Absent = 0
    hidden_bucket: _Absent = field(name="$bucket", default=0)
    device_id: _Absent = field(name="$device_id", default=0)
    user_id: _Absent = field(name="$user_id", default=0)


class _Event(Struct, gc=False):
    event: str
    properties: _Properties


_decode = Decoder(_Event).decode


class Columns(NamedTuple):
    """The events of a request; times in epoch milliseconds."""

    names: Sequence[str]
    distinct_ids: Sequence[str]
    insert_ids: Sequence[str]
    times: Sequence[int]
    tokens: frozenset[str | None]


def columns(texts: Sequence[bytes], wanted: Rules) -> Columns | None:
    """The columns of valid events without anything special; None: look at each."""
    together = b"".join(texts)
    if (
        max(map(len, texts)) > wanted.max_event_bytes
        or not rules.all_plain(together, len(texts))
        or not _few_keys(texts)
    ):
        return None
    try:
        events = list(map(_decode, texts))
        _check_skipped(texts, together)
    except (DecodeError, UnicodeDecodeError, orjson.JSONDecodeError):
        return None
    names = [event.event for event in events]
    different = set(names)
    if "" in different or not different.isdisjoint(identity.EVENTS):
        return None
    properties = [event.properties for event in events]
    users = [values.distinct_id for values in properties]
    ids = [values.insert_id for values in properties]
    moments = rules.moments([values.time for values in properties], wanted)
    if moments is None or not (rules.good_users(users) and rules.good_ids(ids, wanted)):
        return None
    tokens = frozenset([values.token for values in properties])
    return Columns(names, users, ids, moments, tokens)


def _few_keys(texts: Sequence[bytes]) -> bool:
    """Whether no event can have more keys than are allowed."""
    few = rules.MAX_KEYS
    return max(map(len, texts)) < few * _SHORTEST_PROPERTY or all(
        text.count(b",") < few for text in texts
    )


def _check_skipped(texts: Sequence[bytes], together: bytes) -> None:
    """Check what `_decode` does not of values that it skips: that they are UTF-8, and finite.

    Raises:
        UnicodeDecodeError, orjson.JSONDecodeError: they are not.
    """
    if not together.isascii():
        together.decode()
    if _large_number(together.lower()):
        for text in texts:
            orjson.loads(text)
