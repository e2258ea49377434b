"""The open logs of this process, so that they outlive bundles and DoFn instances."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import ENDPOINTS, Endpoint
from mixpanel_sink.checkpoint.events import EventLog
from mixpanel_sink.checkpoint.log import Log
from mixpanel_sink.checkpoint.owner import AnyMapping, Owner
from mixpanel_sink.checkpoint.updates import UpdateLog
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.project import Target


class LogRegistry:
    """Logs by their checkpoint's path and owner. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logs: dict[tuple[str, Owner], Log] = {}

    def get(self, checkpoint: Checkpoint, owner: Owner) -> Log:
        """The log of that checkpoint, opened if it is not yet.

        Raises:
            CheckpointError: if it belongs to something else, or cannot be read.
        """
        kind = EventLog if ENDPOINTS[owner.endpoint].repeats_safely else UpdateLog
        with self._lock:
            key = (checkpoint.path, owner)
            if key not in self._logs:
                self._logs[key] = kind(checkpoint, owner)
            return self._logs[key]

    def clear(self) -> None:
        """Forgets all logs, as a new process would."""
        with self._lock:
            self._logs.clear()


LOGS = LogRegistry()


def open_log(
    checkpoint: Checkpoint,
    mapping: AnyMapping | None,
    endpoint: Endpoint,
    projects: Iterable[tuple[Target, ResolvedCredentials]],
) -> Log:
    """This process's log of a checkpoint.

    Raises:
        CheckpointError: if it belongs to another job, or cannot be used.
    """
    return LOGS.get(checkpoint, Owner.of(checkpoint, mapping, endpoint, projects))
