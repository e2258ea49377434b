"""Identity events: which project takes them, and what they link.

Mixpanel knows three ways of identity management. Simplified: the first event with both a
``$user_id`` and a ``$device_id`` links the device to the user; ``$create_alias`` and ``$merge``
have no effect. ``$identify`` has one on the product page (``distinct_id`` and ``$anon_id``) and
none in the API reference. Original: ``$identify``, ``$create_alias`` and ``$merge`` put ids into
one cluster of at most 500. Legacy: ``$create_alias`` only. ``$merge`` is taken by /import only.

Linked ids are one user. Events keep the id that they came with; queries resolve it, so that a
link holds for events that are stored already.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mixpanel_sink.emulator.rows import Canonical, LinkRow
from mixpanel_sink.emulator.rules import Problem
from mixpanel_sink.emulator.settings import Project, Settings

EVENTS = frozenset(("$identify", "$create_alias", "$merge"))
MAX_CLUSTER = 500
DEVICE = "$device:"
_uuid4 = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z", re.IGNORECASE
).match
_MODES = {
    "simplified": "Simplified ID Merge",
    "original": "Original ID Merge",
    "legacy": "Legacy ID Management",
}


def check(
    event: Mapping[str, Any], path: str, project: Project, settings: Settings
) -> Problem | None:
    """Why this endpoint and project refuse the identity event, or None.

    The event is an object whose name is one of `EVENTS`, with an object of properties.
    """
    name, properties = event["event"], event["properties"]
    if name == "$merge" and path != "/import":
        return Problem("event", "'$merge' is accepted by /import only")
    if settings.refuse_identity and (why := _without_effect(name, project, settings)):
        return Problem("event", why)
    if name == "$merge":
        ids = properties.get("$distinct_ids")
        if isinstance(ids, list) and len(ids) == 2 and all(map(_is_id, ids)):
            return None
        field = "properties.$distinct_ids"
        return Problem(field, f"'{field}' is invalid: must be a list of two distinct_ids")
    for field in _needed(name, properties, project):
        if not _is_id(properties.get(field)):
            return Problem(
                f"properties.{field}", f"'properties.{field}' is required: a non-empty string"
            )
    return None


def _needed(name: str, properties: Mapping[str, Any], project: Project) -> tuple[str, str]:
    if name == "$create_alias":
        return "distinct_id", "alias"
    if project.identity_mode == "simplified" and "$identified_id" not in properties:
        return "distinct_id", "$anon_id"
    return "$identified_id", "$anon_id"


def _without_effect(name: str, project: Project, settings: Settings) -> str | None:
    mode = project.identity_mode
    effective = {
        "simplified": {"$identify"} if settings.variant == "page" else set(),
        "original": EVENTS,
        "legacy": {"$create_alias"},
    }
    if name in effective[mode]:
        return None
    return f"'{name}' has no functionality in projects with {_MODES[mode]}"


def user_of(user: Any, device: Any) -> str | None:
    """The id under which a simplified project files an event: its user's or its device's."""
    if _is_id(user):
        return str(user)
    return DEVICE + device.removeprefix(DEVICE) if _is_id(device) else None


def named_by(event: Mapping[str, Any]) -> str | None:
    """The id under which a valid identity event is filed."""
    properties = event["properties"]
    if event["event"] == "$merge":
        return str(properties["$distinct_ids"][0])
    identified = properties.get("$identified_id") if event["event"] == "$identify" else None
    return identified or properties.get("distinct_id")


class Identities:
    """The clusters of ids, project by project. Belongs to the writing thread.

    `take` collects what changes; `changes` hands it out, for the request's transaction.
    """

    def __init__(self, known: Iterable[Canonical] = ()) -> None:
        self._canonical: dict[int, dict[str, str]] = {}
        self._members: dict[int, dict[str, set[str]]] = {}
        self._links: list[LinkRow] = []
        self._changed: dict[tuple[int, str], str] = {}
        for project, id, canonical in known:
            self._canonical.setdefault(project, {})[id] = canonical
            self._members.setdefault(project, {}).setdefault(canonical, set()).add(id)

    def changes(self) -> tuple[list[LinkRow], list[Canonical]]:
        """What `take` did since the last call: its log, and the new canonical ids."""
        links, changed = self._links, self._changed
        self._links, self._changed = [], {}
        return links, [Canonical(*place, canonical) for place, canonical in changed.items()]

    def pair(self, device: Any, user: Any, project: Project) -> None:
        """An event of a simplified project that names both its device and its user."""
        if not (_is_id(device) and _is_id(user)):
            return
        if device.removeprefix(DEVICE) not in self._canonical.get(project.id, {}):
            self._log(project, "$user_id", user, device, self._link_device(project, user, device))

    def take(self, event: Mapping[str, Any], project: Project, settings: Settings) -> None:
        """An identity event that `check` found valid."""
        name, properties = event["event"], event["properties"]
        if name == "$merge":
            id, other = properties["$distinct_ids"]
        elif name == "$create_alias":
            id, other = properties["distinct_id"], properties["alias"]
        else:
            id, other = properties.get("$identified_id"), properties["$anon_id"]
            if id is None:
                id = properties["distinct_id"]
        ignored = _without_effect(name, project, settings)
        if ignored is None:
            if project.identity_mode == "simplified":
                ignored = self._link_device(project, id, other)
            else:
                ignored = self._merge(name, project.id, id, other)
        self._log(project, name, id, other, ignored)

    def _link_device(self, project: Project, user: str, device: str) -> str | None:
        """Why the device is not linked, or None. A device belongs to the first of its users."""
        device = device.removeprefix(DEVICE)
        user, owner = self._find(project.id, user), self._find(project.id, device)
        if owner not in (device, user):
            return f"the device belongs to {owner!r} already"
        if device in self._members.get(project.id, {}):
            return "the device's id is a user's id"
        if owner != user:
            self._join(project.id, user, device)
        return None

    def _merge(self, name: str, project: int, id: str, other: str) -> str | None:
        if name == "$identify" and not _uuid4(other.removeprefix(DEVICE)):
            return "the $anon_id is not a UUID of version 4"
        id, other = id.removeprefix(DEVICE), other.removeprefix(DEVICE)
        into, source = self._find(project, id), self._find(project, other)
        if into == source:
            return None
        members = self._members.get(project, {})
        if name == "$identify" and source in members:
            return f"the $anon_id was merged with {source!r} before"
        if name == "$create_alias" and source in members:
            return f"the alias stands for {source!r} already"
        if len(members.get(into, {into})) + len(members.get(source, {source})) > MAX_CLUSTER:
            return f"the cluster would hold more than {MAX_CLUSTER} ids"
        self._join(project, into, source)
        return None

    def _find(self, project: int, id: str) -> str:
        id = id.removeprefix(DEVICE)
        return self._canonical.get(project, {}).get(id, id)

    def _join(self, project: int, into: str, source: str) -> None:
        members = self._members.setdefault(project, {})
        moved = members.pop(source, {source})
        members.setdefault(into, {into}).update(moved)
        for id in (into, *moved):
            self._canonical.setdefault(project, {})[id] = into
            self._changed[project, id] = into

    def _log(self, project: Project, name: str, id: str, other: str, ignored: str | None) -> None:
        self._links.append(LinkRow(project.id, name, id, other, ignored))


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and value != ""
