"""Requests whose events all keep the rules, as whole columns show.

Most requests are like that, and a look at all their times, or all their ids, at once costs a
fraction of what a look at each event does. Whatever is not ordinary is left to `rules.check`,
event by event: here is no rule of its own, only what surely breaks none.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from mixpanel_sink.emulator import identity, rules
from mixpanel_sink.emulator.rules import Rules

# Properties for which an event is dropped, hidden, or filed under another id.
_SPECIAL = frozenset(("$ignore", "bucket", "$bucket", "$device_id", "$user_id"))


class Columns(NamedTuple):
    """The events of a request; times in epoch milliseconds."""

    names: Sequence[str]
    distinct_ids: Sequence[str]
    insert_ids: Sequence[str]
    times: Sequence[int]
    tokens: frozenset[str | None]


def columns(objects: Sequence[Any], texts: Sequence[bytes], wanted: Rules) -> Columns | None:
    """The columns of valid events without anything special; None: look at each."""
    if set(map(type, objects)) != {dict} or max(map(len, texts)) > wanted.max_event_bytes:
        return None
    names = [event.get("event") for event in objects]
    properties = [event.get("properties") for event in objects]
    if set(map(type, names)) != {str} or set(map(type, properties)) != {dict}:
        return None
    if not rules.all_plain(texts) or not all(map(_SPECIAL.isdisjoint, properties)):
        return None
    different = set(names)
    if "" in different or not different.isdisjoint(identity.EVENTS):
        return None
    if max(map(len, properties)) > rules.MAX_KEYS:
        return None
    users = [values.get("distinct_id") for values in properties]
    ids = [values.get("$insert_id") for values in properties]
    moments = rules.moments([values.get("time") for values in properties], wanted)
    if moments is None or not (rules.good_users(users) and rules.good_ids(ids, wanted)):
        return None
    tokens = {values.get("token") for values in properties}
    return Columns(names, users, ids, moments, frozenset(tokens))
