"""`mixpanel-sink init`: a proposal is always a mapping, and says what it guesses."""

from __future__ import annotations

import dataclasses
import datetime
import json
import pathlib
import time
import zipfile
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import RowOrigin
from mixpanel_sink.encode.mapped_events import MappedEventEncoder
from mixpanel_sink.encode.schema import check_schema
from mixpanel_sink.errors import InputError
from mixpanel_sink.inspect.propose import propose, propose_for
from mixpanel_sink.jobs.demo import shop_events
from mixpanel_sink.read.file_source import FileSource
from mixpanel_sink.settings.columns import (
    Column,
    ColumnsId,
    Constant,
    ContentId,
    PositionId,
    TimeColumn,
)
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.shape import Shape
from mixpanel_sink.stages.local import convert_tables

NOW = int(time.time())


def test_the_shop() -> None:
    proposal = propose(shop_events(5000), "Shop")
    mapping = proposal.mapping
    assert mapping.event == Column("event_name")
    assert mapping.distinct_id == Column("user_id")
    assert mapping.time == TimeColumn("created_at", unit="ms")
    assert mapping.ip == Column("client_ip")
    check_schema(mapping, shop_events(10).schema)
    assert any("order_event_id" in guess for guess in proposal.guesses)


def test_a_file_without_users_events_or_ids() -> None:
    table = pa.table(
        {
            "date": pa.array([0, 1], pa.timestamp("us")),
            "delay": [1, 2],
            "origin": ["a", "b"],
        }
    )
    proposal = propose(table, "Flight")
    assert proposal.mapping.event == Constant("Flight")
    assert proposal.mapping.distinct_id == Column("origin")
    assert proposal.mapping.time == TimeColumn("date", timezone="UTC")
    assert proposal.mapping.insert_id == PositionId()
    assert "GUESS: no column looks like a user" in proposal.text
    check_schema(proposal.mapping, table.schema)


