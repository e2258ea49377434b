"""One pipeline to several projects, each with its own credentials, quota and host."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest

from mixpanel_sink.api.insert_ids import position_id
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.batch.origin import TableOrigin
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.process import forget
from mixpanel_sink.report.accounting import CheckAccounting
from mixpanel_sink.settings.columns import PositionId, TimeColumn
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.settings.profile_mapping import ProfileMapping
from mixpanel_sink.settings.project import Project
from mixpanel_sink.settings.retry import RetryPolicy
from mixpanel_sink.stages import send
from mixpanel_sink.write import WriteToMixpanel
from mixpanel_sink.write_profiles import WriteProfilesToMixpanel
from tests.running import FAST, IN_PROCESS, failing, failures, reasons, run

NOW_MS = int(time.time() * 1000) - 3_600_000
MAPPING = EventMapping(
    event="name", distinct_id="user", time=TimeColumn("at", unit="ms"), insert_id="id"
)
NAMES = ["alpha", "beta", "gamma"]
IDS = {"alpha": 1, "beta": 2, "gamma": 3}
TEN = Limits(batch_events=10)


@pytest.fixture(scope="module")
def _running() -> Iterator[Emulator]:
    projects = [
        {"id": number, "token": f"token-of-{name}-012345", "api_secret": f"secret-of-{name}-0123"}
        for name, number in IDS.items()
    ]
    with Emulator(projects=projects, variant="reference") as running:
        yield running


@pytest.fixture
def mixpanel(_running: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    _running.reset(quota="none", latency_ms=0)
    forget()
    for name in NAMES:
        monkeypatch.setenv(f"SECRET_{name}", f"secret-of-{name}-0123")
        monkeypatch.setenv(f"TOKEN_{name}", f"token-of-{name}-012345")
    return _running


def projects(mixpanel: Emulator, **more: Any) -> dict[str, Project]:
    """All three; `more` replaces some."""
    return {
        name: more.get(name)
        or Project(ApiSecret(f"env:SECRET_{name}"), endpoint=mixpanel.url, quota="none")
        for name in NAMES
    }


def write(
    mixpanel: Emulator, mapping: EventMapping | None = MAPPING, **options: Any
) -> WriteToMixpanel:
    given: dict[str, Any] = {"destination": "shop", "retry": FAST, **options}
    given.setdefault("projects", projects(mixpanel))
    return WriteToMixpanel(mapping, **given)


def record(number: int, shop: Any = None, **more: Any) -> dict[str, Any]:
    return {
        "name": "Visit", "user": f"u{number}", "at": NOW_MS, "id": f"id-{number}",
        "shop": NAMES[number % 3] if shop is None else shop, **more,
    }  # fmt: skip


def stored(mixpanel: Emulator) -> dict[str, list[str]]:
    """Ids of the events of each project."""
    return {
        name: sorted(
            each["event"]["properties"]["$insert_id"]
            for each in mixpanel.event_details(10_000, project=number)
        )
        for name, number in IDS.items()
    }


def ids(*numbers: int) -> list[str]:
    return sorted(f"id-{number}" for number in numbers)


def by_user(record: dict[str, Any]) -> str:
    return NAMES[int(record["user"][1:]) % 3]


def raw(number: int, beside: bool) -> dict[str, Any]:
    properties = {"distinct_id": f"u{number}", "time": NOW_MS, "$insert_id": f"id-{number}"}
    if beside:
        return {"event": "Visit", "properties": properties, "shop": NAMES[number % 3]}
    return {"event": "Visit", "properties": {**properties, "shop": NAMES[number % 3]}}


RECORDS = [record(n) for n in range(9)]
TABLE = pa.Table.from_pylist(RECORDS)
KINDS: dict[str, tuple[list[Any], EventMapping | None, Any]] = {
    "dicts": (RECORDS, MAPPING, "shop"),
    "rows": ([beam.Row(**each) for each in RECORDS], MAPPING, "shop"),
    "table": ([TABLE], MAPPING, "shop"),
    "record batches": (TABLE.to_batches(max_chunksize=2), MAPPING, "shop"),
    "a dictionary column": (
        [TABLE.set_column(4, "shop", TABLE.column("shop").combine_chunks().dictionary_encode())],
        MAPPING,
        "shop",
    ),
    "a view column": (
        [TABLE.set_column(4, "shop", TABLE.column("shop").cast(pa.string_view()))],
        MAPPING,
        "shop",
    ),
    "an empty table besides": ([TABLE.slice(0, 0), TABLE], MAPPING, "shop"),
    "dicts, function": (RECORDS, MAPPING, by_user),
    "table, function": ([TABLE], MAPPING, by_user),
    "events, property": ([raw(n, False) for n in range(9)], None, "shop"),
    "events, beside": ([raw(n, True) for n in range(9)], None, "shop"),
    "events in a table": (
        [pa.Table.from_pylist([raw(n, True) for n in range(9)])],
        None,
        "shop",
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_record_goes_to_its_project(mixpanel: Emulator, kind: str) -> None:
    source, mapping, destination = KINDS[kind]
    ran = run(source, write(mixpanel, mapping, destination=destination))
    assert stored(mixpanel) == {"alpha": ids(0, 3, 6), "beta": ids(1, 4, 7), "gamma": ids(2, 5, 8)}
    assert {r.destination: r.accepted for r, _, _ in ran.receipts} == dict.fromkeys(NAMES, 3)
    assert ran.totals[0][0] == (9, 9, 0, 3)


BAD: list[tuple[Any, str]] = [
    ("delta", "is for the project 'delta', and projects has none of that name"),
    (None, "is for the project None"),
    (5, "is for the project 5"),
]


@pytest.mark.parametrize(("shop", "said"), BAD)
@pytest.mark.parametrize("columnar", [False, True])
def test_unknown_projects(mixpanel: Emulator, shop: Any, said: str, columnar: bool) -> None:
    records = [record(0), {**record(1), "shop": shop}]
    if columnar and shop == 5:
        records = [{**each, "shop": shop} for each in records]
    ran = run([pa.Table.from_pylist(records)] if columnar else records, write(mixpanel))
    failure = failures(ran)[-1]
    assert (failure.reason, failure.field) == ("destination_unknown", "shop")
    assert said in failure.message
    assert "'alpha', 'beta', 'gamma'" in failure.message
    assert failure.record == {**record(1), "shop": shop}
    assert failure.destination is None
    assert ran.totals[0][0].read == 2


def odd(record: dict[str, Any]) -> Any:
    return {"id-0": "alpha", "id-1": None, "id-2": "None", "id-3": ["alpha"]}[record["id"]]


@pytest.mark.parametrize("columnar", [False, True])
def test_odd_functions(mixpanel: Emulator, columnar: bool) -> None:
    """None is not the project "None", and a function that fails costs one record."""
    records = [record(n) for n in range(5)]
    known = {**projects(mixpanel), "None": projects(mixpanel)["beta"]}
    sink = write(mixpanel, destination=odd, projects=known)
    ran = run([pa.Table.from_pylist(records)] if columnar else records, sink)
    assert reasons(ran) == ["destination_unknown"] * 3
    assert any("failed for this record (KeyError: 'id-4')" in f.message for f in failures(ran))
    assert stored(mixpanel) == {"alpha": ids(0), "beta": ids(2), "gamma": []}


def test_odd_columns(mixpanel: Emulator) -> None:
    bad = pa.array([b"alpha", b"\xff"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, bad.buffers())
    table = pa.Table.from_pylist([record(0), record(1)]).drop_columns(["shop"])
    lists = table.append_column("shop", pa.array([["alpha"], ["beta"]]))
    twice = table.append_column("shop", pa.array(["alpha"] * 2)).append_column(
        "shop", pa.array(["beta"] * 2)
    )
    ran = run([table.append_column("shop", text), lists, twice, table], write(mixpanel))
    assert reasons(ran) == ["destination_unknown"] * 7
    assert any("has no column 'shop'" in f.message for f in failures(ran))
    assert stored(mixpanel)["alpha"] == ids(0)
    assert ran.totals[0][0] == (8, 1, 7, 1)


def test_position_ids_stay_those_of_the_file(mixpanel: Emulator) -> None:
    """Rows of several projects interleave, some fail, and the second run adds nothing."""
    key = "0123456789abcdef0123"
    records = [record(n, user=None if n % 7 == 3 else f"u{n}") for n in range(50)]
    table = pa.Table.from_pylist(records).drop_columns(["id"])
    place = TableOrigin("gs://b/events.parquet", key, 1000)
    mapping = EventMapping(
        event="name", distinct_id="user", time=TimeColumn("at", "ms"), insert_id=PositionId()
    )
    for _ in range(2):
        ran = run([place.attach(table)], write(mixpanel, mapping))
    good = [n for n in range(50) if n % 7 != 3]
    for name, found in stored(mixpanel).items():
        assert found == sorted(position_id(key, 1000 + n) for n in good if NAMES[n % 3] == name)
    failed = failures(ran)
    assert sorted(f.row for f in failed if f.row is not None) == [
        1000 + n for n in range(50) if n % 7 == 3
    ]
    for failure in failed:
        assert failure.file == "gs://b/events.parquet"
        assert failure.row is not None
        assert failure.destination == NAMES[(failure.row - 1000) % 3]
        assert failure.insert_id == position_id(key, failure.row)


class TestOneProjectFails:
    def sink(self, mixpanel: Emulator, **options: Any) -> WriteToMixpanel:
        return write(mixpanel, limits=TEN, **options)

    def test_a_wrong_secret(self, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_beta", "another-secret-0123456789")
        ran = run([record(n) for n in range(150)], self.sink(mixpanel))
        assert [len(events) for events in stored(mixpanel).values()] == [50, 0, 50]
        assert reasons(ran) == ["project_refused"] * 50
        assert {f.destination for f in failures(ran)} == {"beta"}
        assert "does not accept the API secret (401" in failures(ran)[0].message
        assert "another-secret" not in repr(ran)
        assert ran.totals[0][0][:3] == (150, 100, 50)
        assert ran.counters["failed_project_refused"] == 50
        assert ran.counters["requests_401"] == 1

    def test_an_endpoint_that_is_down(self, mixpanel: Emulator) -> None:
        dead = Project(ApiSecret("env:SECRET_beta"), endpoint="http://127.0.0.1:1", quota="none")
        retry = RetryPolicy(transient_seconds=0.05, first_wait=0.01, longest_wait=0.02, breaker=2)
        sink = self.sink(mixpanel, projects=projects(mixpanel, beta=dead), retry=retry)
        ran = run([record(n) for n in range(150)], sink)
        assert [len(events) for events in stored(mixpanel).values()] == [50, 0, 50]
        assert set(reasons(ran)) == {"gave_up", "project_refused"}
        assert len(ran.failed) == 50
        assert ran.totals[0][0][:3] == (150, 100, 50)

    def test_a_pause_that_is_too_long(self, mixpanel: Emulator) -> None:
        mixpanel.faults([{"kind": "rate_limit", "retry_after": "100000"}])
        ran = run([record(n) for n in range(60)], self.sink(mixpanel))
        assert set(reasons(ran)) == {"gave_up", "project_refused"}
        assert "asks to wait for" in failures(ran)[-1].message
        assert ran.totals[0][0][:3] == (60, 40, 20)

    def test_all_of_them(self, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in NAMES:
            monkeypatch.setenv(f"SECRET_{name}", "another-secret-0123456789")
        ran = run([record(n) for n in range(60)], self.sink(mixpanel))
        assert reasons(ran) == ["project_refused"] * 60
        assert ran.totals[0][0][:3] == (60, 0, 60)

    def test_with_a_single_project_the_job_stops(
        self, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SECRET_beta", "another-secret-0123456789")
        only = {"beta": projects(mixpanel)["beta"]}
        said = failing([record(1)], self.sink(mixpanel, projects=only))
        assert said.startswith("AuthenticationError")

    def test_a_secret_that_does_not_resolve_stops_the_job(
        self, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SECRET_beta")
        said = failing([record(0)], self.sink(mixpanel))
        assert "SECRET_beta is not set" in said
        assert mixpanel.stats()["requests"] == 0


def test_a_used_up_quota_holds_up_nobody_else(mixpanel: Emulator) -> None:
    """By the order in which the server saw them, not by time: the projects with room are done
    before the slow one's second request, although its records come first."""
    slow = Project(ApiSecret("env:SECRET_alpha"), endpoint=mixpanel.url, quota="1/3s")
    records = [record(n, "alpha") for n in range(30)]
    records += [record(n, shop) for n in range(30, 90) for shop in [NAMES[1 + n % 2]]]
    sink = write(mixpanel, projects=projects(mixpanel, alpha=slow), limits=TEN)
    ran = run(beam.Create(records, reshuffle=False), sink)
    assert ran.totals[0][0] == (90, 90, 0, 9)
    order = [entry["project"] for entry in mixpanel.requests()]
    assert order.count(1) == 3
    second = [place for place, project in enumerate(order) if project == 1][1]
    assert second >= 7, order  # one of alpha's, and all six of the others
    stats = mixpanel.requests(project=1)
    assert stats[1]["arrived"] - stats[0]["arrived"] >= 3


