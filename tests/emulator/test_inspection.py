"""What the emulator tells about itself under /emulator/."""

import gzip
import json
import threading
import time

import pytest
import requests

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
    with pytest.raises(EmulatorError, match="error"):
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
