"""`WriteToMixpanel(endpoint_kind="track")` end to end, and identity events on both endpoints."""

from __future__ import annotations

import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from mixpanel_sink.api import identity
from mixpanel_sink.api.limits import Limits
from mixpanel_sink.emulator.testing import Emulator
from mixpanel_sink.errors import SettingError
from mixpanel_sink.settings.columns import TimeColumn
from mixpanel_sink.settings.credentials import ApiSecret, ProjectToken
from mixpanel_sink.settings.mapping import EventMapping
from mixpanel_sink.write import WriteToMixpanel
from tests.conftest import SECRET, TOKEN, Wire
from tests.running import FAST, failing, failures, reasons, run

NOW = time.time()
DAY = 86_400
MAPPING = EventMapping(event="name", distinct_id="user", time=TimeColumn("at", unit="s"))


def record(number: int, at: float = NOW - 60) -> dict[str, Any]:
    return {"name": "Visit", "user": f"u{number}", "at": int(at), "n": number}


def raw(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "Visit", "properties": {"distinct_id": f"u{number}", **more}}


def track(url: str, mapping: EventMapping | None = MAPPING, **options: Any) -> WriteToMixpanel:
    given: dict[str, Any] = {"credentials": ProjectToken("env:TEST_TOKEN"), "retry": FAST}
    return WriteToMixpanel(mapping, endpoint_kind="track", endpoint=url, **{**given, **options})


def table(records: list[dict[str, Any]]) -> list[pa.Table]:
    return [pa.Table.from_pylist(records)]


@pytest.mark.parametrize("variant", ["page", "reference"])
@pytest.mark.parametrize("made", [list, table], ids=["dicts", "table"])
def test_events_carry_the_token_and_land_once(
    mixpanel: Emulator, variant: str, made: Callable[[Any], list[Any]]
) -> None:
    mixpanel.settings(variant=variant)
    mixpanel.faults([{"kind": "status", "status": 504, "stored": True}])
    ran = run(made([record(n) for n in range(5)]), track(mixpanel.url))
    stored = mixpanel.events()
    assert sorted(e["properties"]["distinct_id"] for e in stored) == [f"u{n}" for n in range(5)]
    assert {e["properties"]["token"] for e in stored} == {TOKEN}
    assert mixpanel.stats()["requests_by_endpoint"] == {"/track": {"200": 1, "504": 1}}
    assert ran.totals[0][0] == (5, 5, 0, 2)


@pytest.mark.parametrize("made", [list, table], ids=["dicts", "table"])
def test_events_older_than_five_days_fail(
    mixpanel: Emulator, made: Callable[[Any], list[Any]]
) -> None:
    ages = [0, 4.9, 5.1, 400]
    ran = run(made([record(n, NOW - age * DAY) for n, age in enumerate(ages)]), track(mixpanel.url))
    assert reasons(ran) == ["too_old_for_track"] * 2
    assert "Send older events to /import" in failures(ran)[0].message
    assert mixpanel.stats()["events_distinct"] == 2
    assert ran.totals[0][0] == (4, 2, 2, 1)


def a_year_ago() -> float:
    return NOW - 365 * DAY


