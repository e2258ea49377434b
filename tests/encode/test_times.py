"""Texts as times, in both encoders alike."""

import datetime
import zoneinfo
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixpanel_sink import EventMapping, TimeColumn
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.encode.arrow_rows import rows_as_records
from mixpanel_sink.encode.columnar import ColumnarEncoder
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.errors import MappingError, RecordError

NOW = 1_750_000_000_000
UTC = datetime.timezone.utc


def read(texts: list[Any], time: TimeColumn) -> tuple[list[Any], set[int]]:
    """Each text's milliseconds, or the reason why it has none; and the rows that the columnar
    encoder left. Asserts that both encoders agree."""
    mapping = EventMapping(event="e", time=time, distinct_id="u")
    column = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
    table = pa.table({"t": column, "u": ["u"] * len(texts), "e": ["E"] * len(texts)})
    encoder = MappedEventEncoder(mapping, Limits(), None, lambda: NOW)
    found: list[Any] = []
    for record in rows_as_records(table, range(len(table))):
        try:
            found.append(orjson.loads(encoder.encode(record).json)["properties"]["time"])
        except RecordError as error:
            found.append(error.reason)
    left: set[int] = set()
    for part in ColumnarEncoder(mapping, Limits(), None, lambda: NOW).encode(table):
        left.update(part.leftover.tolist())
        for row, event in zip(part.rows.tolist(), part.texts.events(), strict=True):
            assert orjson.loads(event)["properties"]["time"] == found[row]
    return found, left


def ms(*moment: int, **away: float) -> int:
    at = datetime.datetime(*moment, tzinfo=UTC) - datetime.timedelta(**away)  # type: ignore[arg-type]
    return int(at.timestamp()) * 1000


SEVEN = ms(2024, 5, 6, 7, 8, 9)


@pytest.mark.parametrize(
    "offset", ["UTC", " UTC", "Z", " Z", "+00:00", " +0000", "+00", "   +0000"]
)
@pytest.mark.parametrize(
    ("fraction", "more"),
    [("", 0), (".1", 100), (".12", 120), (".123", 123), (".123999999", 123), (",5", 500),
     (".0000000000000000001", 0)],
)  # fmt: skip
def test_what_bigquery_and_others_write(offset: str, fraction: str, more: int) -> None:
    for between in ("T", " "):
        text = f"2024-05-06{between}07:08:09{fraction}{offset}"
        assert read([text], TimeColumn("t", "iso8601", "Europe/Berlin")) == ([SEVEN + more], set())


@pytest.mark.parametrize(
    ("text", "away"),
    [
        ("+02:00", 2),
        (" +0200", 2),
        ("-05", -5),
        ("-0330", -3.5),
        ("+05:45", 5.75),
        ("-00:30", -0.5),
    ],
)
def test_offsets(text: str, away: float) -> None:
    expected = ms(2024, 5, 6, 7, 8, 9, hours=away)
    assert read([f"2024-05-06T07:08:09{text}"], TimeColumn("t", "iso8601")) == ([expected], set())


@pytest.mark.parametrize(
    "text",
    ["2024-05-06 07:08:09 CET", "2024-05-06x07:08:09", "06.05.2024", "2024-02-30", "", "soon",
     "2024-05-06 07:08:09 +25:00", "2024-05-06 24:00:00",
     "2024-05-06 07:08:09.", "2024"],
)  # fmt: skip
def test_what_is_not_sure_fails(text: str) -> None:
    assert read([text], TimeColumn("t", "iso8601")) == (["time_unreadable"], {0})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2024-05-06T07:08", ms(2024, 5, 6, 7, 8)), ("20240506T070809Z", SEVEN), 
     ("20240506", ms(2024, 5, 6)),
     (" 2024-05-06T07:08:09\n", SEVEN), ("2024-W19-1", ms(2024, 5, 6))],
)  # fmt: skip
def test_rare_forms_of_iso_8601_are_left_to_python(text: str, expected: int) -> None:
    found, _ = read([text], TimeColumn("t", "iso8601"))
    assert found == [expected]


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("%m/%d/%Y %I:%M %p", "05/06/2024 07:08 AM", ms(2024, 5, 6, 7, 8)),
        ("%m/%d/%Y %I:%M %p", "5/6/2024 7:08 pm", ms(2024, 5, 6, 19, 8)),
        ("%m/%d/%Y %I:%M %p", "12/31/2023 12:00 AM", ms(2023, 12, 31)),
        ("%m/%d/%Y %I:%M %p", "12/31/2023 12:30 PM", ms(2023, 12, 31, 12, 30)),
        ("%d.%m.%Y %H:%M:%S", "06.05.2024 07:08:09", SEVEN),
        ("%d.%m.%y", "6.5.24", ms(2024, 5, 6)),
        ("%d.%m.%y", "06.05.98", ms(1998, 5, 6)),
        ("%Y%m%d%H%M%S", "20240506070809", SEVEN),
        ("%Y%m%dT%T.%f%z", "20240506T09:08:09.25+0200", SEVEN + 250),
        ("%a, %d %b %Y %T %z", "Mon, 06 May 2024 07:08:09 GMT", SEVEN),
        ("%A %e %B %Y", "monday 6  MAY 2024", ms(2024, 5, 6)),
        ("%F %R", "2024-05-06 07:08", ms(2024, 5, 6, 7, 8)),
        ("%D", "05/06/24", ms(2024, 5, 6)),
        ("100%% %F", "100% 2024-05-06", ms(2024, 5, 6)),
        ("%FT%T", "2024-05-06T07:08:09", SEVEN),
    ],
)
def test_formats(form: str, text: str, expected: int) -> None:
    assert read([text], TimeColumn("t", format=form)) == ([expected], set())


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%m/%d/%Y", "2024-05-06"),
        ("%m/%d/%Y", "13/05/2024"),
        ("%m/%d/%Y", "02/30/2024"),
        ("%m/%d/%Y", "05/06/2024 07:08"),
        ("%m/%d/%Y", "05/06/2024\n"),
        ("%m%d%Y", "1112024"),
        ("%I:%M %p %F", "13:00 PM 2024-05-06"),
        ("%F %T", "2024-05-06 07:08:60"),
        ("%F", "٢024-05-06"),
        ("%F", ""),
    ],
)
def test_what_does_not_fit_its_format_fails(form: str, text: str) -> None:
    assert read([text], TimeColumn("t", format=form)) == (["time_unreadable"], {0})


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.uint64()], ids=str)
def test_integers_with_a_format_are_read_by_their_digits(kind: Any) -> None:
    day = TimeColumn("t", format="%Y%m%d", timezone="Europe/Berlin")
    values = pa.array([20240131, 20240230, 1706659200, None], kind)
    expected = [ms(2024, 1, 31, hours=1), "time_unreadable", "time_unreadable", "time_null"]
    assert read(values, day) == (expected, {1, 2, 3})
    if kind != pa.int32():
        second = TimeColumn("t", format="%Y%m%d%H%M%S")
        value = pa.array([20240506070809], kind)
        assert read(value, second) == ([SEVEN], set())


