"""What an answer means for the records that were sent.

The one place that knows Mixpanel's answers: the HTTP API page's
`{"status": 1, "error": null}` and the plain `1` and `0` of /track and /engage, the API
reference's `{"code": 200, "num_records_imported": N}`, 400 with `failed_records` in
its shapes, and the rest. Pure functions.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mixpanel_sink.api.client import Answer
from mixpanel_sink.api.endpoints import IMPORT, Endpoint
from mixpanel_sink.api.hosts import Destination
from mixpanel_sink.api.retry_after import retry_after
from mixpanel_sink.errors import AuthenticationError, DestinationError


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why an event or update is not in. `reason`: of its failed record, if it is a special one."""

    field: str | None
    message: str
    reason: str | None = None


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
    """

    why: str
    throttled: bool = False
    after: float | None = None
    unsure: bool = True


@dataclasses.dataclass(frozen=True)
class TooLarge:
    """413: send fewer bytes at a time."""

    why: str


@dataclasses.dataclass(frozen=True)
class Unclear:
    """Some events are not in, and the answer does not tell which.

    Attributes:
        why: what Mixpanel said.
        refused: those that it did name.
        again: whether the same request may fare better (a short count, an answer that
            contradicts itself), or not (a 400).
        some: whether it surely took some, or named some that it refused: then it is not the
            whole project that is refused.
    """

    why: str
    refused: Mapping[int, Refusal] = dataclasses.field(default_factory=dict)
    again: bool = False
    some: bool = False


Verdict = Settled | Retry | TooLarge | Unclear

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

_LONGEST_TEXT = 2000
"""Characters of one message that are kept: each failed record carries its own."""
_TOKEN_FIELDS = ("$token", "token", "properties.token")
_TOKEN_WORDS = re.compile(r"(invalid|unknown|wrong|bad) (project )?token", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Asked:
    """Whom a request asked, for error messages.

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


def judge(
    answer: Answer, insert_ids: Sequence[str], asked: Asked, now: float, proven: bool = False
) -> Verdict:
    """Reads an answer.

    Args:
        answer: of the client.
        insert_ids: of the records sent, in their order; "" where they have none.
        asked: for error messages.
        now: seconds since 1970.
        proven: whether the endpoint has taken something with these credentials already. Then
            neither words about them in a message nor a 404 are about the whole project.

    Raises:
        AuthenticationError: the endpoint does not take the credentials.
        DestinationError: the endpoint is none of Mixpanel's.
    """
    status = answer.status
    if status == 0:
        return Retry(answer.error, unsure=answer.reached_server)
    host = asked.destination.host
    body = _json(answer.body)
    said = _said(body, answer.body)
    if status == 429:
        after = retry_after(answer.headers, now)
        return Retry(f"429: {said}", throttled=True, after=after, unsure=False)
    if status in (401, 403):
        raise _auth_error(status, said, asked)
    if status == 413:
        return TooLarge(f"413: {said}")
    if status >= 500 or status < 200 or status in (408, 425) or (status in (404, 405) and proven):
        return Retry(f"{status}: {said}", after=retry_after(answer.headers, now))
    if 300 <= status < 400:
        raise DestinationError(
            f"{host} answered with a redirect ({status}), which is not followed: "
            "it would carry the credentials elsewhere. Give the final address as the endpoint."
        )
    if status in (404, 405):
        raise DestinationError(
            f"{host} has no /{asked.endpoint.name} ({status}). Check the endpoint's URL: it is a "
            "base such as https://api.mixpanel.com."
        )
    if status == 200 and not _named(body):
        return _judge_200(body, said, len(insert_ids), asked, proven)
    if status in (200, 400, 422):
        return _judge_400(body, said, insert_ids, asked, proven)
    raise DestinationError(
        f"{host} answered {status} to /{asked.endpoint.name}: {said}. The job is stopped, because "
        f"this concerns the project and not single {asked.endpoint.unit}."
    )


def _judge_200(body: Any, said: str, sent: int, asked: Asked, proven: bool) -> Verdict:
    if body in (1, "1"):
        return Settled()
    if body in (0, "0"):
        return Unclear("200, but Mixpanel answered 0, which means that it took nothing")
    if not isinstance(body, dict):
        return Retry(f"200 with an answer that is not Mixpanel's: {said}")
    status, code = body.get("status"), body.get("code")
    failed = status in (0, "0", False) or (isinstance(code, int) and code >= 400)
    if failed or body.get("error"):
        if not proven and _of_credentials(said):
            raise _auth_error(200, said, asked)
        return Unclear(f"200, but with an error: {said}{_rejected(said, asked)}")
    imported = _count(body)
    if imported is not None and imported != sent:
        return Unclear(
            f"200, but Mixpanel imported {imported} of {sent} {asked.endpoint.unit} and does not "
            "say which",
            again=True,
            some=imported > 0,
        )
    if status in (1, "1", True, "OK", "ok") or code == 200 or imported == sent:
        return Settled()
    return Retry(f"200 with an answer that is not Mixpanel's: {said}")


