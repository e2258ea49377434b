"""Every kind of fault, and how plans are read and used up."""

import asyncio
import concurrent.futures
import contextlib
import json
import socket
import time
from email.utils import parsedate_to_datetime

import pytest
import requests

from mixpanel_sink.emulator.server import close


def _distinct(api) -> int:
    return api.emulator.stats()["events_distinct"]


def _retry(api, event) -> None:
    """The retry lands, and the event is there once."""
    assert api.send([event]).status_code == 200
    assert _distinct(api) == 1


@pytest.mark.parametrize("stored", [False, True])
def test_status(api, stored: bool) -> None:
    fault = {"kind": "status", "status": 503, "headers": {"Retry-After": "9"}, "body": {"a": 1}}
    api.emulator.faults([{**fault, "stored": stored}])
    event = api.event()
    answer = api.send([event])
    assert (answer.status_code, answer.json()) == (503, {"a": 1})
    assert answer.headers["Retry-After"] == "9"
    assert _distinct(api) == int(stored)
    row = api.emulator.requests()[-1]
    assert (row["status"], row["fault"], row["stored"]) == (503, "status", int(stored))
    _retry(api, event)


def test_rate_limit(api) -> None:
    api.emulator.settings(quota="3/hour")
    api.emulator.faults(
        [
            {"kind": "rate_limit", "retry_after": "soon, really"},
            {"kind": "rate_limit"},
            {"kind": "rate_limit", "retry_after_date": 30},
        ]
    )
    first, second, third = (api.send([api.event()]) for _ in range(3))
    assert {a.status_code for a in (first, second, third)} == {429}
    assert first.headers["Retry-After"] == "soon, really"
    assert "Retry-After" not in second.headers
    date = parsedate_to_datetime(third.headers["Retry-After"])
    assert 20 < date.timestamp() - time.time() < 40
    # They were stamped: the quota is used up.
    assert int(api.send([api.event()]).headers["Retry-After"]) > 3000


@pytest.mark.parametrize("stored", [False, True])
def test_reset(api, stored: bool) -> None:
    api.emulator.faults([{"kind": "reset", "stored": stored}])
    event = api.event()
    with pytest.raises(requests.ConnectionError):
        api.send([event])
    assert _distinct(api) == int(stored)
    assert api.emulator.requests()[-1]["status"] is None
    assert api.emulator.stats()["requests_by_endpoint"]["/import"] == {"cut": 1}
    _retry(api, event)


def test_refuse(api) -> None:
    api.emulator.faults([{"kind": "refuse", "seconds": 0.5}])
    with pytest.raises(requests.ConnectionError):
        api.send([api.event()])
    api.session.close()
    refusals = 0
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert api.send([api.event()]).status_code == 200
            break
        except requests.ConnectionError:
            refusals += 1
            time.sleep(0.05)
    assert refusals
    assert _distinct(api) == 1


@pytest.mark.parametrize("turns", range(4))
def test_a_connection_that_is_accepted_while_the_server_closes(turns: int) -> None:
    """It is served or reset, in whichever turn of the loop it is: never left open and unread."""

    class Greets(asyncio.Protocol):
        def connection_made(self, transport) -> None:
            transport.write(b"hello")

    async def connect_and_close() -> bytes:
        server = await asyncio.get_running_loop().create_server(Greets, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname(), timeout=5) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            await close(server)
            client.settimeout(0)
            for _ in range(3):
                await asyncio.sleep(0)
            try:
                return client.recv(10)
            except ConnectionResetError:
                return b""

    # On a thread of its own: a browser of other tests leaves a loop running in this one.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, connect_and_close()).result() in (b"", b"hello")


def test_refuse_ends_also_where_somebody_has_taken_the_port(api) -> None:
    """A client's connection may come from the very port, as it is free."""
    port = int(api.emulator.url.rpartition(":")[2])
    api.emulator.faults([{"kind": "refuse", "seconds": 0.2}])
    with pytest.raises(requests.ConnectionError):
        api.send([api.event()])
    api.session.close()
    with socket.socket() as other:
        for _ in range(100):
            with contextlib.suppress(OSError):
                other.bind(("127.0.0.1", port))
                break
            time.sleep(0.001)
        time.sleep(0.5)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            assert api.send([api.event()]).status_code == 200
            return
        except requests.ConnectionError:
            time.sleep(0.05)
    pytest.fail("the emulator did not come back")


def test_truncate(api) -> None:
    api.emulator.faults([{"kind": "truncate"}])
    event = api.event()
    with pytest.raises(requests.RequestException):
        api.send([event])
    assert _distinct(api) == 1
    _retry(api, event)


def test_garbage(api) -> None:
    api.emulator.faults([{"kind": "garbage"}])
    event = api.event()
    answer = api.send([event])
    assert answer.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        answer.json()
    _retry(api, event)


def test_slow(api) -> None:
    api.emulator.faults([{"kind": "slow", "seconds": 1.5}])
    event = api.event()
    body = json.dumps([event])
    auth = (api.emulator.api_secret, "")
    with pytest.raises(requests.Timeout):
        api.post("/import", body, auth=auth, timeout=0.5)
    assert _distinct(api) == 1
    _retry(api, event)


