"""The open logs of this process, so that they outlive bundles and DoFn instances."""

from __future__ import annotations

from collections.abc import Iterable

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.api.endpoints import ENDPOINTS, Endpoint
from mixpanel_sink.checkpoint.events import EventLog
from mixpanel_sink.checkpoint.log import Log
from mixpanel_sink.checkpoint.owner import AnyMapping, Owner
from mixpanel_sink.checkpoint.updates import UpdateLog
from mixpanel_sink.process import LOGS
from mixpanel_sink.settings.checkpoint import Checkpoint
from mixpanel_sink.settings.privacy import Privacy
from mixpanel_sink.settings.project import Target
from mixpanel_sink.settings.run_mark import RunMark


def open_log(
    checkpoint: Checkpoint,
    mapping: AnyMapping | None,
    endpoint: Endpoint,
    projects: Iterable[tuple[Target, ResolvedCredentials]],
    privacy: Privacy | None = None,
    mark: RunMark | None = None,
) -> Log:
    """This process's log of a checkpoint.

    Raises:
        CheckpointError: if it belongs to another job, or cannot be used.
    """
    owner = Owner.of(checkpoint, mapping, endpoint, projects, privacy)
    text = "" if mark is None else mark.json

    def made() -> EventLog | UpdateLog:
        if ENDPOINTS[owner.endpoint].repeats_safely:
            return EventLog(checkpoint, owner, text)
        return UpdateLog(checkpoint, owner)

    return LOGS.get((checkpoint.path, owner, text), made)
