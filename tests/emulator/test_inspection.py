"""What the emulator shows under /emulator/: events, requests, counts, settings."""

import gzip
import json
import threading
import time
from contextlib import closing

import pytest
import requests

from mixpanel_sink.emulator.queries import HOT
from mixpanel_sink.emulator.rows import Entry, EventRow
from mixpanel_sink.emulator.store import Store
from mixpanel_sink.emulator.testing import EmulatorError


def test_request_log(api) -> None:
    events = [api.event() for _ in range(3)]
    before = time.time()
    api.send(events, ndjson=True, zipped=True, User_Agent="tester/1")
    api.send(events, auth=("wrong", ""))
    taken, refused = api.emulator.requests()
    assert before - 1 < taken["arrived"] <= taken["finished"] < time.time() + 1
    assert taken["path"] == "/import"
    assert taken["status"] == 200
    assert (taken["events"], taken["accepted"], taken["failed"]) == (3, 3, 0)
    assert taken["body_bytes"] == len(b"\n".join(json.dumps(e).encode() for e in events))
    assert 0 < taken["raw_bytes"] != taken["body_bytes"]
    assert taken["content_encoding"] == "gzip"
    assert taken["content_type"] == "application/x-ndjson"
    assert taken["user_agent"] == "tester/1"
    assert taken["remote"].startswith("127.0.0.1:")
    assert taken["fault"] is None
    assert taken["project"] == 42
    assert refused["status"] == 401
    assert refused["error"]
    assert api.emulator.requests(limit=1, offset=1) == [refused]


def test_nothing_shown_holds_a_secret(api) -> None:
    api.send([api.event(token=...)], User_Agent="tester")
    api.send([api.event(token=...)], auth=("robot", "robot-secret"), path="/import?project_id=42")
    for path in ("stats", "requests", "settings", "events", "faults"):
        text = requests.get(f"{api.emulator.url}/emulator/{path}", timeout=10).text
        for secret in ("emulator-secret", "robot-secret", "emulator-token"):
            assert secret not in text


def test_events_by_filter_and_page(api) -> None:
    events = [api.event("A" if n % 2 else "B", distinct_id=f"u{n % 3}") for n in range(12)]
    api.send(events)
    assert api.emulator.events(limit=4, offset=6) == events[6:10]
    assert api.emulator.events(event="A") == events[1::2]
    assert api.emulator.events(event="A", distinct_id="u1") == [events[1], events[7]]
    insert_id = events[5]["properties"]["$insert_id"]
    assert api.emulator.events(insert_id=insert_id) == [events[5]]
    assert api.emulator.events(event="C") == []


def test_insert_ids_stream(api) -> None:
    sent = []
    for _ in range(6):
        events = [api.event() for _ in range(2000)]
        sent += [event["properties"]["$insert_id"] for event in events]
        api.send(events, ndjson=True, zipped=True)
    assert api.emulator.insert_ids() == sent


def test_reset_empties_everything(api) -> None:
    api.send([api.event()])
    api.send([{"$token": api.emulator.project_token}], path="/engage")
    api.emulator.faults([{"kind": "reset"}])
    settings = api.emulator.reset(quota="7/minute", max_batch=5)
    assert settings["max_batch"] == 5
    (project,) = settings["projects"]
    assert (project["id"], project["quota"]) == (42, "7/minute")
    stats = api.emulator.stats()
    assert stats["events_distinct"] == stats["requests"] == stats["raw_bytes"] == 0
    assert stats["requests_by_endpoint"] == {}
    assert stats["quota"] == "7/minute"
    assert api.emulator.events() == api.emulator.remaining_faults() == []


def test_settings_change_at_run_time(page) -> None:
    page.emulator.settings(variant="reference")
    assert page.send([page.event()]).json()["code"] == 200
    page.emulator.settings(latency_ms=200)
    start = time.monotonic()
    page.send([page.event()])
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize(
    "settings",
    [
        {"quota": "lots"},
        {"variant": "other"},
        {"variant": 5},
        {"max_batch": 0},
        {"max_batch": True},
        {"projects": []},
        {"colour": "red"},
    ],
)
@pytest.mark.parametrize("path", ["settings", "reset"])
def test_wrong_settings_change_nothing(page, path: str, settings: dict) -> None:
    page.send([page.event()])
    before = page.emulator.settings()
    with pytest.raises(EmulatorError, match=r"^[a-z][^{]+$"):
        getattr(page.emulator, path)(**settings)
    assert page.emulator.settings() == before
    assert page.emulator.stats()["events_distinct"] == 1


