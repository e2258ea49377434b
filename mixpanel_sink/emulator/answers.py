"""Answers in the two documented shapes: the product page's and the API reference's.

Page: ``{"status": 1, "error": null}`` or ``{"status": 0, "error": "..."}``. Reference:
``{"code": 200, "num_records_imported": N, "status": "OK"}`` or ``{"code": ..., "error": ...}``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from mixpanel_sink.emulator.settings import Settings, Variant

SOME_FAILED = "some data points in the request failed validation"
_PIXEL = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
"""A transparent GIF of one pixel."""
_FUNCTION = re.compile(r"[A-Za-z_$][\w$.]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that is ready to send."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """The whole request is refused, with this HTTP status and text."""

    def __init__(self, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.headers = headers or {}


def json_answer(value: Any, status: int = 200) -> Answer:
    """Any JSON value as an answer."""
    return Answer(status, orjson.dumps(value))


def imported(variant: Variant, count: int) -> Answer:
    """Every record of an /import request was taken."""
    if variant == "page":
        return json_answer({"status": 1, "error": None})
    return json_answer({"code": 200, "num_records_imported": count, "status": "OK"})


def refused(variant: Variant, refusal: Refused) -> Answer:
    """The whole request is refused."""
    status = refusal.status
    if variant == "page":
        content: dict[str, Any] = {"status": 0, "error": refusal.error}
    else:
        phrase = HTTPStatus(status).phrase
        content = {"code": status, "error": refusal.error, "status": phrase}
    return Answer(status, orjson.dumps(content), headers=refusal.headers)


def partly_failed(
    settings: Settings,
    records: Sequence[Any],
    count: int,
    count_name: str = "num_records_imported",
) -> Answer:
    """Some records of a strict request failed; `count` were taken."""
    if settings.variant == "page":
        content: dict[str, Any] = {"status": 0, "error": SOME_FAILED}
    else:
        content = {"code": 400, "error": SOME_FAILED, "status": "Bad Request"}
    content["failed_records"] = records
    content[count_name] = count
    return json_answer(content, 400)


def all_good(settings: Settings, count: int) -> Answer:
    """Every record of a strict /track, /engage or /groups request was taken."""
    if settings.variant == "page":
        return json_answer({"status": 1, "error": None})
    return json_answer({"code": 200, settings.strict_count: count, "status": "OK"})


def failed_record(
    settings: Settings, index: int, insert_id: object, field_name: str, message: str
) -> Any:
    """One entry of ``failed_records``; under two spellings of the id, as documents differ."""
    if settings.failed_records_as == "strings":
        return f"record {index}: {field_name}: {message}"
    return {
        "index": index,
        "insert_id": insert_id,
        "$insert_id": insert_id,
        "field": field_name,
        "message": message,
    }


def tracked(as_json: bool, error: str | None) -> Answer:
    """The answer of /track, /engage and /groups: JSON or a bare ``1`` or ``0``."""
    if as_json:
        return json_answer({"status": 0 if error else 1, "error": error})
    return Answer(200, b"0" if error else b"1", content_type="text/plain")


def pixel(answer: Answer) -> Answer:
    """The image that ``img=1`` asks for instead of the answer."""
    return Answer(answer.status, _PIXEL, "image/gif")


def call(function: str, answer: Answer) -> Answer:
    """JavaScript that calls the function of this name with the answer.

    Anything but a name, perhaps with dots, is no function: the answer stays as it is.
    """
    if not _FUNCTION.fullmatch(function):
        return answer
    return Answer(answer.status, b"%b(%b);" % (function.encode(), answer.body), "text/javascript")
