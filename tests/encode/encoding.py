"""One record, encoded by a mapping of a few columns: what the tests of encoders share."""

import enum
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from mixpanel_sink import EventMapping, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.records import as_mapping
from mixpanel_sink.errors import RecordError

NOW = 1_750_000_000_000
T = 1_700_000_000
HALF = "\ud800"  # half a surrogate pair


class Color(enum.Enum):
    RED = "red"


class Name(str, enum.Enum):  # noqa: UP042  (users have both kinds)
    P = "p"


def clock() -> int:
    return NOW


def mapping_of(**settings: Any) -> EventMapping:
    return EventMapping(
        **{"event": "e", "time": TimeColumn("t", "s"), "distinct_id": "u", **settings}
    )


def event_json(record: Any, source: RowOrigin | None = None, /, **settings: Any) -> bytes:
    limits, token = settings.pop("limits", Limits()), settings.pop("token", None)
    encoder = MappedEventEncoder(mapping_of(**settings), limits, token, clock)
    base = {"e": "Buy", "u": "ann", "t": T}
    return encoder.encode({**base, **as_mapping(record)}, source).json


def properties_of(
    record: Any, source: RowOrigin | None = None, /, **settings: Any
) -> dict[str, Any]:
    return dict(orjson.loads(event_json(record, source, **settings))["properties"])


def error_of(call: Callable[[], Any]) -> RecordError:
    with pytest.raises(RecordError) as caught:
        call()
    error = caught.value
    assert error.message.endswith((".", "?"))
    (error.message + (error.field or "")).encode()  # failures are written as UTF-8
    return error


def refused(record: Any, reason: str, field: str | None, *words: str, **settings: Any) -> None:
    error = error_of(lambda: event_json(record, **settings))
    assert (error.reason, error.field) == (reason, field), error.message
    for word in words:
        assert word in error.message