@pytest.mark.parametrize("query", ["limit=x", "offset=-1", "limit=-1"])
def test_wrong_page(page, query: str) -> None:
    answer = requests.get(f"{page.emulator.url}/emulator/events?{query}", timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_stamps_are_those_of_arrival(page) -> None:
    """A request that waits behind others keeps the time at which its head came in."""
    bodies = [
        gzip.compress(b"\n".join(json.dumps(page.event()).encode() for _ in range(2000)))
        for _ in range(16)
    ]
    sent: list[float] = []

    def send(body: bytes) -> None:
        sent.append(time.time())
        answer = requests.post(
            page.emulator.url + "/import",
            body,
            auth=(page.emulator.api_secret, ""),
            headers={"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"},
            timeout=60,
        )
        assert answer.status_code == 200

    threads = [threading.Thread(target=send, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = page.emulator.requests()
    assert sum(row["accepted"] for row in rows) == 32_000
    spread = max(r["arrived"] for r in rows) - min(r["arrived"] for r in rows)
    busy = max(r["finished"] for r in rows) - min(r["arrived"] for r in rows)
    # All heads are in before the last body is done; on a slow machine by a smaller margin.
    assert spread < busy


def _get(api, path: str, **query):
    answer = requests.get(f"{api.emulator.url}/emulator/{path}", params=query, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_newest_first_page_by_page(api) -> None:
    events = [api.event() for _ in range(25)]
    api.send(events)
    shown, before = [], None
    while page := api.emulator.event_details(limit=10, before=before):
        shown += page
        before = page[-1]["seq"]
    assert [e["event"] for e in shown] == events[::-1]
    first = shown[0]
    (request,) = api.emulator.requests()
    assert first["request"] == request["id"]
    assert first["arrived"] == request["arrived"]
    assert (first["project"], first["endpoint"]) == (42, "/import")
    assert first["user"] == events[-1]["properties"]["distinct_id"]


def test_details_by_filter(api) -> None:
    events = [api.event("AB"[n % 2], distinct_id=f"u{n % 3}") for n in range(12)]
    api.send(events)
    found = api.emulator.event_details(event="A", distinct_id="u1", project=42)
    assert [e["event"] for e in found] == [events[10], events[4]]
    assert api.emulator.event_details(project=7) == []


def test_search(api) -> None:
    names = ("Order Completed", "Order Cancelled", "Sign Up", "Ordner", "Über")
    events = [api.event(names[n % 5], distinct_id=f"user-{n:03}") for n in range(100)]
    api.send(events)

    def found(text: str) -> list[dict]:
        return [e["event"] for e in api.emulator.event_details(search=text)][::-1]

    assert found("Order ") == [e for e in events if e["event"].startswith("Order ")]
    assert found("user-04") == events[40:50]
    assert found("Üb") == [e for e in events if e["event"] == "Über"]
    insert_id = events[7]["properties"]["$insert_id"]
    assert events[7] in found(insert_id)
    assert found("rder") == found("nothing") == []
    both = api.emulator.event_details(search="user-04", event="Sign Up")
    assert [e["event"] for e in both][::-1] == [events[42], events[47]]
    assert len(api.emulator.event_details(search="O", limit=3)) == 3


def test_names_and_users(api) -> None:
    api.send([api.event(f"E{n % 4}", distinct_id=f"u{n}") for n in range(12)])
    assert _get(api, "names")["names"] == ["E0", "E1", "E2", "E3"]
    assert _get(api, "names", search="E", after="E1", limit=1)["names"] == ["E2"]
    ids = [user["id"] for user in _get(api, "users", search="u1")["users"]]
    assert ids == ["u1", "u10", "u11"]
    ids = [user["id"] for user in _get(api, "users", after="u10", limit=2)["users"]]
    assert ids == ["u11", "u2"]


def test_counts_over_time(api) -> None:
    day = 1_700_006_400
    api.send([api.event("A", time=day + n * 3600) for n in range(30)])
    assert api.emulator.counts("day") == {
        "unit": "day",
        "starts": [day, day + 86400],
        "events": {"A": [24, 6]},
    }
    events = [api.event("B", time=day + 60), api.event("A", time=day + 61)]
    api.send(events)
    api.send(events)
    hours = api.emulator.counts("hour")
    assert hours["starts"][0] == day
    assert (hours["events"]["A"][0], hours["events"]["B"][0]) == (2, 1)
    minutes = api.emulator.counts("minute", project=42)
    assert minutes["events"]["B"][1] == 1
    assert api.emulator.counts("day", project=7)["events"] == {}
    api.emulator.reset()
    assert api.emulator.counts("day")["events"] == {}


def test_counts_by_arrival(api) -> None:
    api.emulator.settings(quota="3/hour")
    for _ in range(4):
        api.send([api.event(), api.event()])
    api.send([api.event()], path="/track")
    periods = _get(api, "counts", by="arrival", unit="minute")["periods"]
    names = ("requests", "stored", "refused", "counted")
    assert [sum(p[name] for p in periods) for name in names] == [5, 7, 1, 3]
    assert all(p["start"] % 60 == 0 for p in periods)


def test_newest_requests_and_filters(api) -> None:
    api.send([api.event()])
    api.send([api.event()], auth=("wrong", ""))
    api.send([api.event()], path="/track")
    assert [r["path"] for r in api.emulator.requests(order="newest")] == [
        *("/track", "/import", "/import")
    ]
    assert [r["status"] for r in api.emulator.requests(path="/import")] == [200, 401]
    assert len(api.emulator.requests(status=401)) == 1
    api.emulator.faults([{"kind": "reset"}])
    with pytest.raises(requests.ConnectionError):
        api.send([api.event()])
    assert [r["fault"] for r in api.emulator.requests(status="cut")] == ["reset"]
    assert len(api.emulator.requests(fault="reset")) == 1


@pytest.mark.parametrize(
    "path",
    [
        "counts?unit=year",
        "counts?project=x",
        "requests?order=odd",
        "names?of=json",
        "events?detail=1&before=x",
        "events?detail=1&project=x",
        "groups?group_id=g",
        "users/u?project=99",
        "profiles?distinct_id=u&project=99",
    ],
)
def test_wrong_questions(page, path: str) -> None:
    answer = requests.get(f"{page.emulator.url}/emulator/{path}", timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]


GEO = [
    # query, ip property, X-Forwarded-For; the page's and the reference's address
    ("/import", ..., None, ("127.0.0.1", None)),
    ("/import?ip=1", ..., None, ("127.0.0.1", None)),
    ("/track", ..., None, ("127.0.0.1", None)),
    ("/track?ip=1", ..., None, ("127.0.0.1", "127.0.0.1")),
    ("/track?ip=1", ..., "9.9.9.9, 10.0.0.1", ("9.9.9.9", "9.9.9.9")),
    ("/track?ip=0", ..., None, (None, None)),
    ("/track?ip=1", "0", None, (None, None)),
    ("/track", 0, None, (None, None)),
    ("/track?ip=0", "8.8.8.8", None, ("8.8.8.8", "8.8.8.8")),
    ("/import", "8.8.8.8", None, ("8.8.8.8", "8.8.8.8")),
]


@pytest.mark.parametrize(("path", "ip", "forwarded", "addresses"), GEO)
def test_geolocation(page, reference, path: str, ip, forwarded, addresses) -> None:
    for api, address in zip((page, reference), addresses, strict=True):
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        event = api.event(ip=ip)
        assert api.send([event], path=path, **headers).status_code == 200
        (shown,) = api.emulator.event_details()
        origin = None if address is None else "ip" if address == ip else "request"
        assert shown["geolocation"] == {"address": address, "from": origin}
        assert shown["event"] == event


def test_days_on_which_mixpanel_would_rename_a_users_events(tmp_path) -> None:
    store = Store(tmp_path / "hot.db")
    day = 1_700_006_400
    rows = [EventRow(1, None, "A", "u", None, day * 1000 + n, b"{}") for n in range(HOT)]
    store.writer.record(Entry("/import", time.time()), rows)
    calm = [EventRow(1, None, "A", "calm", None, day * 1000 + n, b"{}") for n in range(2)]
    another_day = EventRow(1, None, "A", "u", None, (day + 86_400) * 1000, b"{}")
    store.writer.record(Entry("/import", time.time()), [*calm, another_day])
    with closing(store):
        assert store.events.hot_days(1, ["u"]) == {}
        store.writer.record(Entry("/import", time.time()), rows[:1])
        assert store.events.hot_days(1, ["u"]) == {day: HOT + 1}
        assert store.events.hot_days(1, ["calm"]) == store.events.hot_days(2, ["u"]) == {}


def test_a_user_of_few_events_has_no_hot_days(api) -> None:
    api.send([api.event(distinct_id="u1")])
    assert api.emulator.user("u1")["hot_days"] == {}
