"""The lanes of this process: one for each share of a project's quota, shared by all sinks."""

from __future__ import annotations

from mixpanel_sink.api.auth import ResolvedCredentials
from mixpanel_sink.process import LANES
from mixpanel_sink.send.lane import Lane, steady_clock
from mixpanel_sink.settings.job import Job
from mixpanel_sink.settings.project import Target


def lane_of_project(
    job: Job, target: Target, credentials: ResolvedCredentials, number: int
) -> Lane:
    """A project's lane. It outlives its bundles: one that failed is run again, and the requests
    of its first try still count.

    Sinks with the same host, endpoint, credentials and quota share a lane, whatever else differs,
    because the quota is the project's. Projects on other servers are other projects, even with
    the same name.
    """
    share = target.quota.share(number, job.lanes)
    who = hash((credentials.user, credentials.project_id, credentials.token))
    key = (target.destination.url, job.endpoint.name, who, number, share, target.part)
    host = target.destination.host
    name = f"{target.name} lane {number}" + (f" at {host}" if host != target.name else "")
    lane = LANES.get(key, lambda: Lane(share, job.max_in_flight, name, job.retry, steady_clock))
    lane.widen(job.max_in_flight)
    if number == 0 and (at := job.spent.get(target.name)) is not None:
        lane.remember(at)
    return lane
