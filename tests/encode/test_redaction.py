"""What must not leave the worker: neither in events nor in failed records nor in logs."""

from __future__ import annotations

import datetime
import decimal
import json
import logging
import math
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.batch.origin import RecordBlock, TableOrigin
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.encode.redaction import Masker
from mixpanel_sink.errors import CredentialsError, MappingError
from mixpanel_sink.results import FailedRecord
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.privacy import Privacy
from tests.running import failures
from tests.write.test_write import MAPPING, raw, record, run, write

PRIVACY = Privacy(drop=["email"], hash=["phone"])
MAIL, PHONE = "jane@example.com", "+49 30 901820"


def digest(text: str, key: str = "") -> str:
    return blake3(f"{key}\0{text}".encode()).hexdigest()[:32]


def people() -> list[dict[str, Any]]:
    fine = record(0, email=MAIL, phone=PHONE, plan="pro")
    bad = record(1, email=MAIL, phone=PHONE, plan="pro")
    bad["user"] = None
    return [fine, bad]


@pytest.mark.parametrize("columnar", [False, True])
def test_events_and_failed_records_hold_no_more_than_they_may(
    mixpanel: Emulator, columnar: bool, caplog: pytest.LogCaptureFixture
) -> None:
    source = [pa.Table.from_pylist(people())] if columnar else people()
    with caplog.at_level(logging.DEBUG):
        ran = run(source, write(mixpanel, privacy=PRIVACY))
    (event,) = mixpanel.events()
    assert event["properties"]["phone"] == digest(PHONE)
    assert event["properties"]["plan"] == "pro"
    ((failure, _, _),) = ran.failed
    assert failure.record["phone"] == digest(PHONE)
    for text in (repr(event), repr(ran.failed), caplog.text):
        assert MAIL not in text
        assert PHONE not in text


def test_raw_events_are_masked_inside(mixpanel: Emulator) -> None:
    event = raw(0)
    event["properties"] |= {"email": MAIL, "phone": PHONE}
    run([event], write(mixpanel, None, privacy=PRIVACY))
    (stored,) = mixpanel.events()
    assert stored["properties"]["phone"] == digest(PHONE)
    assert MAIL not in repr(stored)


def test_a_hashed_id_stays_one_user(mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PII_KEY", "pepper")
    privacy = Privacy(hash=["user"], key="env:PII_KEY")
    run([{**record(n), "user": "jane"} for n in range(2)], write(mixpanel, privacy=privacy))
    assert {e["properties"]["distinct_id"] for e in mixpanel.events()} == {digest("jane", "pepper")}


@given(st.lists(st.none() | st.text(), min_size=1))
def test_both_ways_hash_alike(values: list[str | None]) -> None:
    masker = Masker(PRIVACY)
    table = pa.table({"phone": pa.array(values, pa.string())})
    one_by_one = [masker.record({"phone": value})["phone"] for value in values]
    assert masker.table(table).column("phone").to_pylist() == one_by_one


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 2, None]),
        pa.array(["a", "b", None]).dictionary_encode(),
        pa.array([[1], [], None]),
        pa.array([1.5, None, -0.0]),
        pa.array(["a", "b", None], pa.large_string()),
    ],
)
def test_columns_of_any_type(column: pa.Array) -> None:
    masker = Masker(PRIVACY)
    values = masker.table(pa.table({"phone": column})).column("phone").to_pylist()
    assert values == [masker.record({"phone": v})["phone"] for v in column.to_pylist()]


UTC, LATER = datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=1))
NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=UTC)


