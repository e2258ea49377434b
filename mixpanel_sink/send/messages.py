"""The texts of the sending side: cause, rule and fix in one or two sentences."""

from __future__ import annotations

from mixpanel_sink.api.endpoints import Endpoint
from mixpanel_sink.send.policy import SendPolicy


def consequence(policy: SendPolicy, when: str | None = None) -> str:
    """What follows from an error that concerns the whole project; when to try again, if the
    error is a passing one."""
    if policy.stops_job:
        again = "" if when is None else f" {_run_again(when, policy.endpoint)}"
        return f"The job is stopped.{again}"
    return "Nothing more is sent to this project; the others are not affected."


def ambiguous(why: str) -> str:
    """For an update that must not be sent again."""
    return (
        f"Mixpanel may or may not have applied this update ({why}), and applying it twice would "
        "change the profile twice, so it was not sent again. Look at the profile; replay the "
        'update if it is missing, or set on_ambiguous="retry".'
    )


def gave_up(attempts: int, why: str, endpoint: Endpoint) -> str:
    """For a part that was tried for long enough."""
    return (
        f"Given up after {attempts} attempts; the last one: {why}. Mixpanel may hold it; "
        f"{_safe(endpoint)}."
    )


def undecided(why: str, endpoint: Endpoint) -> str:
    """For a part on which no more requests may be spent."""
    return (
        f"Given up: Mixpanel refuses some {endpoint.unit} of the batch ({why}) and does not say "
        f"which. It may hold this one; {_safe(endpoint)}."
    )


def nothing_fits(size: int, why: str, policy: SendPolicy) -> str:
    """For an endpoint that cannot be Mixpanel's."""
    return (
        f"{policy.host} has accepted nothing yet and calls even a request of {size} bytes too "
        f"large ({why}). Check the endpoint and what stands before it."
    )


def nothing_accepted(why: str, policy: SendPolicy) -> str:
    """For an endpoint that refuses single records as well as whole batches."""
    return (
        f"{policy.host} has accepted nothing yet, whole or in parts, and does not say what is "
        f"wrong with single {policy.endpoint.unit} ({why}). Check the region, the endpoint, the "
        "credentials and the mapping."
    )


def no_server(why: str) -> str:
    """For an address on this machine where nothing listens."""
    return f"Nothing was sent: {why}. Start it, or correct the endpoint's port."


def outage(batches: int, why: str, policy: SendPolicy) -> str:
    """After the last batch of those that `RetryPolicy.breaker` allows."""
    return f"{policy.host} accepted none of the last {batches} batches (last: {why})."


def long_pause(seconds: float, policy: SendPolicy) -> str:
    """For a Retry-After that is too long."""
    return (
        f"{policy.host} asks to wait for {seconds:.0f} s, which is longer than the "
        f"{policy.retry.throttled_seconds:.0f} s of RetryPolicy.throttled_seconds."
    )


def _run_again(when: str, endpoint: Endpoint) -> str:
    """The advice to run the job again, and how safe that is."""
    return f"Run it again {when}: {_again(endpoint)}"


def _safe(endpoint: Endpoint) -> str:
    if endpoint.identity:
        return "look at the profile before you send it again"
    return "sending it again with the same $insert_id is safe"


def _again(endpoint: Endpoint) -> str:
    if endpoint.repeats_safely:
        return "what has arrived is not doubled."
    return (
        "updates that set values may be sent twice; those that add, append or remove would "
        "count twice: give it only the failed ones."
    )
