"""What a response means for the records that were sent.

The one place that knows Mixpanel's responses: the HTTP API page's
`{"status": 1, "error": null}` and the plain `1` and `0` of /track and /engage, the API
reference's `{"code": 200, "num_records_imported": N}`, 400 with `failed_records` in
its shapes, and the rest. `classify` is a pure function; what is done about a response is
decided in `send/plan.py`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mixpanel_sink.api.endpoints import IMPORT, Endpoint
from mixpanel_sink.api.failed_records import (
    Refusal,
    as_text,
    failed_records,
    imported_count,
    parse_json,
    read_refusals,
)
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.retry_after import retry_after
from mixpanel_sink.errors import AuthenticationError, DestinationError

if TYPE_CHECKING:
    from mixpanel_sink.api.transport import Response


@dataclasses.dataclass(frozen=True)
class Settled:
    """Mixpanel holds all events but the refused ones, which are given by their index."""

    refused: Mapping[int, Refusal] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Retry:
    """Nothing is known to be wrong with the events: send them again later.

    Attributes:
        why: for the log and, if it is given up, the failed records.
        throttled: a 429, which concerns the whole lane.
        after: seconds that the server asked for.
        unsure: whether Mixpanel may have taken the records all the same.
        no_server: nothing listens at an address of this machine.
    """

    why: str
    throttled: bool = False
    after: float | None = None
    unsure: bool = True
    no_server: bool = False


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """413: send fewer bytes at a time."""

    why: str


@dataclasses.dataclass(frozen=True)
class Unclear:
    """Some events are not in, and the response does not tell which.

    Attributes:
        why: what Mixpanel answered.
        refused: those that it did name.
        again: whether the same request may fare better (a short count, a response that
            contradicts itself), or not (a 400).
        some: whether it certainly took some, or named some that it refused: then it is not the
            whole project that is refused.
    """

    why: str
    refused: Mapping[int, Refusal] = dataclasses.field(default_factory=dict)
    again: bool = False
    some: bool = False


@dataclasses.dataclass(frozen=True)
class ProjectRefused:
    """It is not about single records: the credentials or the endpoint are wrong.

    Attributes:
        error: cause, rule and fix. What follows from it for the job, the sender adds.
    """

    error: DestinationError


ResponseClass = Settled | Retry | TooLarge | Unclear | ProjectRefused

SECRETS_RETIRE = "2027-03-03"
"""From then on /import takes service accounts and tokens only (API reference)."""

_AUTH_WORDS = re.compile(
    r"unauthori[sz]ed|authenticat|credential|forbidden|permission"
    r"|invalid.{0,12}(token|secret|api.?key|project)"
    r"|(token|secret).{0,20}(invalid|wrong|unknown|missing|empty)"
    r"|wrong.{0,12}(region|cluster)|data residency",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"""'[^']*'|"[^"]*"|`[^`]*`""")
