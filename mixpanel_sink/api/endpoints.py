"""Mixpanel's ingestion endpoints, and how each wants its requests.

| endpoint         | takes          | authenticated by        | body  | sent twice                |
|------------------|----------------|-------------------------|-------|---------------------------|
| /import          | events         | basic auth              | gzip  | safe: `$insert_id`        |
| /track           | events, 5 days | token in `properties`   | plain | safe: `$insert_id`        |
| /engage          | user profiles  | `$token` in each update | plain | not safe: some operations |
| /groups          | group profiles | `$token` in each update | plain | not safe: `$remove`       |
| /lookup-tables/… | a whole table  | basic auth, no token    | CSV   | safe: it replaces         |

Source: the HTTP API page, and the API reference for `strict` and `verbose`.
"""

from __future__ import annotations

import dataclasses
from typing import Any
from urllib.parse import quote

import orjson

from mixpanel_sink.errors import SettingError

TRACK_SECONDS = 5 * 86_400
"""/track takes events of the last five days only."""

NOT_REPEATABLE = ("$add", "$append", "$remove")
"""Operations that change a profile once more when they are sent once more."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One of Mixpanel's endpoints.

    Attributes:
        name: also its path.
        query: what every request asks for: answers that tell what was taken.
        gzip: whether bodies may be compressed.
        basic_auth: whether credentials go into a header; else the token in each record is all.
        unit: what it takes, for messages.
        identity: the keys that tell whose profile an update is for; none for events.
        max_age_seconds: of events; None for any age.
        content_type: of request bodies.
    """

    name: str
    query: str
    gzip: bool = False
    basic_auth: bool = False
    unit: str = "events"
    identity: tuple[str, ...] = ()
    max_age_seconds: float | None = None
    content_type: str = "application/json"

    @property
    def ordered(self) -> bool:
        """Whether the order of what belongs together matters: updates of a profile."""
        return bool(self.identity)

    @property
    def repeats_safely(self) -> bool:
        """Whether no request changes anything more when it is sent twice."""
        return not self.identity

    def group_of(self, record: bytes) -> str:
        """What an update's order is relative to: its profile, as text."""
        update: dict[str, Any] = orjson.loads(record)
        return "\0".join(str(update.get(key)) for key in self.identity)

    def repeatable(self, record: bytes) -> bool:
        """Whether sending this JSON text twice leaves Mixpanel as sending it once does."""
        if self.repeats_safely:
            return True
        update: dict[str, Any] = orjson.loads(record)
        return not any(operation in update for operation in NOT_REPEATABLE)


IMPORT = Endpoint("import", "strict=1", gzip=True, basic_auth=True)
TRACK = Endpoint("track", "verbose=1", max_age_seconds=TRACK_SECONDS)
ENGAGE = Endpoint("engage", "verbose=1&strict=1", unit="updates", identity=("$distinct_id",))
GROUPS = Endpoint(
    "groups", "verbose=1&strict=1", unit="updates", identity=("$group_key", "$group_id")
)


LOOKUP_TABLES = Endpoint("lookup-tables", "", basic_auth=True, unit="rows", content_type="text/csv")
"""The list of a project's lookup tables."""


def lookup_table(id: str) -> Endpoint:
    """The endpoint of one table, which a PUT replaces."""
    return dataclasses.replace(LOOKUP_TABLES, name=f"{LOOKUP_TABLES.name}/{quote(id, safe='')}")


ENDPOINTS = {endpoint.name: endpoint for endpoint in (IMPORT, TRACK, ENGAGE, GROUPS)}


def event_endpoint(kind: str) -> Endpoint:
    """The endpoint for events by its name.

    Raises:
        SettingError: if events do not go there.
    """
    if kind in ("import", "track"):
        return ENDPOINTS[kind]
    other = {"engage": "WriteProfilesToMixpanel", "groups": "WriteGroupsToMixpanel"}.get(str(kind))
    raise SettingError(
        f"endpoint_kind is {kind!r}; events go to 'import' or 'track'."
        + (f" For /{kind} use {other}." if other else "")
    )
