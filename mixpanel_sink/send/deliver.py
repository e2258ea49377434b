"""Makes one request for a part, and says what class of response came back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from mixpanel_sink.api.client import IngestionClient
from mixpanel_sink.api.responses import (
    ProjectRefused,
    ResponseClass,
    Retry,
    Settled,
    Unclear,
    classify,
)
from mixpanel_sink.api.transport import Response
from mixpanel_sink.send.gate import Gate, weight
from mixpanel_sink.send.part import Part
from mixpanel_sink.send.plan import stop
from mixpanel_sink.send.policy import SendPolicy
from mixpanel_sink.send.settle import insert_id_of


@dataclasses.dataclass(frozen=True)
class Delivered:
    """What came of one request.

    Attributes:
        response: its class.
        part: with this request counted.
        proven: whether the endpoint had accepted anything before or with it.
        seconds: how long it took.
        throttled: for how many seconds the lane has now seen nothing but 429s.
    """

    response: ResponseClass
    part: Part
    proven: bool
    seconds: float
    throttled: float


def deliver(
    part: Part,
    client: IngestionClient,
    gate: Gate,
    policy: SendPolicy,
    clock: Callable[[], float],
    count_request: Callable[[int, float], None],
) -> Delivered:
    """Posts a part for which `gate.start` has returned.

    The order matters. `count_request` comes before the lane ends the request, so that a watcher
    finds it in one of the two. And the lane learns what the response says before it ends the
    request: the next one must not start against a Retry-After, or after a 401.
    """
    lane = gate.lane
    sent_at = clock()
    reached, throttled = True, 0.0
    try:
        response = client.post(part.chunk.payload)
        seconds = clock() - sent_at
        count_request(response.status, seconds)
        reached = response.reached_server
        insert_ids = _insert_ids(part, response, policy)
        found = classify(response, insert_ids, policy.context, clock(), lane.proven)
        if isinstance(found, ProjectRefused):
            gate.stop(stop(found.error, policy).error)
        elif isinstance(found, Retry):
            if found.throttled:
                throttled = lane.throttled(found.after, sent_at)
            elif found.after:
                lane.hold_off(found.after)
        elif isinstance(found, Settled) or (isinstance(found, Unclear) and found.some):
            lane.succeeded(part.chunk.raw_bytes)
        else:
            lane.answered()
    finally:
        lane.end(weight(part.chunk), reached)
    return Delivered(found, part.posted(response.status), lane.proven, seconds, throttled)


def _insert_ids(part: Part, response: Response, policy: SendPolicy) -> list[str]:
    """The events' ids, which only a response with failed records makes worth the work."""
    named = response.status in (400, 422) or (
        200 <= response.status < 300 and b"failed_records" in response.body
    )
    if policy.endpoint.identity or not named:
        return [""] * part.chunk.count
    return [insert_id_of(event) for event in part.chunk.events()]