ONE_TEXT: list[tuple[Any, Any, str]] = [
    (decimal.Decimal("1.5"), decimal.Decimal("1.25"), "1.5"),
    (decimal.Decimal("1.50"), None, "1.5"),
    (NOON.astimezone(LATER), None, "2024-05-01T12:00:00Z"),
    (NOON.replace(tzinfo=None), None, "2024-05-01T12:00:00"),
    (NOON.date(), None, "2024-05-01"),
    (datetime.timedelta(minutes=1), None, "60.0"),
    ({"b": 1, "a": 2}, None, '{"a":2,"b":1}'),
    ([1.5, 2.5], None, "[1.5,2.5]"),
    (b"ab", b"c", "YWI="),
    (17, None, "17"),
    (True, None, "true"),
    ("17", None, "17"),
    # What no event can hold is hashed all the same.
    (math.nan, 1.5, "null"),
    (LARGE := {f"k{n}": n for n in reversed(range(300))}, None, json.dumps(LARGE, sort_keys=True)),
]


def test_equal_values_have_equal_hashes_on_every_way(mixpanel: Emulator) -> None:
    source: list[Any] = []
    texts = {}
    for case, (value, neighbour, text) in enumerate(ONE_TEXT):
        first, second, third, fourth = (record(10 * case + n, phone=value) for n in range(4))
        other = record(10 * case + 9, phone=neighbour)
        tables = [pa.Table.from_pylist(rows) for rows in ([third, other], [fourth])]
        source += [first, RecordBlock([second, other], None), *tables]
        texts |= {f"u{10 * case + n}": text for n in range(4)}
    run(source, write(mixpanel, privacy=PRIVACY))
    properties = [event["properties"] for event in mixpanel.events(1000)]
    hashes = {each["distinct_id"]: each.get("phone") for each in properties}
    assert {user: hashes[user] for user in texts} == {u: digest(text) for u, text in texts.items()}


def test_a_hash_of_the_failed_record_is_that_of_the_event() -> None:
    masker = Masker(PRIVACY)
    lines = [{"phone": NOON.isoformat()[:19] + "Z"}, {"phone": {"b": 1, "a": 2}}]
    given = [{"phone": NOON}, {"phone": {"a": 2, "b": 1}}]
    for line, sent in zip(lines, given, strict=True):
        failed = FailedRecord("function_failed", "", record_json=json.dumps(line))
        assert masker.failed(failed).record == masker.record(sent)


