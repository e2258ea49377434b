"""The raw export API: what comes back, in which shape, and who may ask how often."""

import gzip
import json
import time

import pytest
import requests

from mixpanel_sink.emulator.testing import Emulator, EmulatorError

DAY = 1_700_006_400  # 2023-11-15 00:00:00 UTC
ADDED = {"mp_processing_time_ms", "$mp_api_timestamp_ms", "$mp_api_endpoint", "$import"}


def _export(api, auth=("emulator-secret", ""), headers=None, **query):
    given = {"from_date": "2023-11-15", "to_date": "2023-11-15", **query}
    url = f"{api.emulator.url}/api/2.0/export"
    return requests.get(url, params=given, auth=auth, headers=headers or {}, timeout=30)


def _lines(answer) -> list[dict]:
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def _fill(api, events: list[dict]) -> None:
    for start in range(0, len(events), 2000):
        assert api.send(events[start : start + 2000]).status_code == 200


def test_days_are_utc(api) -> None:
    seconds = (DAY - 1, DAY, DAY + 43_200, DAY + 86_399, DAY + 86_400)
    events = [api.event(time=moment) for moment in seconds]
    api.send(events)
    times = [line["properties"]["time"] for line in _lines(_export(api))]
    assert times == list(seconds[1:4])
    two_days = _lines(_export(api, from_date="2023-11-14", to_date="2023-11-16"))
    assert len(two_days) == 5


def test_time_units(api) -> None:
    api.send([api.event(time=DAY * 1000 + 789), api.event(time=DAY + 1)])
    assert [e["properties"]["time"] for e in _lines(_export(api))] == [DAY, DAY + 1]
    exact = _lines(_export(api, time_in_ms="true"))
    assert [e["properties"]["time"] for e in exact] == [DAY * 1000 + 789, DAY * 1000 + 1000]


def test_shapes(api) -> None:
    event = api.event(time=DAY, ip="0", plan="free", nested={"a": [1]})
    api.send([event])
    (line,) = _lines(_export(api))
    assert set(line) == {"event", "properties"}
    properties = line["properties"]
    arrived = api.emulator.requests()[0]["arrived"]
    assert properties["mp_processing_time_ms"] == int(arrived * 1000)
    assert properties["$import"] is True
    kept = {k: v for k, v in event["properties"].items() if k not in ("token", "ip")}
    assert {k: v for k, v in properties.items() if k not in ADDED} == kept
    api.emulator.settings(export_shape="sent")
    assert _lines(_export(api)) == [event]


def test_what_mixpanel_adds_where_it_is_missing(page) -> None:
    now = int(time.time())
    event = page.event(time=now, **{"$insert_id": ...})
    page.send([event, event], path="/track")
    today = time.strftime("%Y-%m-%d", time.gmtime(now))
    first, second = _lines(_export(page, from_date=today, to_date=today))
    assert first["properties"]["$insert_id"] != second["properties"]["$insert_id"]
    assert "$import" not in first["properties"]
    assert first["properties"]["mp_country_code"]


def test_duplicates_are_exported(api) -> None:
    events = [api.event(time=DAY + n) for n in range(5)]
    for _ in range(3):
        api.send(events)
    assert api.emulator.stats()["events_distinct"] == 5
    ids = [line["properties"]["$insert_id"] for line in _lines(_export(api))]
    assert len(ids) == 15
    assert len(set(ids)) == 5
    api.emulator.reset(keep_duplicates=False)
    for _ in range(3):
        api.send(events)
    assert len(_lines(_export(api))) == 5


def test_an_altered_duplicate_is_seen(page) -> None:
    event = page.event(time=DAY, plan="free")
    page.send([event])
    event["properties"]["plan"] = "premium"
    page.send([event])
    assert [e["properties"]["plan"] for e in _lines(_export(page))] == ["free", "premium"]


def test_events_and_limit(api) -> None:
    _fill(api, [api.event("A" if n % 3 else "B", time=DAY + n) for n in range(3000)])
    assert len(_lines(_export(api, event='["B"]'))) == 1000
    assert len(_lines(_export(api, event='["A","B"]'))) == 3000
    assert _lines(_export(api, event='["C"]')) == []
    assert len(_lines(_export(api, limit=2500))) == 2500
    assert len(_lines(_export(api, limit=7, event='["A"]'))) == 7


