"""From the bytes of a request to the objects in it: gzip, JSON, NDJSON and form fields."""

import base64
import binascii
import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

import orjson
from isal import isal_zlib

from mixpanel_sink.emulator.answers import Refused

FORM = "application/x-www-form-urlencoded"
_GZIP = 16 + zlib.MAX_WBITS
_SLICE = 64 * 1024
_BROKEN_GZIP: Any = (zlib.error, isal_zlib.error)


@dataclass(frozen=True, slots=True)
class Broken:
    """A line of NDJSON that is not valid JSON; `message` says why."""

    message: str


@dataclass(frozen=True)
class Batch:
    """The records of a request: the JSON text of each (empty: nested absurdly deep)."""

    texts: list[bytes]
    parsed: list[Any] | None = None

    @cached_property
    def objects(self) -> list[Any]:
        """What the texts say; a line that cannot be read stands among them as a `Broken`."""
        return _lines(self.texts) if self.parsed is None else self.parsed


class Unreadable(Refused):
    """The body holds nothing that can be read as records."""

    def __init__(self, error: str) -> None:
        super().__init__(400, error)


def too_large(limit: int) -> Refused:
    """The refusal of a body of more than `limit` bytes."""
    return Refused(413, f"request exceeds max limit of {limit} bytes")


def decode(body: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding (gzip, also of several members, or identity).

    Raises:
        Refused: 413 beyond `limit` bytes, 400 for broken gzip or another encoding.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        if len(body) > limit:
            raise too_large(limit)
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise Refused(400, f"Content-Encoding {encoding!r} is not supported: use gzip or none")
    try:
        return _gunzip(body, limit)
    except _BROKEN_GZIP as error:
        raise Refused(400, f"the body is not valid gzip: {error}") from None


def _gunzip(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    inflate = isal_zlib.decompressobj(_GZIP)
    view = memoryview(body)
    # In slices: what a member leaves over is copied, which for many members must stay small.
    for start in range(0, len(body), _SLICE):
        data: Any = view[start : start + _SLICE]
        while data:
            if inflate.eof:
                inflate = isal_zlib.decompressobj(_GZIP)
            part = inflate.decompress(data, limit + 1 - size)
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large(limit)
            data = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise zlib.error("the stream ends early")
    return b"".join(parts)


def parse(body: bytes, content_type: str) -> Batch:
    """The objects in a decoded body.

    NDJSON: one a line. A form: its field ``data``, as JSON or base64 of JSON. Anything else is
    read as JSON: an array, or a single object.

    Raises:
        Unreadable: malformed JSON, an empty batch or a form without ``data``.
    """
    kind = content_type.partition(";")[0].strip().lower()
    try:
        if kind in ("application/x-ndjson", "application/ndjson", "application/jsonl"):
            texts = [line for line in body.split(b"\n") if line and not line.isspace()]
            return _filled(Batch(texts))
        if kind == FORM:
            body = _form_data(body)
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"the body is not valid JSON: {error}") from None
    objects = value if isinstance(value, list) else [value]
    return _filled(Batch([_text(item) for item in objects], objects))


def _lines(texts: list[bytes]) -> list[Any]:
    try:
        return list(map(orjson.loads, texts))
    except orjson.JSONDecodeError:
        return list(map(_line, texts))


def _line(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return Broken(f"the line is not valid JSON: {error}")


def _text(item: Any) -> bytes:
    try:
        return orjson.dumps(item)
    except orjson.JSONEncodeError:
        # orjson reads 1024 levels and writes 254. No rule allows such nesting, so the text is
        # not needed: the record fails.
        return b""


def is_form(body: bytes, content_type: str) -> bool:
    """Whether this is a form, and not JSON under a form's content type.

    curl --data sends the latter when nobody names another.
    """
    kind = content_type.partition(";")[0].strip().lower()
    return kind == FORM and body.lstrip()[:1] not in (b"[", b"{")


def form_fields(body: bytes, content_type: str) -> dict[str, str]:
    """The fields of a form body, besides ``data``; nothing for any other content type."""
    if not is_form(body, content_type):
        return {}
    fields = parse_qs(body.decode(errors="replace"), keep_blank_values=True)
    return {name: values[0] for name, values in fields.items() if name != "data"}


def _form_data(body: bytes) -> bytes:
    if not is_form(body, FORM):
        return body
    values = parse_qs(body.decode(errors="replace")).get("data")
    if not values:
        raise Unreadable("the form has no field 'data'")
    return from_field(values[0])


def from_field(text: str) -> bytes:
    """The JSON in a field ``data``, which holds it as it is or as base64.

    Raises:
        Unreadable: it is neither.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return text.encode()
    try:
        return base64.b64decode(text.replace(" ", "+"), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("the field 'data' is neither JSON nor base64") from None


def _filled(batch: Batch) -> Batch:
    if not batch.texts:
        raise Unreadable("the request holds no records")
    return batch
