"""Chooses the encoder of a project's records."""

from __future__ import annotations

from collections.abc import Callable

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.encode.encoder import Encoder
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.profile_updates import MappedUpdateEncoder, RawUpdateEncoder
from mixpanel_sink.encode.raw_events import RawEventEncoder
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import UpdateMapping
from mixpanel_sink.settings.project import Target
from mixpanel_sink.settings.run_mark import RunMark


def encoder_for(
    target: Target,
    endpoint: Endpoint,
    mapping: EventMapping | UpdateMapping | None,
    clock: Callable[[], float],
    mark: RunMark | None = None,
) -> Encoder:
    """The encoder of a project's records. Resolves the project's token, if records carry one.

    Args:
        target: the project.
        endpoint: where the records go.
        mapping: None for raw events and updates.
        clock: seconds since 1970.
        mark: what every event of this run carries, or None.

    Raises:
        CredentialsError: if the token does not resolve.
    """
    # Without a token in the events, Convert needs no secret.
    wanted = target.credentials.token is not None
    token = target.credentials.resolve().token if wanted else None
    limits = target.limits

    def milliseconds() -> int:
        return int(clock() * 1000)

    if endpoint.identity:
        assert token is not None
        if mapping is None:
            return RawUpdateEncoder(endpoint, limits, token)
        assert isinstance(mapping, UpdateMapping)
        return MappedUpdateEncoder(mapping, endpoint, limits, token, milliseconds)
    if mapping is None:
        return RawEventEncoder(limits, token, endpoint=endpoint, clock=milliseconds, mark=mark)
    assert isinstance(mapping, EventMapping)
    return MappedEventEncoder(mapping, limits, token, milliseconds, mark)
