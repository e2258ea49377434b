"""The rows that the store takes and gives: requests, events, updates, identities."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from itertools import compress
from typing import Any, NamedTuple


@dataclass(slots=True)
class Entry:
    """One request's row in the log. `status` None: the connection was cut without an answer.

    `arrived` and `finished` are epoch seconds; `finished` is when the answer was ready. `quota`
    is ``counted``, ``refused`` or None (the request does not concern the quota). `accepted` is
    what the answer says was taken, `stored` what was new; `dropped` were accepted and then thrown
    away (``$ignore``), `hidden` hide other events from Mixpanel's interface (``bucket``).
    `raw_bytes` came over the wire, `body_bytes` is their decoded size. `project` is None for a
    request to several projects: ``shares`` tells how much was whose. `geo` is the address that
    geolocation takes where a record names none; None: it is skipped. Holds no credentials.
    """

    path: str
    arrived: float
    finished: float | None = None
    status: int | None = None
    project: int | None = None
    quota: str | None = None
    events: int = 0
    accepted: int = 0
    failed: int = 0
    duplicates: int = 0
    stored: int = 0
    truncated_strings: int = 0
    without_insert_id: int = 0
    dropped: int = 0
    hidden: int = 0
    raw_bytes: int = 0
    body_bytes: int = 0
    content_encoding: str | None = None
    content_type: str | None = None
    user_agent: str | None = None
    remote: str | None = None
    geo: str | None = None
    fault: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """What the log keeps of a request besides its row, for people who look into it.

    `body` is as it came over the wire; `failed` a JSON list of the records that failed.
    """

    body: bytes = b""
    answer: bytes = b""
    failed: bytes = b"[]"


class EventRow(NamedTuple):
    """One event to store; `time` in epoch milliseconds, `key` None: never a duplicate."""

    project: int
    key: int | None
    event: str
    distinct_id: str | None
    insert_id: str | None
    time: int
    json: bytes


@dataclass(frozen=True, slots=True)
class Events:
    """Events to store, as columns; see `EventRow`."""

    projects: Sequence[int]
    keys: Sequence[int | None]
    names: Sequence[str]
    distinct_ids: Sequence[str | None]
    insert_ids: Sequence[str | None]
    times: Sequence[int]
    texts: Sequence[bytes]

    @classmethod
    def of(cls, rows: "Sequence[EventRow] | Events") -> "Events":
        """These events."""
        if isinstance(rows, Events):
            return rows
        return cls(*zip(*rows, strict=True)) if rows else cls((), (), (), (), (), (), ())

    def __len__(self) -> int:
        """How many they are."""
        return len(self.texts)

    def rows(self) -> Iterator[EventRow]:
        """One by one."""
        columns = (getattr(self, each.name) for each in fields(self))
        return map(EventRow, *columns)

    def chosen(self, which: Sequence[bool]) -> "Events":
        """Those of which this is true."""
        columns = (getattr(self, each.name) for each in fields(self))
        return Events(*(list(compress(column, which)) for column in columns))


class Place(NamedTuple):
    """Where an event came from, and whose it is."""

    request: int
    project: int
    distinct_id: str | None


class UpdateRow(NamedTuple):
    """One valid profile or group update to store and apply.

    `profile` is the profile's key, `seen` its new last-seen time in epoch milliseconds, `geo`
    the address for its geolocation; both None: unchanged.
    """

    project: int
    kind: str
    profile: str
    seen: int | None
    geo: str | None
    update: Mapping[str, Any]
    json: bytes


class LinkRow(NamedTuple):
    """What an identity event did: the two ids, and why it had no effect (None: it had)."""

    project: int
    event: str
    id: str
    other: str
    ignored: str | None


class Canonical(NamedTuple):
    """The canonical id of an id's cluster."""

    project: int
    id: str
    canonical: str


class ExportRow(NamedTuple):
    """One event for the raw export, beside what is known of its request."""

    seq: int
    time: int
    distinct_id: str | None
    json: bytes
    arrived: float
    path: str
    geo: str | None


def geolocation(properties: Mapping[str, Any], geo: str | None) -> dict[str, str | None]:
    """Where an event is placed: the address, and where it came from (None: it is skipped)."""
    if "ip" not in properties:
        return {"address": geo, "from": "request" if geo else None}
    ip = properties["ip"]
    if ip in (0, "0", "", None, False):
        return {"address": None, "from": None}
    return {"address": str(ip), "from": "ip"}


def dedupe_keys(begin: str, identities: Iterable[str]) -> list[int]:
    """64-bit keys of events' identities, which all begin with `begin`.

    64 bits keep what is known of them small. Two of three million different identities share a
    key with a probability of 2.4e-7. No key is 0.
    """
    started = blake2b(begin.encode(), digest_size=8)
    digests = []
    for identity in identities:
        digest = started.copy()
        digest.update(identity.encode())
        digests.append(digest.digest())
    keys = array("q", b"".join(digests)).tolist()
    return [key or 1 for key in keys] if 0 in keys else keys


COLUMNS = tuple(f.name for f in fields(Entry))
"""The columns of a request's row, besides its id."""