def test_what_waits_is_bounded(mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond WAITING_BYTES the slow project does hold up the others: memory comes first."""
    monkeypatch.setattr(send, "WAITING_BYTES", 3)
    slow = Project(ApiSecret("env:SECRET_alpha"), endpoint=mixpanel.url, quota="1/s")
    records = [record(n, "alpha") for n in range(40)] + [record(n, "beta") for n in range(40, 50)]
    sink = write(mixpanel, projects=projects(mixpanel, alpha=slow), limits=TEN)
    ran = run(beam.Create(records, reshuffle=False), sink)
    assert ran.totals[0][0] == (50, 50, 0, 5)
    order = [entry["project"] for entry in mixpanel.requests()]
    assert order.index(2) >= 2, order


def test_quotas_are_each_projects_own(mixpanel: Emulator) -> None:
    mixpanel.settings(quota="3/1s")
    limited = {
        name: Project(ApiSecret(f"env:SECRET_{name}"), endpoint=mixpanel.url, quota="3/1s")
        for name in NAMES
    }
    run([record(n) for n in range(180)], write(mixpanel, projects=limited, limits=TEN))
    assert mixpanel.stats()["requests_by_endpoint"]["/import"] == {"200": 18}


def test_tokens_are_each_projects_own(mixpanel: Emulator) -> None:
    tokens = {
        name: Project(ProjectToken(f"env:TOKEN_{name}"), endpoint=mixpanel.url) for name in NAMES
    }
    run(RECORDS, write(mixpanel, projects=tokens, endpoint_kind="track"))
    for name, number in IDS.items():
        events = [each["event"] for each in mixpanel.event_details(project=number)]
        assert {e["properties"]["token"] for e in events} == {f"token-of-{name}-012345"}
        assert len(events) == 3


@pytest.mark.parametrize("columnar", [False, True])
def test_profiles(mixpanel: Emulator, columnar: bool) -> None:
    tokens = {
        name: Project(ProjectToken(f"env:TOKEN_{name}"), endpoint=mixpanel.url) for name in NAMES
    }
    mapping = ProfileMapping(distinct_id="user", set=["at"])
    for given, updates in (
        (mapping, RECORDS),
        (None, [{"$distinct_id": f"v{n}", "$set": {}, "shop": NAMES[n % 3]} for n in range(9)]),
    ):
        source = [pa.Table.from_pylist(updates)] if columnar and given else updates
        sink = WriteProfilesToMixpanel(given, projects=tokens, destination="shop", retry=FAST)
        assert run(source, sink).totals[0][0][:3] == (9, 9, 0)
    for number in IDS.values():
        users = {p["$distinct_id"] for p in mixpanel.profiles(project=number)}
        assert users == {f"{kind}{n}" for kind in "uv" for n in range(9) if n % 3 == number - 1}


def test_nothing_secret_is_pickled(mixpanel: Emulator) -> None:
    sink = write(mixpanel)
    pipeline = beam.Pipeline(IN_PROCESS)
    result = pipeline | beam.Create(RECORDS) | sink
    _ = result | CheckAccounting()
    ran = run(RECORDS, sink)
    texts = [
        pipeline.to_runner_api().SerializeToString(),
        pickle.dumps(sink._job),
        repr(sink.display_data()).encode(),
        repr(ran).encode(),
    ]
    for text in texts:
        assert b"secret-of-" not in text
        assert b"token-of-" not in text
    shown = sink.display_data()
    assert shown["destination"] == "alpha, beta, gamma"
