"""Counts what this process has sent, response by response. No Beam here.

Beam's metrics learn of a request when its bundle collects the result, which may be an hour later
where the quota holds the bundle back. Here the sending thread counts as soon as it has the
response, so that a progress bar knows what Mixpanel holds. Both agree in the end.
"""

from __future__ import annotations

import collections
import datetime
import re
import threading
from collections.abc import Iterable, Mapping

import orjson

from mixpanel_sink.process import COUNTS
from mixpanel_sink.results import FailedRecord, Receipt

_NAME = re.compile(rb'\{"event":("(?:[^"\\]|\\.)*")')
_TIME = re.compile(rb'"time":(\d+)[,}]')
_MILLISECONDS_FROM = 31_536_000_000
"""Larger numbers are milliseconds, as Mixpanel reads them."""


class Tally:
    """Counters by name, as in report/metrics.py, but of this process alone. Thread-safe.

    A bundle that fails and is run again counts twice here, unlike in Beam's metrics.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()
        self._events: collections.Counter[tuple[bytes, int]] | None = None

    def add(self, amounts: Mapping[str, int]) -> None:
        """Adds to several at once: no reader sees one without the others."""
        with self._lock:
            self._counts.update(amounts)

    def counts(self) -> dict[str, int]:
        """All counters as they are now."""
        with self._lock:
            return dict(self._counts)

    def begin_breakdown(self) -> None:
        """From now on, counts what is accepted by event and day as well: about a microsecond an
        event."""
        self._events = collections.Counter()

    @property
    def breaks_down(self) -> bool:
        """Whether accepted events are counted by event and day."""
        return self._events is not None

    def add_events(self, events: Iterable[bytes]) -> None:
        """Counts accepted events, given as JSON."""
        found = collections.Counter(map(_name_and_day, events))
        with self._lock:
            if self._events is not None:
                self._events.update(found)

    def breakdown(self) -> dict[tuple[str, str], int]:
        """What was accepted, by the event's name and its day in UTC."""
        with self._lock:
            found: dict[tuple[bytes, int], int] = dict(self._events or {})
        return {(str(orjson.loads(key[0])), _day(key[1])): n for key, n in found.items()}


def _name_and_day(event: bytes) -> tuple[bytes, int]:
    """An event's name as JSON, and its day since 1970."""
    name, time = _NAME.match(event), _TIME.search(event)
    if name is None or time is None or event.count(b'"time":') > 1:  # or a nested one comes first
        found = orjson.loads(event)
        now = datetime.datetime.now(datetime.timezone.utc).timestamp()
        at = found.get("properties", {}).get("time", now)  # /track takes the time of arrival
        return orjson.dumps(str(found.get("event"))), _days(int(float(at)))
    return name[1], _days(int(time[1]))


def _days(time: int) -> int:
    return time // (86_400_000 if time >= _MILLISECONDS_FROM else 86_400)


def _day(number: int) -> str:
    return str(datetime.date(1970, 1, 1) + datetime.timedelta(number))


def tally() -> Tally:
    """This process's tally."""
    return COUNTS.get(None, Tally)


def counts_of_requests(statuses: Mapping[str, int]) -> dict[str, int]:
    """What requests with responses of these statuses count for."""
    each = {f"requests_{status}": number for status, number in statuses.items()}
    return {"requests": sum(statuses.values()), **each}


def counts_of_receipt(receipt: Receipt) -> dict[str, int]:
    """What settled records count for."""
    if not receipt.attempts:  # known to a checkpoint, and not sent
        return {"events_accepted": receipt.accepted, "events_known": receipt.accepted}
    return {
        "events_accepted": receipt.accepted,
        "retries": receipt.attempts - 1,
        "sent_bytes": receipt.sent_bytes,
        "raw_bytes": receipt.raw_bytes,
    }


def counts_of_failure(record: FailedRecord) -> dict[str, int]:
    """What a failed record counts for."""
    return {"records_failed": 1, f"failed_{record.reason}": 1}
