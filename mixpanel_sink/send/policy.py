"""How a lane's chunks are sent."""

from __future__ import annotations

import dataclasses

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.api.responses import RequestContext
from mixpanel_sink.settings.job import OnAmbiguous, RateLimiter
from mixpanel_sink.settings.retry import RetryPolicy


@dataclasses.dataclass(frozen=True)
class SendPolicy:
    """How a lane's chunks are sent.

    Attributes:
        name: of the project, in results.
        context: the host, endpoint and kind of credentials.
        lane: its number, in receipts.
        retry: when to give up.
        on_ambiguous: see `OnAmbiguous`.
        rate_limiter: is asked before each request, besides the lane.
        stops_job: whether a project that refuses everything stops the job. Otherwise its records
            fail, and those of other projects are sent.
        lists_accepted: whether each accepted record is a result of its own.
    """

    name: str
    context: RequestContext
    lane: int = 0
    retry: RetryPolicy = dataclasses.field(default_factory=RetryPolicy)
    on_ambiguous: OnAmbiguous = "fail"
    stops_job: bool = True
    rate_limiter: RateLimiter | None = None
    lists_accepted: bool = False

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint of Mixpanel's API."""
        return self.context.endpoint

    @property
    def host(self) -> str:
        """Host and port."""
        return self.context.destination.host
