"""What this process has sent so far, as each response tells. No Beam here.

Beam's metrics learn of a request when its bundle collects the result, which may be an hour later
where the quota holds the bundle back. Here a sending thread counts as soon as it has the answer:
whoever watches knows what Mixpanel holds. Both agree in the end.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Mapping

from mixpanel_sink.process import COUNTS
from mixpanel_sink.results import FailedRecord, Receipt


class Tally:
    """Counters by name, as in report/metrics.py, but of this process alone. Thread-safe.

    A bundle that fails and is run again counts twice here, unlike in Beam's metrics.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, amounts: Mapping[str, int]) -> None:
        """Adds to several at once: nobody sees one without the other."""
        with self._lock:
            self._counts.update(amounts)

    def counts(self) -> dict[str, int]:
        """All of them now."""
        with self._lock:
            return dict(self._counts)


def tally() -> Tally:
    """This process's."""
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
