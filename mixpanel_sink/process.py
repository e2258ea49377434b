"""Everything that this process remembers between bundles and pipelines.

Runners make and drop DoFns as they like. What must outlive them is here, in a layer below all
others: the lanes with the requests that still count against a quota, the open checkpoints, and
what the log and a watching launcher count. `forget()` drops all of it, as a new process would.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from mixpanel_sink.checkpoint.events import EventLog
    from mixpanel_sink.checkpoint.lease import Heartbeat
    from mixpanel_sink.checkpoint.updates import UpdateLog
    from mixpanel_sink.read.raw_export import Exporter
    from mixpanel_sink.report.failure_log import FailureLog
    from mixpanel_sink.report.worker_log import Progress
    from mixpanel_sink.send.dispatch import Dispatcher
    from mixpanel_sink.send.lane import Lane
    from mixpanel_sink.send.tally import Tally

_Kept = TypeVar("_Kept")


class Registry(Generic[_Kept]):
    """Objects by key, each made when it is first asked for. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Hashable, _Kept] = {}

    def get(self, key: Hashable, make: Callable[[], _Kept]) -> _Kept:
        """The object with this key, made if there is none."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
            return self._kept[key]

    def all(self) -> list[_Kept]:
        """All objects as of now."""
        with self._lock:
            return list(self._kept.values())

    def clear(self) -> None:
        """Drops all objects."""
        with self._lock:
            self._kept.clear()


LANES: Registry[Lane] = Registry()
"""Lanes by host, endpoint, credentials, number and share of the quota."""
QUEUES: Registry[Dispatcher] = Registry()
"""Queues of lanes whose updates keep their order, by lane: a runner may split a bundle and start
its rest before the first part has sent everything."""
LOGS: Registry[EventLog | UpdateLog] = Registry()
"""Open checkpoints, by path and owner."""
HEARTBEATS: Registry[Heartbeat] = Registry()
"""The threads that renew leases of checkpoints, by path and run."""
PROFILES: Registry[Any] = Registry()
"""What was last sent for each profile, by checkpoint."""
COUNTS: Registry[Tally] = Registry()
"""The tally of what is sent; its only key is None."""
PROGRESS: Registry[Progress] = Registry()
"""Writes a line a minute to the log; its only key is None."""
FAILURES: Registry[FailureLog] = Registry()
"""Warns of failed records in the log; its only key is None."""
EXPORTERS: Registry[Exporter] = Registry()
"""Clients that export events, with the exports that still count against a quota, by host and
credentials."""
BLOBS: Registry[Any] = Registry()
"""Clients of Azure's storage accounts, by their settings."""
S3_CLIENTS: Registry[Any] = Registry()
"""Clients of Amazon's S3, by their settings."""

SINKS: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()
"""The sinks of each pipeline that is being built; dropped with the pipeline."""

_ALL: tuple[Registry[Any], ...] = (
    LANES,
    QUEUES,
    LOGS,
    PROFILES,
    HEARTBEATS,
    COUNTS,
    PROGRESS,
    FAILURES,
    EXPORTERS,
    BLOBS,
    S3_CLIENTS,
)


def forget() -> None:
    """Forgets everything, as a new process would."""
    for registry in _ALL:
        registry.clear()
    SINKS.clear()