@pytest.mark.parametrize("made", [list, table], ids=["dicts", "table"])
def test_the_clock_is_the_callers(
    wire: Callable[..., Wire], made: Callable[[Any], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    server = wire(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    then = a_year_ago()
    ages = [4.9, 5.1, 0, -1]  # the last one lies in that clock's future
    records = [record(n, then - age * DAY) for n, age in enumerate(ages)]
    ran = run(made(records), track(server.url, clock=a_year_ago))
    assert reasons(ran) == ["time_out_of_range", "too_old_for_track"]
    assert ran.totals[0][0] == (4, 2, 2, 1)


def test_raw_events_need_no_time(mixpanel: Emulator) -> None:
    old = int((NOW - 6 * DAY) * 1000)
    given = [raw(0), raw(1, time=int(NOW)), raw(2, time=old)]
    ran = run(given, track(mixpanel.url, None))
    assert sorted(e["properties"]["distinct_id"] for e in mixpanel.events()) == ["u0", "u1"]
    (without,) = [e for e in mixpanel.events() if e["properties"]["distinct_id"] == "u0"]
    assert "time" not in without["properties"]
    assert reasons(ran) == ["too_old_for_track"]
    # /import does need one
    sink = WriteToMixpanel(
        None, ApiSecret("env:TEST_API_SECRET"), endpoint=mixpanel.url, retry=FAST, quota="none"
    )
    assert reasons(run([raw(0)], sink)) == ["time_null"]


ANSWERS = {
    "page": b'{"status": 1, "error": null}',
    "plain": b"1",
    "without the error": b'{"status":1}',
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_what_goes_over_the_wire(
    wire: Callable[..., Wire],
    answer: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
) -> None:
    """The token alone: no header with credentials, not even those that ~/.netrc has."""
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    monkeypatch.setenv("TEST_API_SECRET", SECRET)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password somethings\n")
    monkeypatch.setenv("NETRC", str(netrc))
    body = ANSWERS[answer]
    server = wire(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    both = ApiSecret("env:TEST_API_SECRET", token="env:TEST_TOKEN")
    ran = run([record(0)], track(server.url, credentials=both))
    assert ran.totals[0][0] == (1, 1, 0, 1)
    (request,) = server.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /track?verbose=1 HTTP/1.1")
    assert b"authorization" not in head.lower()
    assert b"content-encoding" not in head.lower()
    assert SECRET.encode() not in request
    assert TOKEN.encode() in sent
    assert sent.startswith(b'[{"event":"Visit"')


REFUSALS = [b'{"status": 0, "error": "some other thing"}', b"0"]


@pytest.mark.parametrize("body", REFUSALS)
def test_a_refusal_of_one_event_is_its_own(
    wire: Callable[..., Wire], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_TOKEN", TOKEN)
    server = wire(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    ran = run([record(0), record(1)], track(server.url))
    assert reasons(ran) == ["refused", "refused"]
    assert len(server.requests) == 3  # both, and then each half
    assert TOKEN not in repr(ran)


@pytest.mark.parametrize("variant", ["page", "reference"])
def test_a_bogus_token_stops_the_job(
    mixpanel: Emulator, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixpanel.settings(variant=variant)
    monkeypatch.setenv("TEST_TOKEN", "b0gus-token-0123456789")
    said = failing([record(n) for n in range(30)], track(mixpanel.url))
    assert said.startswith("AuthenticationError")
    assert "does not accept the project token (200: Invalid token)" in said
    assert "another region" in said
    assert "b0gus" not in said
    assert mixpanel.stats()["requests"] == 1


def test_track_needs_the_token() -> None:
    with pytest.raises(SettingError, match=r"/track knows a project by its token alone"):
        WriteToMixpanel(MAPPING, ApiSecret("env:X"), endpoint_kind="track")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("engage", "For /engage use WriteProfilesToMixpanel"),
        ("groups", "use WriteGroupsToMixpanel"),
        ("tracks", "events go to 'import' or 'track'"),
        (None, "events go to 'import' or 'track'"),
    ],
)
def test_events_go_to_import_or_track(kind: Any, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        WriteToMixpanel(MAPPING, ProjectToken("env:X"), endpoint_kind=kind)


def test_the_default_quota_is_the_references() -> None:
    shown = track("http://127.0.0.1:1").display_data()
    assert shown["quota"] == "1800000 events/minute, 2 GB/minute, 1 MB/event"
    assert shown["endpoint"] == "/track"


def test_the_age_can_be_set(mixpanel: Emulator) -> None:
    now = int(time.time())  # NOW is when this module was read, perhaps an hour ago
    ran = run(
        [record(0, now - 60), record(1, now - 7200)],
        track(mixpanel.url, limits=Limits(max_age_seconds=3600)),
    )
    assert reasons(ran) == ["too_old_for_track"]


class TestIdentity:
    """What the sink does with identity events, and what the emulator makes of them."""

    def test_identify_joins_the_events_of_a_device(self, mixpanel: Emulator) -> None:
        mixpanel.settings(variant="page")
        before = raw(0)
        before["properties"]["distinct_id"] = "device_xyz"
        run([before], track(mixpanel.url, None))
        run([identity.identify("user_123", "device_xyz")], track(mixpanel.url, None))
        user = mixpanel.user("device_xyz")
        assert user["distinct_id"] == "user_123"
        assert len(user["events"]) == 2
        assert mixpanel.stats()["events_distinct"] == 2

    def test_identify_and_alias_need_no_time_on_track(self, mixpanel: Emulator) -> None:
        given = [identity.identify("u", "d"), identity.alias("u", "v", seconds=NOW)]
        assert run(given, track(mixpanel.url, None)).totals[0][0] == (2, 2, 0, 1)
        assert ["time" in e["properties"] for e in mixpanel.events()] == [False, True]

    def test_the_same_link_twice_is_one_event(self, mixpanel: Emulator) -> None:
        mixpanel.settings(variant="page")
        given = [identity.identify("u", "d"), identity.identify("u", "d", seconds=NOW)]
        run(given, track(mixpanel.url, None))
        assert mixpanel.stats()["events_distinct"] == 1

    def test_merge_goes_to_import(
        self, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        secret = ApiSecret("env:TEST_API_SECRET", token="env:TEST_TOKEN")
        sink = WriteToMixpanel(None, secret, endpoint=mixpanel.url, retry=FAST, quota="none")
        assert run([identity.merge("a", "b")], sink).totals[0][0] == (1, 1, 0, 1)
        (event,) = mixpanel.events()
        assert event["properties"]["$distinct_ids"] == ["a", "b"]

    def test_all_go_to_import(self, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        mixpanel.settings(identity_mode="original")
        secret = ApiSecret("env:TEST_API_SECRET", token="env:TEST_TOKEN")
        sink = WriteToMixpanel(None, secret, endpoint=mixpanel.url, retry=FAST, quota="none")
        anon = "0f8fad5b-d9cb-469f-a165-70867728950e"
        links = [identity.identify("u", anon), identity.identify("u", "device_xyz")]
        try:
            ran = run([*links, identity.alias("u", "v"), identity.merge("u", "w")], sink)
        finally:
            mixpanel.settings(identity_mode="simplified")
        assert ran.totals[0][0] == (4, 4, 0, 1)
        ignored = {link["other"]: link["ignored"] for link in mixpanel.links()}
        assert ignored.pop("device_xyz") == "the $anon_id is not a UUID of version 4"
        assert ignored == {anon: None, "v": None, "w": None}
        assert ran.counters["ignored_anon_ids"] == 1

    def test_merge_needs_the_token(self, mixpanel: Emulator) -> None:
        sink = WriteToMixpanel(
            None, ApiSecret("env:TEST_API_SECRET"), endpoint=mixpanel.url, retry=FAST, quota="none"
        )
        (failure,) = failures(run([identity.merge("a", "b")], sink))
        assert (failure.reason, failure.field) == ("identity_incomplete", "token")
        assert "token=" in failure.message
        assert mixpanel.stats()["requests"] == 0

    def test_merge_is_refused_before_track(self, mixpanel: Emulator) -> None:
        ran = run([identity.merge("a", "b")], track(mixpanel.url, None))
        (failure,) = failures(ran)
        assert failure.reason == "wrong_endpoint"
        assert "$merge goes to /import" in failure.message
        assert mixpanel.stats()["requests"] == 0

    @pytest.mark.parametrize(
        ("event", "missing"),
        [
            ({"event": "$identify", "properties": {"distinct_id": "u"}}, "$anon_id"),
            ({"event": "$identify", "properties": {"$anon_id": "d"}}, "$identified_id"),
            ({"event": "$create_alias", "properties": {"distinct_id": "u"}}, "alias"),
            ({"event": "$merge", "properties": {"$distinct_ids": ["u"]}}, "$distinct_ids"),
        ],
    )
    def test_half_an_identity_event(
        self, mixpanel: Emulator, event: dict[str, Any], missing: str
    ) -> None:
        (failure,) = failures(run([event], track(mixpanel.url, None)))
        assert (failure.reason, failure.field) == ("identity_incomplete", missing)

    @pytest.mark.parametrize(
        ("event", "said"),
        [
            (identity.merge("a", "b", seconds=NOW), "only in projects with original ID merge"),
            (
                identity.alias("a", "b", seconds=NOW),
                r"\$create_alias works only in projects with original",
            ),
            (identity.identify("a", "b", seconds=NOW), "UUID of version 4 that does not belong"),
        ],
    )
    def test_a_refusal_is_explained(
        self, mixpanel: Emulator, monkeypatch: pytest.MonkeyPatch, event: Any, said: str
    ) -> None:
        # Simplified ID merge, and a project that refuses what has no effect there.
        monkeypatch.setenv("TEST_TOKEN", TOKEN)
        mixpanel.settings(refuse_identity=True)
        secret = ApiSecret("env:TEST_API_SECRET", token="env:TEST_TOKEN")
        sink = WriteToMixpanel(None, secret, endpoint=mixpanel.url, retry=FAST, quota="none")
        (failure,) = failures(run([event], sink))
        assert failure.reason == "refused"
        assert "has no functionality in projects with Simplified ID Merge" in failure.message
        assert re.search(said, failure.message)
