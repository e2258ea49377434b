"""`WriteProfilesToMixpanel` and `WriteGroupsToMixpanel` end to end, against the emulator."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.test_pipeline import TestPipeline as Checked
from apache_beam.testing.test_stream import TestStream as Script

from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import CredentialsError, MappingError, SettingError
from mixpanel_sink.settings.columns import Constant
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import GroupMapping, ProfileMapping
from mixpanel_sink.write_profiles import WriteGroupsToMixpanel, WriteProfilesToMixpanel
from tests.conftest import TOKEN, Wire
from tests.running import FAST, failing, failures, reasons, run

MAPPING = ProfileMapping(distinct_id="user", set=["plan"], add=["logins"])
TABLE = pa.table({"user": ["u0", "u1"], "plan": ["pro", "free"], "logins": [1, 2], "x": [0, 0]})


def profiles(mixpanel: Emulator, mapping: Any = None, **options: Any) -> WriteProfilesToMixpanel:
    given: dict[str, Any] = {
        "endpoint": mixpanel.url, "retry": FAST, "credentials": ProjectToken("env:TEST_TOKEN")
    }  # fmt: skip
    return WriteProfilesToMixpanel(mapping, **{**given, **options})


def groups(mixpanel: Emulator, mapping: Any = None, **options: Any) -> WriteGroupsToMixpanel:
    return WriteGroupsToMixpanel(
        mapping, ProjectToken("env:TEST_TOKEN"), endpoint=mixpanel.url, retry=FAST, **options
    )


def in_order(values: Iterable[Any]) -> beam.Create:
    """A source that keeps the order; `Create` of a list shuffles."""
    return beam.Create(list(values), reshuffle=False)


def kept(mixpanel: Emulator) -> dict[str, Any]:
    """What the emulator knows of each user."""
    return {each["$distinct_id"]: each["properties"] for each in mixpanel.profiles(10_000)}


@pytest.mark.parametrize("variant", ["page", "reference"])
@pytest.mark.parametrize(
    "records",
    [
        TABLE.to_pylist(),
        [beam.Row(**row) for row in TABLE.to_pylist()],
        [TABLE],
        TABLE.to_batches(max_chunksize=1),
    ],
    ids=["dicts", "rows", "table", "record batches"],
)
def test_every_kind_of_record(mixpanel: Emulator, variant: str, records: list[Any]) -> None:
    mixpanel.settings(variant=variant)
    ran = run(records, profiles(mixpanel, MAPPING, lanes=1))
    assert kept(mixpanel) == {
        "u0": {"plan": "pro", "logins": 1},
        "u1": {"plan": "free", "logins": 2},
    }
    assert ran.totals[0][0] == (2, 2, 0, 1)
    assert ran.counters["events_accepted"] == 2


@pytest.mark.parametrize(
    "made", [list, lambda u: [pa.Table.from_pylist(u)]], ids=["dicts", "table"]
)
def test_raw_updates(mixpanel: Emulator, made: Callable[[Any], list[Any]]) -> None:
    updates = [
        {"$distinct_id": "u0", "$set": {"plan": "pro"}, "$add": {"n": 2}, "$ip": "9.9.9.9"},
        {"$distinct_id": "u1", "$set": {"plan": "free"}, "$ip": None},
    ]
    run(made(updates), profiles(mixpanel, lanes=1))
    assert kept(mixpanel)["u0"] == {"plan": "pro", "n": 2}
    assert kept(mixpanel)["u1"]["plan"] == "free"
    assert {update["$token"] for update in mixpanel.updates()} == {TOKEN}


def test_groups(mixpanel: Emulator) -> None:
    mapping = GroupMapping(group_key=Constant("company"), group_id="id", union=["tags"], set="all")
    records = [
        {"id": "acme", "plan": "pro", "tags": ["a", "a"]},
        {"id": 7, "plan": "x", "tags": "b"},
    ]
    assert run(records, groups(mixpanel, mapping)).totals[0][0].accepted == 2
    run(
        [{"$group_key": "company", "$group_id": "acme", "$remove": {"tags": "a"}}], groups(mixpanel)
    )
    assert mixpanel.group("company", "acme")["properties"] == {"plan": "pro", "tags": []}
    assert mixpanel.group("company", "7")["properties"] == {"plan": "x", "tags": ["b"]}


def test_what_goes_over_the_wire(
    wire: Callable[..., Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    server = wire(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    sink = WriteProfilesToMixpanel(
        MAPPING, ProjectToken("env:TEST_TOKEN"), endpoint=server.url, retry=FAST, lanes=1
    )
    assert run([TABLE], sink).totals[0][0] == (2, 2, 0, 1)
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /engage?verbose=1&strict=1 HTTP/1.1")
    assert b"authorization" not in head.lower()
    assert b"content-encoding" not in head.lower()
    token = TOKEN.encode()
    assert body == (
        b'[{"$distinct_id":"u0","$ip":"0","$add":{"logins":1},"$set":{"plan":"pro"},"$token":"%s"}'
        b'\n,{"$distinct_id":"u1","$ip":"0","$add":{"logins":2},"$set":{"plan":"free"},'
        b'"$token":"%s"}\n]' % (token, token)
    )


def test_two_thousand_a_request(mixpanel: Emulator) -> None:
    records = [{"user": f"u{n}", "plan": "p", "logins": 1} for n in range(4001)]
    ran = run(in_order(records), profiles(mixpanel, MAPPING, lanes=1))
    assert [r.accepted for r, _, _ in ran.receipts] == [2000, 2000, 1]
    mixpanel.reset()
    ran = run(records, profiles(mixpanel, MAPPING, lanes=4))
    assert mixpanel.stats()["requests"] <= 3 + 4
    assert {r.lane for r, _, _ in ran.receipts} == {0, 1, 2, 3}


def test_updates_of_a_profile_share_a_request(mixpanel: Emulator) -> None:
    """Two of one profile on both sides of where a request would be full."""
    updates = [{"$distinct_id": f"u{n}", "$append": {"l": n}} for n in range(10)]
    updates[9:9] = [{"$distinct_id": "u3", "$append": {"l": "again"}}]
    sink = profiles(mixpanel, lanes=1, limits=Limits(batch_events=9))
    ran = run(in_order(updates), sink)
    assert [r.accepted for r, _, _ in ran.receipts] == [8, 3]
    assert kept(mixpanel)["u3"] == {"l": [3, "again"]}


class Model:
    """Profiles in memory, as the page's table of operations has them."""

    def __init__(self) -> None:
        self.profiles: dict[str, dict[str, Any]] = {}

    def apply(self, update: dict[str, Any]) -> None:
        who = update["$distinct_id"]
        if "$delete" in update:
            self.profiles.pop(who, None)
            return
        has = self.profiles.setdefault(who, {})
        has.update(update.get("$set", {}))
        for name, value in update.get("$set_once", {}).items():
            has.setdefault(name, value)
        for name, value in update.get("$add", {}).items():
            has[name] = has.get(name, 0) + value
        for name, value in update.get("$append", {}).items():
            has[name] = [*has.get(name, []), value]
        for name, values in update.get("$union", {}).items():
            for value in values:
                has[name] = has.get(name, []) + [value] * (value not in has.get(name, []))
        for name, value in update.get("$remove", {}).items():
            if name in has:
                has[name] = [item for item in has[name] if item != value]
        for name in update.get("$unset", []):
            has.pop(name, None)