_TOKEN_FIELDS = ("$token", "token", "properties.token")
_TOKEN_WORDS = re.compile(r"(invalid|unknown|wrong|bad) (project )?token", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class RequestContext:
    """Where a request went, for error messages.

    Attributes:
        destination: the host.
        kind: of the credentials ("API secret", ...).
        endpoint: which of Mixpanel's.
    """

    destination: Destination
    kind: str
    endpoint: Endpoint = IMPORT

    @property
    def authenticated_by(self) -> str:
        """The part of the credentials that the endpoint looks at."""
        return self.kind if self.endpoint.basic_auth else "project token"


def classify(
    response: Response,
    insert_ids: Sequence[str],
    context: RequestContext,
    now: float,
    proven: bool = False,
) -> ResponseClass:
    """Reads a response.

    Args:
        response: of the client.
        insert_ids: of the records sent, in their order; "" where they have none.
        context: for error messages.
        now: seconds since 1970.
        proven: whether the endpoint has taken something with these credentials already. Then
            neither words about them in a message nor a 404 are about the whole project.
    """
    status, host = response.status, context.destination.host
    if status == 0:
        return _no_response(response, context, proven)
    body = parse_json(response.body)
    said = _said(body, response.body)
    if status == 429:
        after = retry_after(response.headers, now)
        return Retry(f"429: {said}", throttled=True, after=after, unsure=False)
    if status in (401, 403):
        return _credentials_refused(status, said, context)
    if status == 413:
        return TooLarge(f"413: {said}")
    if status >= 500 or status < 200 or status in (408, 425) or (status in (404, 405) and proven):
        return Retry(f"{status}: {said}", after=retry_after(response.headers, now))
    # A proxy may make another success of a 200. One that says nothing, at the very first request,
    # comes from something else than Mixpanel.
    taken = status == 200 or (200 < status < 300 and (proven or body is not None))
    if taken and not failed_records(body):
        return _classify_taken(status, body, said, len(insert_ids), context, proven)
    if taken or status in (400, 422):
        return _classify_refused(status, body, said, insert_ids, context, proven)
    if 300 <= status < 400:
        error = (
            f"{host} answered with a redirect ({status}), which is not followed: it would carry "
            "the credentials elsewhere. Give the final address as the endpoint."
        )
    elif status in (404, 405):
        error = (
            f"{host} has no /{context.endpoint.name} ({status}). Check the endpoint's URL: it is "
            "a base such as https://api.mixpanel.com."
        )
    else:
        error = (
            f"{host} answered {status} to /{context.endpoint.name}: {said}. This concerns the "
            f"project and not single {context.endpoint.unit}."
        )
    return ProjectRefused(DestinationError(error))


def _no_response(response: Response, context: RequestContext, proven: bool) -> ResponseClass:
    if response.untrusted and not proven:
        return ProjectRefused(
            DestinationError(
                f"{context.destination.host}: {response.error}. Check the endpoint; where a proxy "
                "signs for it, name its authority's certificates in REQUESTS_CA_BUNDLE where the "
                "workers run. Nothing was sent."
            )
        )
    no_server = response.refused and context.destination.is_loopback
    hint = (
        f" by {context.destination.host} (is the server running, and is the port right?)"
        if no_server
        else ""
    )
    return Retry(f"{response.error}{hint}", unsure=response.reached_server, no_server=no_server)


def _classify_taken(
    status: int, body: Any, said: str, sent: int, context: RequestContext, proven: bool
) -> ResponseClass:
    if body in (1, "1"):
        return Settled()
    if body in (0, "0"):
        return Unclear(f"{status}, but Mixpanel answered 0, which means that it took nothing")
    if not isinstance(body, dict):
        return Retry(f"{status} with a response that is not Mixpanel's: {said}")
    state, code = body.get("status"), body.get("code")
    failed = state in (0, "0", False) or (isinstance(code, int) and code >= 400)
    if failed or body.get("error"):
        if not proven and _of_credentials(said):
            return _credentials_refused(status, said, context)
        return Unclear(f"{status}, but with an error: {said}{_rejected(said, context)}")
    imported = imported_count(body)
    if imported is not None and imported != sent:
        return Unclear(
            f"{status}, but Mixpanel imported {imported} of {sent} {context.endpoint.unit} and "
            "does not say which",
            again=True,
            some=imported > 0,
        )
    if state in (1, "1", True, "OK", "ok") or code == 200 or imported == sent:
        return Settled()
    return Retry(f"{status} with a response that is not Mixpanel's: {said}")


def _classify_refused(
    status: int,
    body: Any,
    said: str,
    insert_ids: Sequence[str],
    context: RequestContext,
    proven: bool,
) -> ResponseClass:
    records = failed_records(body)
    if not records:
        if not proven and _of_credentials(said):
            return _credentials_refused(status, said, context)
        some = (imported_count(body) or 0) > 0
        return Unclear(f"{status}: {said}{_rejected(said, context)}", some=some)
    refused, contradicts = read_refusals(records, insert_ids)
    if insert_ids and len(refused) == len(insert_ids) and all(map(_of_token, refused.values())):
        # Every record carries the same token: it is the project that is refused.
        return _credentials_refused(status, refused[0].message, context)
    imported = imported_count(body)
    rest = len(insert_ids) - len(refused)
    # Without a count, each record must name an event of its own: two that name the same one
    # may hide another that is not in.
    sure = len(refused) == len(records) if imported is None else imported == rest
    if refused and sure and not contradicts:
        return Settled(refused)
    return Unclear(
        f"{status} whose failed_records do not fit the batch: {said}",
        refused,
        again=contradicts or not refused,
        some=bool(refused),
    )


def _of_credentials(said: str) -> bool:
    """Whether a message is about the credentials. What it quotes is of some event."""
    return bool(_AUTH_WORDS.search(_QUOTED.sub("", said)))


def _of_token(refusal: Refusal) -> bool:
    """Whether Mixpanel refuses the project's token, and not the record."""
    if refusal.field is not None:
        return refusal.field in _TOKEN_FIELDS
    return bool(_TOKEN_WORDS.search(refusal.message))


def _credentials_refused(status: int, said: str, context: RequestContext) -> ProjectRefused:
    destination, where = context.destination, _other_regions(context.destination)
    what = context.authenticated_by
    retired = (
        f" Mixpanel retires API secrets on {SECRETS_RETIRE}: a service account replaces them."
        if what == "API secret"
        else ""
    )
    return ProjectRefused(
        AuthenticationError(
            f"{destination.host} does not accept the {what} ({status}: {said}). Check that it "
            f"belongs to this project and was not regenerated; {where}.{retired}"
        )
    )


def _other_regions(destination: Destination) -> str:
    if destination.region is None:
        return "the endpoint may belong to another region than the project"
    others = " or ".join(r for r in ("us", "eu", "in") if r != destination.region)
    return (
        f"the project's data may live in another region than {destination.region!r}: try {others}"
    )


def _rejected(said: str, context: RequestContext) -> str:
    """What to add where Mixpanel rejects a batch without saying why: the page's word for events
    that go to another region's host."""
    return f" ({_other_regions(context.destination)})" if "reject" in said.lower() else ""


def _said(body: Any, raw: bytes) -> str:
    """The server's own words, short and on one line."""
    said = body.get("error") or body.get("message") if isinstance(body, dict) else None
    text = as_text(said) if said else raw[:300].decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text[:200] + "…" if len(text) > 200 else text) or "(empty response)"
