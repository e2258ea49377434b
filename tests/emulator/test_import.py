"""/import: bodies, answers, authentication, duplicates."""

import base64
import gzip
import json
import time

import pytest


def test_page_answer(page) -> None:
    answer = page.send([page.event()])
    assert (answer.status_code, answer.json()) == (200, {"status": 1, "error": None})


def test_reference_answer(reference) -> None:
    answer = reference.send([reference.event(), reference.event()])
    assert answer.status_code == 200
    assert answer.json() == {"code": 200, "num_records_imported": 2, "status": "OK"}


def test_strict_page_failure(page) -> None:
    bad = page.event(time="noon")
    answer = page.send([page.event(), bad])
    said = answer.json()
    assert answer.status_code == 400
    assert said["status"] == 0
    assert said["num_records_imported"] == 1
    assert [record["index"] for record in said["failed_records"]] == [1]
    assert page.emulator.stats()["events_distinct"] == 1


def test_strict_reference_failure(reference) -> None:
    bad = reference.event(time="noon")
    answer = reference.send([bad, reference.event()])
    said = answer.json()
    record = said.pop("failed_records")[0]
    assert answer.status_code == 400
    assert said == {
        "code": 400,
        "error": "some data points in the request failed validation",
        "num_records_imported": 1,
        "status": "Bad Request",
    }
    insert_id = bad["properties"]["$insert_id"]
    assert record.pop("message").startswith("'properties.time' is invalid")
    assert record == {
        "index": 0,
        "insert_id": insert_id,
        "$insert_id": insert_id,
        "field": "properties.time",
    }


def test_failed_records_as_strings(api) -> None:
    api.emulator.settings(failed_records_as="strings")
    said = api.send([api.event(), api.event(time=None)]).json()
    assert len(said["failed_records"]) == 1
    assert said["failed_records"][0].startswith("record 1: properties.time:")


def test_not_strict_drops_silently(api) -> None:
    answer = api.send([api.event(), api.event(time="noon")], path="/import?strict=0")
    assert answer.status_code == 200
    assert api.emulator.requests()[-1]["failed"] == 1
    assert api.emulator.stats()["events_distinct"] == 1


def test_strict_is_the_default(api) -> None:
    assert api.send([api.event(time="noon")], path="/import").status_code == 400


@pytest.mark.parametrize("ndjson", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_bodies(api, ndjson: bool, zipped: bool) -> None:
    events = [api.event(name="Ünïcode 🎈", note="a\nb"), api.event()]
    assert api.send(events, ndjson=ndjson, zipped=zipped).status_code == 200
    assert api.emulator.events() == events


def test_single_object(api) -> None:
    event = api.event()
    assert api.send(event).status_code == 200
    assert api.emulator.events() == [event]


def test_ndjson_with_blank_lines_and_crlf(api) -> None:
    first, second = api.event(), api.event()
    body = json.dumps(first).encode() + b"\r\n\r\n" + json.dumps(second).encode() + b"\n"
    assert api.send(body, ndjson=True).status_code == 200
    assert api.emulator.events() == [first, second]


def test_gzip_of_many_members(api) -> None:
    events = [api.event() for _ in range(300)]
    body = b"".join(gzip.compress(json.dumps(event).encode() + b"\n") for event in events)
    answer = api.send(body, ndjson=True, Content_Encoding="gzip")
    assert answer.status_code == 200
    assert api.emulator.stats()["events_distinct"] == 300


@pytest.mark.parametrize(
    "broken", [lambda z: z[:-9], lambda z: b"x" + z, lambda z: z + b"tail", lambda z: b""]
)
def test_broken_gzip(api, broken) -> None:
    body = broken(gzip.compress(json.dumps([api.event()]).encode()))
    answer = api.send(body, Content_Encoding="gzip")
    assert answer.status_code == 400
    assert "gzip" in answer.json()["error"]


def test_unknown_encoding(api) -> None:
    assert api.send([api.event()], Content_Encoding="br").status_code == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b'{"a": NaN}', b'"\xff"', b"[]"])
def test_malformed_json(api, body: bytes) -> None:
    answer = api.send(body)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert "failed_records" not in answer.json()


def test_one_malformed_line_costs_one_record(api) -> None:
    first, last = api.event(), api.event()
    body = b"\n".join((json.dumps(first).encode(), b"{oops", json.dumps(last).encode()))
    answer = api.send(body, ndjson=True)
    assert answer.status_code == 400
    (record,) = answer.json()["failed_records"]
    assert record["index"] == 1
    assert "not valid JSON" in record["message"]
    assert answer.json()["num_records_imported"] == 2
    assert api.emulator.events() == [first, last]
    assert api.send(body, ndjson=True, path="/import?strict=0").status_code == 200


def test_batch_limit(api) -> None:
    events = [api.event() for _ in range(2001)]
    answer = api.send(events, ndjson=True, zipped=True)
    assert answer.status_code == 413
    assert "2000" in answer.json()["error"]
    assert api.emulator.stats()["events_distinct"] == 0
    assert api.send(events[1:], ndjson=True, zipped=True).status_code == 200
    assert api.emulator.stats()["events_distinct"] == 2000


