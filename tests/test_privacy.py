"""What must not leave the worker: neither in events nor in failed records nor in logs."""

from __future__ import annotations

import logging
from typing import Any

import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import CredentialsError, MappingError, SettingError
from mixpanel_sink.mapping import EventMapping, TimeColumn
from mixpanel_sink.privacy import Masker, Privacy
from tests.test_write import ready_made, record, run, write

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


def test_ready_made_events_are_masked_inside(mixpanel: Emulator) -> None:
    event = ready_made(0)
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


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "names nothing"),
        ({"drop": "email"}, "is a list"),
        ({"drop": ["a"], "hash": ["a"]}, "both"),
        ({"hash": ["a"], "key": "pepper"}, "must be a reference"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        Privacy(**settings)


def test_a_column_that_is_needed_cannot_be_dropped(mixpanel: Emulator) -> None:
    mapping = EventMapping(event="name", distinct_id="user", time=TimeColumn("at", unit="ms"))
    with pytest.raises(MappingError, match="needs for distinct_id"):
        write(mixpanel, mapping, privacy=Privacy(drop=["user"]))


def test_a_key_that_does_not_resolve() -> None:
    with pytest.raises(CredentialsError, match="The key of Privacy"):
        Masker(Privacy(hash=["a"], key="env:NO_SUCH_KEY"))
