"""Identity: events that tell Mixpanel which ids are one user.

They are raw events, for `WriteToMixpanel` without a mapping:

>>> identify("user_123", "device_xyz")["properties"]["$anon_id"]
'device_xyz'

| event           | made by     | endpoint | simplified ID merge      | original ID merge     |
|-----------------|-------------|----------|--------------------------|-----------------------|
| `$identify`     | `identify`  | both     | as the HTTP API page has it | links an anonymous id |
| `$create_alias` | `alias`     | both     | not used                 | adds one more id      |
| `$merge`        | `merge`     | /import  | not used                 | joins two known ids   |

Both: /track and /import. Original ID merge ignores an `$anon_id` that is not a UUID of version 4.

With simplified ID merge a project needs none of them where its events carry
`$device_id` and `$user_id` (`EventMapping(device_id=..., user_id=...)`): Mixpanel links
the two from the first event that has both.
Source: the HTTP API page ("Simplified ID Merge"), the API reference for the others.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, TypedDict

import orjson

from mixpanel_sink.api.insert_ids import content_id
from mixpanel_sink.errors import SettingError

IDENTITY_EVENTS = ("$identify", "$create_alias", "$merge")


_UUID4 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)


class IdentityEvent(TypedDict):
    """A raw event, as Mixpanel takes it, without the token."""

    event: str
    properties: dict[str, Any]


def identify(user_id: str, anon_id: str, *, seconds: float | None = None) -> IdentityEvent:
    """Merges all events of an anonymous id into a known user's; for /track or /import.

    Args:
        user_id: the known id, which stays.
        anon_id: the id from before the log-in, such as a device's; with original ID merge a UUID
            of version 4.
        seconds: when, since 1970; None for the time of arrival.
    """
    _differ(user_id, anon_id)
    # The page names the known id distinct_id, the API reference $identified_id.
    ids = {"distinct_id": user_id, "$identified_id": user_id, "$anon_id": anon_id}
    return _event("$identify", ids, seconds)


def alias(distinct_id: str, alias: str, *, seconds: float | None = None) -> IdentityEvent:
    """Adds an id to a user; for /track or /import, with original ID merge."""
    _differ(distinct_id, alias)
    return _event("$create_alias", {"distinct_id": distinct_id, "alias": alias}, seconds)


def merge(first: str, second: str, *, seconds: float | None = None) -> IdentityEvent:
    """Joins two ids that are both known already; for /import, with original ID merge.

    /import wants a time: now, unless `seconds` since 1970 are given.
    """
    _differ(first, second)
    at = time.time() if seconds is None else seconds
    return _event("$merge", {"$distinct_ids": [first, second]}, at)


def explain(event: bytes) -> str:
    """What to add to Mixpanel's refusal of an identity event; "" for any other record."""
    if not any(name.encode() in event[:40] for name in IDENTITY_EVENTS):
        return ""
    name = orjson.loads(event).get("event")
    if name == "$merge":
        return (
            " ($merge goes to /import, with the API secret or a service account, and only in "
            "projects with original ID merge. With simplified ID merge send $device_id and "
            "$user_id in one event instead.)"
        )
    if name == "$create_alias":
        return (
            " ($create_alias works only in projects with original ID merge, for an id that has no "
            "user yet. With simplified ID merge send $device_id and $user_id instead.)"
        )
    if name == "$identify":
        return (
            " ($identify works only in projects with original ID merge, where $anon_id is a UUID "
            "of version 4 that does not belong to another user already. With simplified ID merge "
            "send $device_id and $user_id instead.)"
        )
    return ""


def is_ignored_anon_id(name: str, properties: Mapping[Any, Any]) -> bool:
    """Whether original ID merge ignores an identity event, since `$anon_id` is no UUID v4."""
    anon_id = properties.get("$anon_id")
    plain = anon_id.removeprefix("$device:") if isinstance(anon_id, str) else ""
    return name == "$identify" and not _UUID4.fullmatch(plain)


def missing_part(name: str, properties: Mapping[Any, Any]) -> str | None:
    """The property that an identity event lacks; None if it is whole, or no such event."""
    if name == "$identify":
        known = "distinct_id" if "distinct_id" in properties else "$identified_id"
        return next((part for part in (known, "$anon_id") if not properties.get(part)), None)
    if name == "$create_alias":
        return next((part for part in ("distinct_id", "alias") if not properties.get(part)), None)
    if name == "$merge":
        ids = properties.get("$distinct_ids")
        return None if isinstance(ids, list) and len(ids) == 2 else "$distinct_ids"
    return None


def _event(name: str, properties: dict[str, Any], seconds: float | None) -> IdentityEvent:
    if seconds is not None:
        properties["time"] = round(seconds * 1000)
    # Of the ids alone: the same link sent again is the same event.
    ids = {key: value for key, value in properties.items() if key != "time"}
    properties["$insert_id"] = content_id(orjson.dumps([name, ids]))
    return {"event": name, "properties": properties}


def _differ(one: str, other: str) -> None:
    for given in (one, other):
        if not isinstance(given, str) or not given:
            raise SettingError(f"An id is {given!r}; ids are text that is not empty.")
    if one == other:
        raise SettingError(f"Both ids are {one!r}: there is nothing to join.")