def _judge_400(
    body: Any, said: str, insert_ids: Sequence[str], asked: Asked, proven: bool
) -> Verdict:
    named = _named(body)
    if not named:
        if not proven and _of_credentials(said):
            raise _auth_error(400, said, asked)
        return Unclear(f"400: {said}{_rejected(said, asked)}", some=(_count(body) or 0) > 0)
    refused, contradicts = _refusals(named, insert_ids)
    if insert_ids and len(refused) == len(insert_ids) and all(map(_of_token, refused.values())):
        # Every record carries the same token: it is the project that is refused.
        raise _auth_error(400, refused[0].message, asked)
    imported = _count(body)
    rest = len(insert_ids) - len(refused)
    # Without a count, each record must name an event of its own: two that name the same one
    # may hide another that is not in.
    sure = len(refused) == len(named) if imported is None else imported == rest
    if refused and sure and not contradicts:
        return Settled(refused)
    return Unclear(
        f"400 whose failed_records do not fit the batch: {said}",
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


def _named(body: Any) -> list[Any]:
    named = body.get("failed_records") if isinstance(body, dict) else None
    return named if isinstance(named, list) else []


def _count(body: Any) -> int | None:
    """`num_records_imported`, for profiles `num_good_events`, if there; -1 if it is no number."""
    if not isinstance(body, dict):
        return None
    imported = body.get("num_records_imported", body.get("num_good_events"))
    if imported is None:
        return None
    try:
        return int(imported) if float(imported).is_integer() else -1
    except (TypeError, ValueError, OverflowError):
        return -1


def _refusals(named: list[Any], insert_ids: Sequence[str]) -> tuple[dict[int, Refusal], bool]:
    """The refused events by index, and whether a record's index and id contradict each other."""
    places: dict[str, int] = {}
    for index, insert_id in enumerate(insert_ids):
        places[insert_id] = -1 if insert_id in places else index
    refused: dict[int, Refusal] = {}
    contradicts = False
    for record in named:
        if isinstance(record, str):
            parsed = _json(record.encode())
            record = parsed if isinstance(parsed, dict) else {"message": record}
        if not isinstance(record, dict):
            continue
        place = _place(record, insert_ids, places)
        if place is None:
            continue
        given = record.get("index")
        contradicts |= type(given) is int and 0 <= given < len(insert_ids) and given != place
        field = record.get("field")
        refused[place] = Refusal(
            _text(field) if field else None, _text(record.get("message") or "refused by Mixpanel")
        )
    return refused, contradicts


def _place(
    record: Mapping[str, Any], insert_ids: Sequence[str], places: Mapping[str, int]
) -> int | None:
    """The event that a failed record means: by its id where that is clear, else by index."""
    insert_id = record.get("$insert_id") or record.get("insert_id")
    index = record.get("index")
    valid = isinstance(index, int) and not isinstance(index, bool)
    if valid and not 0 <= index < len(insert_ids):  # type: ignore[operator]
        valid = False
    if isinstance(insert_id, str) and insert_id:
        if valid and insert_ids[index] == insert_id:  # type: ignore[index]
            return index
        by_id = places.get(insert_id, -1)
        return by_id if by_id >= 0 else None
    if valid:
        return index
    message = _text(record.get("message", ""))
    # Only ids that are no ordinary word or number.
    found = {places[i] for i in re.findall(r"[A-Za-z0-9-]{16,36}", message) if i in places}
    if len(found) == 1 and -1 not in found:
        return found.pop()
    at = re.search(r"\b(?:index|record|event)\s*[:#=]?\s*(\d{1,9})\b", message, re.IGNORECASE)
    if at and int(at[1]) < len(insert_ids):
        return int(at[1])
    return None


def _auth_error(status: int, said: str, asked: Asked) -> DestinationError:
    destination, where = asked.destination, _other_regions(asked.destination)
    what = asked.authenticated_by
    retired = (
        f" Mixpanel retires API secrets on {SECRETS_RETIRE}: a service account replaces them."
        if what == "API secret"
        else ""
    )
    return AuthenticationError(
        f"{destination.host} does not take the {what} ({status}: {said}). Check that it belongs to "
        f"this project and was not regenerated; {where}.{retired} The job is stopped."
    )


def _other_regions(destination: Destination) -> str:
    if destination.region is None:
        return "the endpoint may belong to another region than the project"
    others = " or ".join(r for r in ("us", "eu", "in") if r != destination.region)
    return (
        f"the project's data may live in another region than {destination.region!r}: try {others}"
    )


def _rejected(said: str, asked: Asked) -> str:
    """What to add where Mixpanel rejects a batch without saying why: the page's word for events
    that go to another region's host."""
    return f" ({_other_regions(asked.destination)})" if "reject" in said.lower() else ""


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _text(value: Any) -> str:
    """A value of an answer as text, at most `_LONGEST_TEXT` long. It may be any JSON at all."""
    try:
        return str(value)[:_LONGEST_TEXT]
    except RecursionError:
        return f"(a {type(value).__name__} that nests too deep)"


def _said(body: Any, raw: bytes) -> str:
    """The server's own words, short and on one line."""
    said = body.get("error") or body.get("message") if isinstance(body, dict) else None
    text = _text(said) if said else raw[:300].decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return (text[:200] + "…" if len(text) > 200 else text) or "(empty answer)"