@pytest.mark.parametrize(
    ("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)]
)
def test_the_unit_of_numbers_is_told_by_their_size(unit: str, factor: int) -> None:
    column = [(NOW - n * 86_400) * factor for n in range(100)]
    proposal = propose(pa.table({"user_id": ["u"] * 100, "ts": column}))
    assert proposal.mapping.time == TimeColumn("ts", unit=unit)  # type: ignore[arg-type]
    assert "GUESS" in proposal.text


@pytest.mark.parametrize(
    ("name", "part"),
    [("userId", "distinct_id"), ("eventName", "event"), ("shop_user_id", "distinct_id")],
)
def test_names_in_other_spellings(name: str, part: str) -> None:
    table = pa.table({name: ["a"] * 60, "timestamp": pa.array([0] * 60, pa.timestamp("us"))})
    assert getattr(propose(table).mapping, part) == Column(name)


def test_personal_columns_are_pointed_out() -> None:
    proposal = propose(pa.table({"user_id": ["u"], "e-mail": ["m"], "time": [NOW]}))
    assert "# exclude: [e-mail]" in proposal.text
    assert any("e-mail may be personal" in guess for guess in proposal.guesses)


_TYPES: list[Any] = [
    pa.string(),
    pa.large_string(),
    pa.int64(),
    pa.float64(),
    pa.bool_(),
    pa.timestamp("ns", "UTC"),
    pa.timestamp("ms"),
    pa.date32(),
    pa.binary(),
    pa.list_(pa.int32()),
    pa.dictionary(pa.int32(), pa.string()),
    pa.struct([("a", pa.int64())]),
    pa.null(),
]
_NAMES = st.sampled_from(
    [
        "event",
        "id",
        "user_id",
        "time",
        "ts",
        "ip",
        "name",
        "x",
        "é: #",
        "yes",
        "null",
        "12",
        "email",
        "\x85",
        "a\u2028 b",
    ]
) | st.text(min_size=1).filter(lambda name: "\x00" not in name)


@example({"\x85": pa.string(), "a\u2028 b": pa.int64()}, 0, "Event")
@given(
    st.dictionaries(_NAMES, st.sampled_from(_TYPES), min_size=1, max_size=8),
    st.integers(0, 3),
    st.text(min_size=1, max_size=20).filter(str.isprintable),
)
def test_any_schema_gives_a_mapping(columns: dict[str, Any], rows: int, title: str) -> None:
    schema = pa.schema(list(columns.items()))
    table = pa.table([pa.nulls(rows, kind) for kind in columns.values()], schema)
    proposal = propose(table, title)
    assert EventMapping.from_yaml(proposal.text) == proposal.mapping
    proposal.mapping.check_columns(columns)


def test_a_user_that_is_often_null_beside_a_device() -> None:
    users = ["u1", None, None, None] * 25
    table = pa.table({"user_id": users, "anonymous_id": ["d"] * 100, "time": [NOW] * 100})
    proposal = propose(table)
    assert proposal.mapping.user_id == Column("user_id")
    assert proposal.mapping.device_id == Column("anonymous_id")
    assert proposal.mapping.distinct_id is None
    assert "user_id is null in 75 of 100 rows" in proposal.text
    assert "#  user_id: string, null in 75 of 100 rows of the sample" in proposal.text


def test_a_user_that_is_often_null_without_a_device() -> None:
    proposal = propose(pa.table({"user_id": ["u", None], "time": [NOW] * 2, "event": ["a", "b"]}))
    assert proposal.mapping.distinct_id == Column("user_id")
    assert any("null in 1 of 2 rows of the sample, which would fail" in g for g in proposal.guesses)


@pytest.mark.parametrize("kind", [pa.list_(pa.string()), pa.float64(), pa.binary()])
def test_a_user_of_an_unfit_type_is_named(kind: Any) -> None:
    table = pa.table(
        {"event": ["a"], "user_id": pa.nulls(1, kind), "account_id": ["x"], "time": [NOW]}
    )
    proposal = propose(table)
    assert proposal.mapping.distinct_id == Column("account_id")
    assert any(f"user_id is named like the user's id, but is {kind}" in g for g in proposal.guesses)


def test_a_whole_decimal_is_a_user() -> None:
    users = pa.array([1, 2]).cast(pa.decimal128(38, 0))
    assert propose(pa.table({"user_id": users, "time": [NOW] * 2})).mapping.distinct_id == Column(
        "user_id"
    )


def test_bytes_and_gaps_are_told() -> None:
    table = pa.table({"user_id": ["u"] * 2, "time": [NOW, None], "raw": [b"a", b"b"]})
    guesses = propose(table).guesses
    assert "raw holds bytes, which become Base64; or exclude it." in guesses
    assert any(guess.startswith("time is null in 1 of 2 rows") for guess in guesses)


def test_a_column_of_several_types_says_so(tmp_path) -> None:
    (tmp_path / "a.jsonl").write_text('{"user_id": "u", "x": 1, "time": 1}\n{"x": "a"}\n')
    proposal = propose_for(FileSource(str(tmp_path / "a.jsonl")))
    assert "#  x: of several types (int, str)" in proposal.text


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["06.05.2024 07:08", "31.12.2023 23:59"], "%d.%m.%Y %H:%M"),
        (["05/06/2024 07:08 AM", "12/31/2023 11:59 PM"], "%m/%d/%Y %I:%M %p"),
        (["31/12/2023", "06/05/2024"], "%d/%m/%Y"),
        (["12/31/2023", "05/06/2024"], "%m/%d/%Y"),
        (["2024/05/06 07:08:09"], "%Y/%m/%d %H:%M:%S"),
        (["6 May 2024, 07:08"], "%d %b %Y, %H:%M"),
        (["06-May-2024"], "%d-%b-%Y"),
        (["20240506"], "%Y%m%d"),
        (["06.05.24 07:08:09 +0200"], "%d.%m.%y %H:%M:%S %z"),
        (["2024-05-06"], "%Y-%m-%d"),
    ],
)
def test_times_as_text(texts: list[str], form: str) -> None:
    found = propose(pa.table({"who": ["u1"] * len(texts), "seen": texts}))
    assert found.mapping.time.name == "seen"
    assert found.mapping.time.format == (form,)
    assert any(texts[0] in guess for guess in found.guesses)
    encoder = MappedEventEncoder(found.mapping, Limits())
    for text in texts:  # what is proposed can be imported
        encoder.encode({"who": "u1", "seen": text}, RowOrigin("a", "a", 0))


