"""Texts as times: the proof reads them by its own rules, and just as the import does."""

from __future__ import annotations

import contextlib

import pytest

from mixpanel_sink import TimeColumn
from mixpanel_sink.encode.times import to_ms
from mixpanel_sink.errors import RecordError
from mixpanel_sink.inspect.verify.held import Refused
from mixpanel_sink.inspect.verify.times import milliseconds_of

AT = 1_714_979_289_000  # 2024-05-06T07:08:09Z
ISO = TimeColumn("t", "iso8601")


def both(text: str, column: TimeColumn) -> tuple[int | None, int | None]:
    ours = theirs = None
    with contextlib.suppress(RecordError):
        ours = to_ms(text, column)
    with contextlib.suppress(Refused):
        theirs = milliseconds_of(text, column)
    return ours, theirs


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2024-05-06t07:08:09Z", AT),
        ("2024-05-06T07:08:09GMT", AT),
        ("2024-05-06T07:08:09.5 GMT", AT + 500),
        ("2024-05-06T07:08 UTC", AT - 9_000),
        ("2024-05-06 09:08+02", AT - 9_000),
        ("20240506T070809z", AT),
        ("2024-W19-1T07:08:09Z", AT),
        ("2024W19", AT - AT % 86_400_000),
        ("2024-05-06T12:38:24+05:30:15", AT),
        ("2024-05-06T07:08:09.Z", None),
        ("2024-05-06T07:08:09+24:00", None),
        ("2024-05-06T07:08:09+02:60", None),
        ("2024-05-06T24:00:00", None),
        ("2024-W19-1T07:08.5Z", None),
        ("2024-W54", None),
        ("2024-W19_07", None),
    ],
)
def test_iso_8601(text: str, ms: int | None) -> None:
    assert both(text, ISO) == (ms, ms)


@pytest.mark.parametrize(
    ("text", "form", "ms"),
    [
        ("20240506070809123", "%Y%m%d%H%M%S%f", AT + 123),
        ("2024050607:08:09.123456", "%Y%m%d%H:%M:%S.%f", AT + 123),
        ("06.05.2024 09:08:09+02", "%d.%m.%Y %T%z", AT),
        ("6 may 2024 7:08:09 am", "%d %B %Y %I:%M:%S %p", AT),
        ("Monday, May 6, 2024 at 07:08:09", "%A, %B %d, %Y at %T", AT),
        ("Mon May 06 07:08:09 GMT 2024", "%a %b %d %T %z %Y", AT),
        ("Monday, May 6, 2024 AT 07:08:09", "%A, %B %d, %Y at %T", None),
        ("2024-05-6", "%Y-%m%d", None),
        ("05/06/24", "%D", AT - AT % 86_400_000),
        ("05/ 6/24", "%D", None),
        ("05/06/69", "%D", -20_736_000_000),
        ("\u0660\u0665/\u0660\u0666/\u0662\u0664", "%D", None),
        ("100% 2024-05-06", "100%% %F", AT - AT % 86_400_000),
    ],
)
def test_formats(text: str, form: str, ms: int | None) -> None:
    assert both(text, TimeColumn("t", format=form)) == (ms, ms)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_floats(unit: str) -> None:
    """Microseconds as floats, some of which lie in the middle of two milliseconds."""
    column = TimeColumn("t", unit)
    for place in range(4_000):
        micros = 1_700_000_000_000_000 + place * 137_500
        value = micros * {"s": 1e-6, "ms": 1e-3, "us": 1.0, "ns": 1e3}[unit]
        assert to_ms(value, column) == milliseconds_of(value, column)
        value = micros / 1000 / {"s": 1000, "ms": 1, "us": 1e-3, "ns": 1e-6}[unit]
        ms = to_ms(value, column)
        assert ms == milliseconds_of(value, column)
        assert abs(ms * 1000 - micros) <= 500