def test_several_formats_in_order() -> None:
    texts = ["05/06/2024", "06.05.2024 07:08:09 +0200", "13/05/2024", "05/06/2024 1 PM", None]
    time = TimeColumn("t", format=["%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y %T %z", "%m/%d/%Y %I %p"])
    expected = [
        ms(2024, 5, 6), ms(2024, 5, 6, 5, 8, 9), ms(2024, 5, 13), ms(2024, 5, 6, 13), "time_null",
    ]  # fmt: skip
    assert read(texts, time) == (expected, {4})


def test_when_clocks_change() -> None:
    """The first of two, and as before the change where there is none; in texts and timestamps."""
    walls = [datetime.datetime(2024, 3, 31, 2, 30), datetime.datetime(2024, 10, 27, 2, 30)]
    expected = [ms(2024, 3, 31, 1, 30), ms(2024, 10, 27, 0, 30)]
    for time in (
        TimeColumn("t", format="%F %T", timezone="Europe/Berlin"),
        TimeColumn("t", "iso8601", "Europe/Berlin"),
    ):
        assert read([str(wall) for wall in walls], time)[0] == expected
    column = pa.array(walls, pa.timestamp("us"))
    assert read(column, TimeColumn("t", timezone="Europe/Berlin"))[0] == expected


FORMATS = [
    "%m/%d/%Y %I:%M:%S %p",
    "%d %b %Y %H:%M:%S.%f",
    "%Y%m%d%H%M%S",
    "%F %T %z",
    "%A, %B %e, %Y %R",
]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.datetimes(datetime.datetime(1971, 1, 2), datetime.datetime(2025, 6, 1)),
        min_size=1,
        max_size=10,
    ),
    st.sampled_from(FORMATS),
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns"]),
)
def test_what_strftime_writes_is_read_as_strptime_reads_it(
    walls: list[datetime.datetime], form: str, zone: str
) -> None:
    texts = [wall.replace(tzinfo=UTC).strftime(form) for wall in walls]
    known = (
        form.replace("%F", "%Y-%m-%d").replace("%T", "%H:%M:%S").replace("%R", "%H:%M")
        .replace("%e", "%d")
    )  # fmt: skip
    expected = []
    for text in texts:
        moment = datetime.datetime.strptime(text, known)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(zone))
        since = moment - datetime.datetime(1970, 1, 1, tzinfo=UTC)
        expected.append(since // datetime.timedelta(milliseconds=1))
    found, _ = read(texts, TimeColumn("t", format=form, timezone=zone))
    assert found == expected


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"format": "%m/%d"}, ["year"]),
        ({"format": "%Y-%m-%d %Q"}, ["%Q", "%m"]),
        ({"format": "%F %I:%M"}, ["%p"]),
        ({"format": "%F %H %p"}, ["%I"]),
        ({"format": "%F %S"}, ["second", "minute"]),
        ({"format": "%F %m"}, ["month", "twice"]),
        ({"format": "%F %"}, ["unknown"]),
        ({"format": []}, ["format"]),
        ({"format": 5}, ["format"]),
        ({"format": "%F", "unit": "s"}, ["unit", "format"]),
        ({"time_zone": "UTC", "timezone": "UTC"}, ["both"]),
    ],
)
def test_bad_formats(settings_: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(MappingError) as caught:
        EventMapping.from_dict(
            {"event": "e", "distinct_id": "u", "time": {"column": "t", **settings_}}
        )
    for word in words:
        assert word in str(caught.value)


def test_formats_in_yaml() -> None:
    text = """
    event: e
    distinct_id: u
    time: {column: ts, format: "%m/%d/%Y %I:%M %p", time_zone: Europe/Berlin}
    """
    time = TimeColumn("ts", format="%m/%d/%Y %I:%M %p", timezone="Europe/Berlin")
    assert EventMapping.from_yaml(text).time == time