@pytest.mark.parametrize(
    ("days", "clocks", "form"),
    [
        (["11/27/2024", "5/1/2024"], ["10:01 PM", "9:30 AM"], "%m/%d/%Y %I:%M %p"),
        (["27.11.2024", "01.05.2024"], ["22:01:59", "09:30:00"], "%d.%m.%Y %H:%M:%S"),
    ],
)
def test_the_day_and_the_time_of_day_in_two_columns(
    days: list[str], clocks: list[str], form: str
) -> None:
    columns = {"user_id": ["u1", "u2"], "Date": days, "Time": clocks, "lasted": ["0:10", "0:20"]}
    found = propose(pa.table(columns))
    assert found.mapping.time == TimeColumn("Date", format=form)
    assert found.mapping.shape == Shape(join={"Date": ["Date", "Time"]})
    mapping = dataclasses.replace(found.mapping, insert_id=ContentId())
    chunks = list(convert_tables([pa.table(columns)], mapping))
    (first, _) = (json.loads(event)["properties"]["time"] for event in chunks[0].events())
    moment = datetime.datetime.strptime(f"{days[0]} {clocks[0]}", form)
    assert first == moment.replace(tzinfo=datetime.timezone.utc).timestamp() * 1000


def test_a_few_texts_that_are_no_date_or_of_next_year_hide_no_format() -> None:
    """Their records fail, and the proposal says which."""
    next_year = f"31.12.{datetime.date.today().year + 1}"
    texts = ["n/a", *(f"{day:02}.05.2024" for day in range(1, 30)), next_year]
    found = propose(pa.table({"who": ["u1"] * len(texts), "seen": texts}))
    assert found.mapping.time == TimeColumn("seen", format="%d.%m.%Y")
    said = (
        "time: 1 of 31 different texts of seen do not fit, such as 'n/a'; records with them fail."
    )
    assert said in found.guesses
    iso = [f"2024-05-06T07:08:{second:02}Z" for second in range(30)]
    found = propose(pa.table({"who": ["u1"] * 31, "seen": [*iso, "soon"]}))
    assert found.mapping.time == TimeColumn("seen", "iso8601")
    assert said.replace("n/a", "soon") in found.guesses


def test_half_of_the_texts_are_no_reason_for_a_format() -> None:
    found = propose(pa.table({"who": ["u1"] * 2, "seen": ["06.05.2024", "soon"]}))
    assert found.mapping.time.format is None


def test_iso_8601_needs_no_format() -> None:
    found = propose(pa.table({"who": ["u1"], "seen": ["2024-05-06T07:08:09Z"]}))
    assert found.mapping.time == TimeColumn("seen", "iso8601")


@pytest.mark.parametrize(
    ("day_first", "form", "other"),
    [(False, "%m/%d/%Y", "%d/%m/%Y"), (True, "%d/%m/%Y", "%m/%d/%Y")],
)
def test_a_date_that_can_be_read_in_two_ways(day_first: bool, form: str, other: str) -> None:
    """A decimal comma goes with the day first."""
    sample = pa.table({"user_id": ["u1"], "date": ["03/04/2024"]})
    found = propose(sample, source={"decimal": ","} if day_first else {})
    assert found.mapping.time.format == (form,)
    assert any(f"the other way round, {other}" in guess for guess in found.guesses)


def test_numbers_that_are_no_times_are_not_taken_for_them() -> None:
    found = propose(pa.table({"order_number": [1001, 1002], "user": ["u1", "u2"]}))
    assert "time: no column looks like a time: name one" in found.guesses
    assert not any("plausible dates" in guess for guess in found.guesses)