ODD_COLUMNS = {
    "years beyond Python's": pa.array([2**60, 0, None], pa.timestamp("s")),
    "an unknown time zone": pa.array([1, 2, None], pa.timestamp("us", "Mars/Olympus")),
    "long durations": pa.array([2**62, 1, None], pa.duration("s")),
    "nanoseconds": pa.array([1_700_000_000_123_456_789, 1_000, None], pa.timestamp("ns")),
    "bad UTF-8": pa.array([b"\xff", b"ok", None]).view(pa.string()),
    "bad UTF-8 in a dictionary": pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None], pa.int8()), pa.array([b"\xff", b"ok"]).view(pa.string())
    ),
    "text views": pa.array(["a", "b", None], pa.string_view()),
    "a map": pa.array([[("a", 1)], [], None], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize("kind", ODD_COLUMNS)
def test_odd_columns(mixpanel: Emulator, kind: str) -> None:
    column = ODD_COLUMNS[kind]
    table = pa.Table.from_pylist([record(n) for n in range(3)]).append_column("phone", column)
    run([table], write(mixpanel, privacy=PRIVACY))
    events = {e["properties"]["distinct_id"]: e["properties"] for e in mixpanel.events()}
    assert events["u0"]["phone"] != events["u1"]["phone"]
    assert len(events["u0"]["phone"]) == len(events["u1"]["phone"]) == 32
    assert "phone" not in events["u2"]
    alone = Masker(PRIVACY).table(table.slice(1, 1)).column("phone").to_pylist()
    assert alone == [events["u1"]["phone"]]  # whatever its neighbours are


def events_table(**more: Any) -> pa.Table:
    """Three raw events, the second with a bad name, and properties of more types."""
    rows = [raw(n) for n in range(3)]
    rows[1]["event"] = ""
    names = list(rows[0]["properties"])
    columns = [pa.array([row["properties"][name] for row in rows]) for name in names]
    columns += [pa.array([value] * 3) if isinstance(value, str) else value
                for value in more.values()]  # fmt: skip
    properties = pa.StructArray.from_arrays(columns, [*names, *more])
    return pa.table({"event": [row["event"] for row in rows], "properties": properties})


@pytest.mark.parametrize("kind", ODD_COLUMNS)
@pytest.mark.parametrize("name", ["phone", "other"])
def test_odd_columns_of_raw_events(mixpanel: Emulator, kind: str, name: str) -> None:
    table = events_table(**{"email": MAIL, name: ODD_COLUMNS[kind]})
    table = TableOrigin("visits.parquet", "key", 40).attach(table)
    ran = run([table], write(mixpanel, None, privacy=PRIVACY))
    bad = {f.row: f.reason for f in failures(ran)}
    assert bad.pop(41) == "event_empty"
    assert {f.file for f in failures(ran)} == {"visits.parquet"}
    unsendable = name == "other" and kind.startswith(("bad", "years"))
    assert bad == ({40: "unreadable_value"} if unsendable else {})
    events = {e["properties"]["distinct_id"]: e["properties"] for e in mixpanel.events()}
    assert sorted(events) == (["u2"] if unsendable else ["u0", "u2"])
    if kind == "nanoseconds" and name == "other":
        assert events["u0"]["other"] == "2023-11-14T22:13:20.123456789"
    elif name == "phone":
        assert len(events["u0"]["phone"]) == 32
    assert MAIL not in repr((ran, events))


class Unreadable:
    """A value that nothing can be made of."""

    def __str__(self) -> str:
        raise LookupError(MAIL)


@pytest.mark.parametrize("way", ["dicts", "block", "events", "a block of events"])
def test_a_value_that_cannot_be_hashed_fails_its_record_alone(mixpanel: Emulator, way: str) -> None:
    if ready := way.endswith("events"):
        records = [raw(n) for n in range(2)]
        records[1]["properties"] |= {"phone": Unreadable(), "email": MAIL}
    else:
        records = [record(0), record(1, phone=Unreadable(), email=MAIL)]
    block = RecordBlock(records, TableOrigin("a.json", "key", 5))
    source: list[Any] = [block] if "block" in way else records
    ran = run(source, write(mixpanel, None if ready else MAPPING, privacy=PRIVACY))
    (failed,) = failures(ran)
    assert (failed.reason, failed.field) == ("unsupported_value", "phone")
    assert "phone is an Unreadable, which cannot be hashed" in failed.message
    assert (failed.file, failed.row) == (("a.json", 6) if "block" in way else (None, None))
    assert failed.record is None  # it may hold what must not leave
    assert [e["properties"]["distinct_id"] for e in mixpanel.events()] == ["u0"]


@pytest.mark.parametrize(
    "element",
    [
        FailedRecord("line_unreadable", "m", record_json=json.dumps(f"{{{MAIL}"), file="a", row=1),
        FailedRecord("gave_up", "m", event_json=f"{{{MAIL}", file="a", row=1),
        MAIL,
    ],
)
def test_text_that_nobody_can_read_does_not_leave(mixpanel: Emulator, element: Any) -> None:
    ran = run([element, record(0)], write(mixpanel, privacy=PRIVACY))
    (failed,) = failures(ran)
    assert (failed.record_json, failed.event_json) == (None, None)
    if isinstance(element, FailedRecord):
        assert failed[:2] == element[:2]
        assert (failed.file, failed.row) == ("a", 1)
    else:
        assert failed.reason == "unsupported_record"
    assert MAIL not in repr(ran)
    assert len(mixpanel.events()) == 1


def test_a_column_that_is_needed_cannot_be_dropped(mixpanel: Emulator) -> None:
    mapping = EventMapping(event="name", distinct_id="user", time=TimeColumn("at", unit="ms"))
    with pytest.raises(MappingError, match="needs for distinct_id"):
        write(mixpanel, mapping, privacy=Privacy(drop=["user"]))


def test_a_key_that_does_not_resolve() -> None:
    with pytest.raises(CredentialsError, match="The key of Privacy"):
        Masker(Privacy(hash=["a"], key="env:NO_SUCH_KEY"))