def test_more_than_a_portion_with_equal_times(api) -> None:
    for _ in range(3):
        api.send([api.event(time=DAY) for _ in range(1999)])
    ids = [line["properties"]["$insert_id"] for line in api.emulator.export(*["2023-11-15"] * 2)]
    assert len(ids) == len(set(ids)) == 5997


@pytest.mark.parametrize("many", [False, True])
def test_gzip(api, many: bool) -> None:
    _fill(api, [api.event(time=DAY + n) for n in range(3000 if many else 1)])
    answer = _export(api, headers={"Accept-Encoding": "gzip"})
    assert answer.headers.get("Content-Encoding") == ("gzip" if many else None)
    assert len(_lines(answer)) == (3000 if many else 1)
    plain = _export(api, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.text == answer.text


def test_gzip_is_one_whole_stream(api) -> None:
    api.send([api.event(time=DAY + n) for n in range(100)])
    url = f"{api.emulator.url}/api/2.0/export?from_date=2023-11-15&to_date=2023-11-15"
    auth, headers = ("emulator-secret", ""), {"Accept-Encoding": "gzip"}
    with requests.get(url, auth=auth, headers=headers, stream=True, timeout=10) as answer:
        raw = answer.raw.read(decode_content=False)
    assert gzip.decompress(raw).count(b"\n") == 100


@pytest.mark.parametrize(
    ("auth", "query", "status"),
    [
        (("emulator-secret", ""), {}, 200),
        (("robot", "robot-secret"), {"project_id": 42}, 200),
        (("robot", "robot-secret"), {}, 401),
        (("robot", "robot-secret"), {"project_id": 43}, 401),
        (("emulator-token", ""), {}, 401),
        (("wrong", ""), {}, 401),
        (None, {}, 401),
    ],
)
def test_auth(api, auth, query: dict, status: int) -> None:
    assert _export(api, auth, **query).status_code == status


@pytest.mark.parametrize(
    "query",
    [
        {"from_date": None},
        {"to_date": None},
        {"from_date": "15.11.2023"},
        {"to_date": "2023-11-14"},
        {"event": "Sign Up"},
        {"event": '{"a": 1}'},
        {"limit": "many"},
        {"limit": "0"},
        {"limit": "100001"},
        {"where": 'properties["a"] == 1'},
    ],
)
def test_wrong_queries(api, query: dict) -> None:
    answer = _export(api, **query)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_quotas(api) -> None:
    api.emulator.settings(export_quotas="5/hour, 3/second")
    statuses = [_export(api).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    time.sleep(1)
    assert [_export(api).status_code for _ in range(2)] == [200, 200]
    time.sleep(1)
    answer = _export(api)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 3000
    (quota,) = api.emulator.quota()
    assert quota["exports"][0] == {"quota": "5/hour", "used": 5}
    # Imports have a quota of their own.
    assert api.send([api.event()]).status_code == 200


def test_the_commands_quotas_are_mixpanels() -> None:
    with Emulator(export_quotas="60/hour, 3/second") as emulator:
        assert emulator.settings()["export_quotas"] == ["60/hour", "3/second"]


def test_merged_users_have_one_id(page) -> None:
    event = page.event(time=DAY, distinct_id="device")
    link = {"event": "$identify", "properties": {"distinct_id": "u", "$anon_id": "device"}}
    page.send([event, link])
    (line,) = _lines(_export(page))
    assert line["properties"]["distinct_id"] == "u"
    assert line["properties"]["$distinct_id_before_identity"] == "device"


def test_faults_that_name_it(api) -> None:
    path = "/api/2.0/export"
    _fill(api, [api.event(time=DAY + n) for n in range(3000)])
    api.emulator.faults(
        [
            {"kind": "status", "status": 502, "path": path},
            {"kind": "rate_limit", "retry_after": "1", "path": path},
            {"kind": "truncate", "path": path},
            {"kind": "reset", "path": path},
        ]
    )
    assert [_export(api).status_code for _ in range(2)] == [502, 429]
    for _ in range(2):
        with pytest.raises(requests.RequestException):
            _export(api)
    assert len(_lines(_export(api))) == 3000
    api.emulator.faults([{"kind": "status"}])
    assert _export(api).status_code == 200


def test_errors_in_testings_export(api) -> None:
    with pytest.raises(EmulatorError, match="to_date"):
        list(api.emulator.export("2023-11-15", "2023-11-14"))