@pytest.mark.parametrize("zipped", [False, True])
def test_body_limit(api, zipped: bool) -> None:
    api.emulator.settings(max_body_bytes=10_000)
    event = api.event(note="x" * 200, notes=["y" * 200] * 60)
    answer = api.send([event], zipped=zipped)
    assert answer.status_code == 413
    assert "10000" in answer.json()["error"]


def test_decompression_is_bounded(api) -> None:
    bomb = gzip.compress(b" " * 200_000_000, 9)
    assert api.send(bomb, Content_Encoding="gzip").status_code == 413


def test_wrong_token_in_properties(page) -> None:
    answer = page.send([page.event(), page.event(token="other")])
    assert answer.json() == {"status": 0, "error": "Invalid token"}
    assert page.emulator.stats()["events_distinct"] == 0
    assert page.send([page.event(token=...)]).json()["status"] == 1


def test_missing_insert_id(page, reference) -> None:
    assert page.send([page.event(**{"$insert_id": ...})] * 2).status_code == 200
    stats = page.emulator.stats()
    assert (stats["events_distinct"], stats["without_insert_id"]) == (2, 2)
    answer = reference.send([reference.event(**{"$insert_id": ...})])
    assert answer.json()["failed_records"][0]["field"] == "properties.$insert_id"
    answer = reference.send([reference.event(**{"$insert_id": ...})], path="/import?strict=0")
    assert answer.status_code == 200


# Authentication

NO_COLON = "Basic " + base64.b64encode(b"emulator-secret").decode()


@pytest.mark.parametrize(
    ("auth", "query", "status"),
    [
        (("emulator-secret", ""), "", 200),
        (("emulator-token", ""), "", 200),
        (("robot", "robot-secret"), "?project_id=42", 200),
        (("robot", "robot-secret"), "?project_id=43", 401),
        (("robot", "robot-secret"), "", 401),
        (("robot", "wrong"), "?project_id=42", 401),
        (("emulator-secret", "password"), "", 401),
        (("wrong", ""), "", 401),
        (("", ""), "", 401),
        (("sécret", ""), "", 401),
        (None, "", 401),
    ],
)
def test_auth(api, auth, query: str, status: int) -> None:
    answer = api.send([api.event()], path="/import" + query, auth=auth)
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]
        assert "secret" not in answer.json()["error"].replace("API secret", "")


@pytest.mark.parametrize(
    "header", ["Bearer emulator-secret", "Basic !!", "Basic", "basic", NO_COLON]
)
def test_odd_auth_headers(api, header: str) -> None:
    answer = api.send([api.event()], auth=None, Authorization=header)
    assert answer.status_code == 401


# Duplicates


def _twice(api, **changes) -> dict:
    first = api.event()
    second = {**first, "properties": {**first["properties"], **changes}}
    assert api.send([first]).status_code == 200
    assert api.send([second]).status_code == 200
    return api.emulator.stats()


def test_resent_request_is_stored_once(api) -> None:
    events = [api.event() for _ in range(10)]
    for _ in range(3):
        assert api.send(events).status_code == 200
    stats = api.emulator.stats()
    assert (stats["events_received"], stats["events_distinct"]) == (30, 10)
    assert (stats["events_accepted"], stats["duplicates"]) == (30, 20)
    assert [r["duplicates"] for r in api.emulator.requests()] == [0, 10, 10]
    assert api.emulator.events() == events


def test_duplicates_in_one_request(api) -> None:
    assert api.send([api.event(distinct_id="a", time=1_000_000_000, **{"$insert_id": "x"})] * 5).ok
    assert api.emulator.stats()["events_distinct"] == 1


def test_page_rule_looks_at_the_id_only(page) -> None:
    assert _twice(page, distinct_id="someone else", time=1_500_000_000)["events_distinct"] == 1


def test_reference_rule_looks_at_four_fields(reference) -> None:
    assert _twice(reference, distinct_id="someone else")["events_distinct"] == 2
    assert _twice(reference, time=1_500_000_000)["events_distinct"] == 4
    assert _twice(reference, plan="premium")["events_distinct"] == 5


def test_dedupe_switch(page) -> None:
    page.emulator.settings(dedupe="reference")
    assert _twice(page, distinct_id="someone else")["events_distinct"] == 2


def test_page_rule_forgets_after_its_window(page) -> None:
    page.emulator.settings(dedupe_window=0.2)
    event = page.event()
    page.send([event])
    time.sleep(0.3)
    page.send([event])
    page.send([event])
    stats = page.emulator.stats()
    assert (stats["events_distinct"], stats["duplicates"]) == (2, 1)


def test_reference_rule_never_forgets(reference) -> None:
    reference.emulator.settings(dedupe_window=0.05)
    event = reference.event()
    reference.send([event])
    time.sleep(0.1)
    reference.send([event])
    assert reference.emulator.stats()["events_distinct"] == 1