def test_a_german_spreadsheet(tmp_path: pathlib.Path) -> None:
    (tmp_path / "orders.csv").write_bytes(
        "Bestellnummer;Kunde;Zeitpunkt;Artikel;Betrag\r\n"
        "1001;k-17;06.05.2024 07:08;Tasse blau;12,50\r\n"
        "1002;k-18;31.05.2024 07:15;Teller für zwei;1.008,00\r\n".encode("windows-1252")
    )
    found = propose_for(FileSource(str(tmp_path / "orders.csv")))
    assert found.mapping.distinct_id == Column("Kunde")
    assert found.mapping.time == TimeColumn("Zeitpunkt", format="%d.%m.%Y %H:%M")
    assert found.mapping.source == {
        "format": "csv", "delimiter": ";", "encoding": "windows-1252", "decimal": ",",
        "thousands": ".", "types": {"Bestellnummer": "integer", "Betrag": "number"},
    }  # fmt: skip


@pytest.mark.parametrize(("factor", "unit"), [(1, "s"), (1000, "ms")])
def test_fractions_of_a_second_are_a_time(factor: int, unit: str) -> None:
    column = [(NOW - n * 86_400 + 0.25) * factor for n in range(10)]
    table = pa.table({"user_id": ["u"] * 10, "price": [1.5] * 10, "ts": column})
    assert propose(table).mapping.time == TimeColumn("ts", unit=unit)


@pytest.mark.parametrize(
    ("values", "form"),
    [
        ([20240131, 20231224], "%Y%m%d"),
        ([20240131103000, 20231224000000], "%Y%m%d%H%M%S"),
        ([202401311030, 202312240000], "%Y%m%d%H%M"),
        ([2024013110, 2023122400], "%Y%m%d%H"),
        (["20240131103000", "20231224000000"], "%Y%m%d%H%M%S"),
    ],
)
def test_digits_of_a_date_are_a_time(values: list[Any], form: str) -> None:
    table = pa.table({"user_id": ["u", "v"], "amount": [12345678, 20240131], "order_day": values})
    found = propose(table)
    assert found.mapping.time == TimeColumn("order_day", format=form)
    assert any(
        guess.startswith(f"time: {values[0]} is read as 2024-01-31") for guess in found.guesses
    )
    check_schema(found.mapping, table.schema)


def test_seconds_are_not_taken_for_the_digits_of_a_date() -> None:
    table = pa.table({"user_id": ["u", "v"], "ts": [1_704_067_200, 1_704_067_201]})
    assert propose(table).mapping.time == TimeColumn("ts", unit="s")