def random_updates(rng: random.Random, count: int, users: int) -> list[dict[str, Any]]:
    """Some operations each, every one on a property of its own; `i` tells them apart."""
    updates = []
    for i in range(count):
        operations: dict[str, Any] = {
            "$set": {"s": i},
            "$set_once": {"o": i},
            "$add": {"n": rng.randint(-3, 9)},
            "$append": {"l": i},
            "$union": {"k": [rng.randint(0, 5), i % 7]},
            "$remove": {"k": rng.randint(0, 5)},
            "$unset": [rng.choice(["s", "o", "n"])],
        }
        names = rng.sample(sorted(operations), rng.randint(1, 3))
        if {"$union", "$remove"} <= set(names):
            names.remove("$remove")
        if "$unset" in names:
            names = ["$unset", *(name for name in names if name in ("$append", "$union"))]
        some = {name: operations[name] for name in names}
        if rng.random() < 0.03:
            some = {"$delete": ""}
        # A few users have most of the updates.
        updates.append({"$distinct_id": f"u{int(users * rng.random() ** 3)}", **some})
    return updates


SEEDS = range(int(os.environ.get("MIXPANEL_SINK_SCHEDULES", "6")))


@pytest.mark.parametrize("seed", SEEDS)
def test_final_profiles_are_those_of_a_model(mixpanel: Emulator, seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    updates = random_updates(rng, rng.randint(50, 1200), rng.choice([1, 5, 200]))
    limits = Limits(
        batch_events=rng.choice([2, 7, 50, 2000]), batch_bytes=rng.choice([2_000, 10**7]),
        event_bytes=1_000,
    )  # fmt: skip
    sink = profiles(mixpanel, lanes=rng.choice([1, 3, 8]), limits=limits)
    ran = run(in_order(updates), sink)
    model = Model()
    for update in updates:
        model.apply(update)
    assert kept(mixpanel) == model.profiles
    assert ran.totals[0][0].accepted == len(updates)


@pytest.mark.parametrize("seed", SEEDS)
def test_order_holds_over_bundles_and_tails_in_state(mixpanel: Emulator, seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    updates = random_updates(rng, 150, rng.choice([1, 5, 50]))
    stream = Script()
    at = 0
    while at < len(updates):
        size = rng.randint(1, 40)
        stream = stream.add_elements(updates[at : at + size])
        at += size
    sink = profiles(
        mixpanel, lanes=2, max_latency=3600, limits=Limits(batch_events=rng.choice([5, 20, 2000]))
    )
    with Checked(options=PipelineOptions(streaming=True)) as pipeline:
        _ = pipeline | stream.advance_watermark_to_infinity() | sink
    model = Model()
    for update in updates:
        model.apply(update)
    assert kept(mixpanel) == model.profiles


@pytest.mark.parametrize("variant", ["page", "reference"])
@pytest.mark.parametrize("shape", ["objects", "strings"])
def test_a_bogus_token_stops_the_job(
    mixpanel: Emulator, variant: str, shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixpanel.settings(variant=variant, failed_records_as=shape)
    monkeypatch.setenv("TEST_TOKEN", "b0gus-token-0123456789")
    said = failing(TABLE.to_pylist(), profiles(mixpanel, MAPPING, lanes=1))
    assert said.startswith("AuthenticationError")
    assert "does not accept the project token (400: " in said
    assert "Invalid token" in said
    assert "b0gus" not in said
    assert mixpanel.stats()["requests"] == 1
    assert kept(mixpanel) == {}


@pytest.mark.parametrize("variant", ["page", "reference"])
def test_one_refused_update_costs_one(mixpanel: Emulator, variant: str) -> None:
    """The emulator refuses by a fault what the sink would not let through."""
    mixpanel.settings(variant=variant)
    mixpanel.faults(
        [{"kind": "failed_records", "records": [{"index": 1, "field": "$set", "message": "odd"}]}]
    )
    ran = run(in_order(TABLE.to_pylist()), profiles(mixpanel, MAPPING, lanes=1))
    (failure,) = failures(ran)
    assert (failure.reason, failure.field, failure.message) == ("refused", "$set", "odd")
    assert failure.event["$distinct_id"] == "u1"  # type: ignore[index]
    assert "$token" not in failure.event  # type: ignore[operator]
    assert set(kept(mixpanel)) == {"u0"}


def test_failed_records_of_convert(mixpanel: Emulator) -> None:
    records = [*TABLE.to_pylist(), {"user": None, "plan": "p", "logins": 1}, {"user": "u2"}]
    records.append({"user": "u3", "plan": "p", "logins": "many"})
    ran = run(records, profiles(mixpanel, MAPPING))
    assert reasons(ran) == ["distinct_id_null", "missing_column", "operation_wrong_value"]
    assert TOKEN not in repr(ran)
    assert ran.totals[0][0].accepted == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mapping": EventMapping(event="e", distinct_id="u", time="t")}, "give a ProfileMapping"),
        ({"mapping": GroupMapping(group_key="k", group_id="g")}, "give a ProfileMapping"),
        ({"on_ambiguous": "ignore"}, 'it is "fail" or "retry"'),
        ({"quota": "3/hour"}, "at most 3 lanes"),
        ({"lanes": 0}, "at least 1"),
    ],
)
def test_wrong_settings(given: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        WriteProfilesToMixpanel(**{"credentials": ProjectToken("env:X"), **given})


def test_updates_need_the_token() -> None:
    with pytest.raises(CredentialsError, match=r"/engage knows a project by its token alone"):
        WriteProfilesToMixpanel(MAPPING, ApiSecret("env:X"))
    WriteProfilesToMixpanel(MAPPING, ApiSecret("env:X", token="env:Y"))
    with pytest.raises(MappingError, match="give a GroupMapping"):
        WriteGroupsToMixpanel(MAPPING, ProjectToken("env:X"))


def test_a_column_that_the_schema_does_not_have(mixpanel: Emulator) -> None:
    rows = beam.Create([beam.Row(user="u", plan="p")])
    with pytest.raises(MappingError, match="add names the column 'logins'"):
        run(rows, profiles(mixpanel, MAPPING))


def test_an_update_that_was_named_beside_a_doubtful_one_is_not_sent_again(
    mixpanel: Emulator,
) -> None:
    """An answer that names one update and says nothing of another: neither goes again."""
    body = {
        "code": 400, "error": "some", "num_good_events": 3,
        "failed_records": [{"index": 0, "field": "$add", "message": "odd"}, {"index": 0}],
    }  # fmt: skip
    mixpanel.faults([{"kind": "status", "status": 400, "body": body}])
    updates = [{"$distinct_id": "u", "$add": {"n": 1}}, {"$distinct_id": "u", "$append": {"l": 1}}]
    updates.append({"$distinct_id": "u", "$set": {"s": 1}})
    ran = run(in_order(updates), profiles(mixpanel, lanes=1))
    assert reasons(ran) == ["ambiguous", "refused"]
    assert kept(mixpanel) == {"u": {"s": 1}}
    assert mixpanel.stats()["requests"] == 2