@pytest.mark.parametrize("really", [True, False])
def test_short_count(api, really: bool) -> None:
    api.emulator.faults([{"kind": "short_count", "drop": 3, "really": really}])
    answer = api.send([api.event() for _ in range(10)])
    assert answer.status_code == 200
    assert answer.json()["num_records_imported"] == 7
    assert _distinct(api) == (7 if really else 10)


def test_failed_records(api) -> None:
    events = [api.event() for _ in range(5)]
    records = [{"index": 1, "message": "no"}, {"index": 1}, {"index": 99}, "what"]
    api.emulator.faults([{"kind": "failed_records", "records": records}])
    answer = api.send(events)
    assert answer.status_code == 400
    assert answer.json()["failed_records"] == records
    assert answer.json()["num_records_imported"] == 4
    assert api.emulator.events() == [events[0], *events[2:]]


def test_failed_records_without_records(api) -> None:
    fault = {"kind": "failed_records", "stored": False, "num_records_imported": 3}
    api.emulator.faults([fault])
    answer = api.send([api.event()])
    assert answer.json()["failed_records"] == []
    assert answer.json()["num_records_imported"] == 3
    assert _distinct(api) == 0


def test_quota_shrinks(api) -> None:
    api.emulator.settings(quota="10/hour")
    api.emulator.faults([{"kind": "quota", "quota": "2/hour", "skip": 1}])
    assert [api.send([api.event()]).status_code for _ in range(3)] == [200, 200, 429]


def test_no_fault_without_credentials_or_quota(api) -> None:
    api.emulator.settings(quota="1/hour")
    api.emulator.faults([{"kind": "status", "status": 500, "times": 2}])
    assert api.send([api.event()], auth=None).status_code == 401
    assert api.send([api.event()]).status_code == 500
    assert api.send([api.event()]).status_code == 429
    assert api.emulator.remaining_faults() == [{"kind": "status"}]


def test_faults_on_engage(api) -> None:
    api.emulator.faults([{"kind": "reset", "stored": True, "path": "/engage"}])
    update = {"$token": api.emulator.project_token, "$distinct_id": "u", "$add": {"n": 1}}
    with pytest.raises(requests.ConnectionError):
        api.send([update], path="/engage")
    assert api.emulator.updates() == [update]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect(api, status: int) -> None:
    fault = {"kind": "redirect", "status": status, "location": "http://127.0.0.1:9/import"}
    api.emulator.faults([fault])
    event = api.event()
    answer = api.send([event], path="/import")
    assert answer.history == []
    assert (answer.status_code, answer.headers["Location"]) == (status, fault["location"])
    assert _distinct(api) == 0
    _retry(api, event)


def test_huge(api) -> None:
    api.emulator.faults([{"kind": "huge", "size": 3_000_000}])
    event = api.event()
    answer = api.send([event])
    assert answer.status_code == 200
    assert len(answer.json()["error"]) == 3_000_000
    _retry(api, event)


def test_endless(api) -> None:
    api.emulator.faults([{"kind": "huge", "size": 0}])
    url = api.emulator.url + "/import"
    auth = (api.emulator.api_secret, "")
    read = 0
    with requests.post(url, json=[api.event()], auth=auth, stream=True, timeout=10) as answer:
        for part in answer.iter_content(1_000_000):
            read += len(part)
            if read > 50_000_000:
                break
    assert read > 50_000_000
    assert _distinct(api) == 1


def test_deep(api) -> None:
    api.emulator.faults([{"kind": "deep", "size": 50_000}])
    event = api.event()
    assert api.send([event]).text == "[" * 50_000 + "]" * 50_000
    _retry(api, event)


def test_drip(api) -> None:
    api.emulator.faults([{"kind": "drip", "seconds": 0.01}, {"kind": "drip", "seconds": 30}])
    event = api.event()
    assert api.send([event]).status_code == 200
    with pytest.raises(requests.RequestException):
        api.post("/import", json.dumps([event]), auth=("emulator-secret", ""), timeout=0.5)
    _retry(api, event)


def test_too_large(api) -> None:
    api.emulator.faults([{"kind": "too_large", "size": 2000, "times": 3}])
    events = [api.event() for _ in range(20)]
    answer = api.send(events)
    assert answer.status_code == 413
    assert "2000" not in answer.text
    assert _distinct(api) == 0
    assert api.send(events[:5]).status_code == 200
    assert api.send(events, zipped=True).status_code == 413
    assert api.send(events).status_code == 200
    assert _distinct(api) == 20


@pytest.mark.parametrize(
    ("indexes", "named", "stored"),
    [
        ("wrong", [10, -1, "0", None], 3),
        ("repeated", [0, 0], 2),
        ("none", [], 3),
        ("absent", None, 3),
    ],
)
def test_odd_indexes(api, indexes: str, named: list | None, stored: int) -> None:
    api.emulator.faults([{"kind": "failed_records", "indexes": indexes}])
    answer = api.send([api.event() for _ in range(3)])
    assert answer.status_code == 400
    records = answer.json().get("failed_records")
    assert (records if records is None else [r["index"] for r in records]) == named
    assert answer.json()["num_records_imported"] == stored
    assert _distinct(api) == stored