@pytest.mark.parametrize("spelling", ["User ID", "user-id", "$user_id", "UserId", "user id "])
def test_spellings_of_a_name(spelling: str) -> None:
    assert propose(pa.table({"at": [1], spelling: ["u"]})).mapping.distinct_id == Column(spelling)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("event,user_id,time\n", "has no records, so no mapping can be proposed."),
        (
            'event,user_id,time\nA,u1,"never ends\nB,u2,2024-05-02\n',
            "has no records, so no mapping can be proposed. The row in lines 2 to 3 cannot be read",
        ),
    ],
)
def test_a_file_without_records(tmp_path: pathlib.Path, lines: str, said: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(lines)
    with pytest.raises(InputError) as caught:
        propose_for(FileSource(str(path)))
    assert said in str(caught.value)


def test_a_file_without_names(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("A,u1,2024-05-01\nB,u2,2024-05-02\n")
    assert "looks like a record" in propose_for(FileSource(str(path))).guesses[0]


@pytest.mark.parametrize(
    ("inner", "unit", "insert_id"),
    [
        ('"time":1714557600,"$insert_id":"a"', "s", ColumnsId(("$insert_id",))),
        ('"time":1714557600000', "ms", ContentId()),
        ('"time":1714557600000,"of":[1,{"several":"types"}]', "ms", ContentId()),
    ],
)
def test_raw_mixpanel_events(tmp_path: pathlib.Path, inner: str, unit: str, insert_id: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'[{{"event":"A","properties":{{"distinct_id":"u1",{inner}}}}}]')
    proposal = propose_for(FileSource(str(path)))
    assert isinstance(proposal.mapping, EventMapping)
    assert proposal.mapping.time == TimeColumn("time", unit=unit)
    assert proposal.mapping.insert_id == insert_id
    assert "Mixpanel's events already" in proposal.guesses[0]


def test_another_tools_export_is_recognized(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    names = "event_text anonymous_id user_id context_ip timestamp id"
    path.write_text(json.dumps(dict.fromkeys(names.split(), "x")) + "\n")
    assert "--from segment" in propose_for(FileSource(str(path))).guesses[0]


def test_two_columns_of_one_name() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(InputError, match="two columns named 'x'"):
        propose(table)


@pytest.mark.parametrize("name", ["events.zip", "events.json", "events.csv"])
def test_a_zip_archive_is_to_be_unpacked(tmp_path: pathlib.Path, name: str) -> None:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("events.csv", "event,user_id,time\nA,u,2024-05-01\n")
    with pytest.raises(InputError, match=rf"{name} is a zip archive\. Unpack it"):
        propose_for(FileSource(str(path)))


def _proposed(**columns: Any) -> tuple[EventMapping, str]:
    moments = pa.array([NOW + i for i in range(4)], pa.timestamp("s"))
    proposal = propose(pa.table({"created_at": moments, **columns}), "Shop")
    assert isinstance(proposal.mapping, EventMapping)
    return proposal.mapping, " ".join(proposal.guesses)


def test_names_of_products_and_devices_are_no_events() -> None:
    for name in ("Lineitem name", "first_name", "device_type", "productName"):
        mapping, _ = _proposed(user_id=["a"] * 4, **{name: ["x", "y", "x", "y"]})
        assert mapping.event == Constant("Shop"), name
    for name in ("name", "type", "Event Type", "hit_type", "user_action", "app_event_name"):
        mapping, _ = _proposed(user_id=["a"] * 4, **{name: ["x", "y", "x", "y"]})
        assert mapping.event == Column(name)


def test_the_key_of_an_order_is_the_id_and_not_the_user() -> None:
    keys = ["T1", "T2", "T3", "T4"]
    mapping, _ = _proposed(**{"Transaction ID": keys, "Member": ["m", "n", "m", "m"]})
    assert mapping.insert_id == ColumnsId(("Transaction ID",))
    assert mapping.distinct_id == Column("Member")
    mapping, _ = _proposed(Name=["#1", "#2", "#3", "#4"], Email=["a@b", "c@d", "a@b", None])
    assert mapping.distinct_id == Column("Email")
    mapping, _ = _proposed(code=keys, shop=["a", "b", "c", "a"])
    assert mapping.distinct_id == Column("shop"), "what differs in every row is no user"
    mapping, _ = _proposed(order_id=["T1", "T1", "T2", "T2"], user_id=["a"] * 4)
    assert mapping.insert_id == PositionId()


def test_objects_are_pointed_out() -> None:
    inner = [{"revenue": 1.5}, {"revenue": None}, None, {"revenue": 2.0}]
    texts = ['{"a": 1}', None, "{}", '{"b": 2}']
    table = pa.table(
        {
            "user": list("abcd"),
            "at": pa.array([NOW] * 4, pa.timestamp("s")),
            "x": ["{", "", "{}", "1"],
        }
    )
    table = table.append_column("properties", pa.array(inner)).append_column("context", [texts])
    proposal = propose(table, "Shop")
    steps = "{flatten: {properties: ''}, json: {context: context_}}"
    assert f"\n# shape: {steps}   # makes" in proposal.text
    made = EventMapping.from_yaml(proposal.text.replace("# shape: ", "shape: "))
    made = dataclasses.replace(made, insert_id=ContentId())
    (chunk,) = convert_tables([table], made)
    found = [json.loads(event)["properties"] for event in chunk.events()]  # type: ignore[union-attr]
    assert [(each.get("revenue"), each.get("context_a")) for each in found] == [
        (1.5, 1), (None, None), (None, None), (2.0, None)
    ]  # fmt: skip


def test_a_user_that_is_not_there() -> None:
    _, said = _proposed(user_id=pa.nulls(4), domain_userid=["a"] * 4)
    assert "user_id is named like the user's id, but is null in the sample." in said
    _, said = _proposed(user=[{"id": 1}] * 4, n=["a"] * 4)
    assert "Flatten it with shape to use it." in said
